"""Car sales: the car API -> Kafka -> Spark -> InfluxDB."""

from __future__ import annotations

from airflow.sdk import dag

from penstock.airflow.defaults import DAG_DEFAULTS, TASK_DEFAULTS, every_interval
from penstock.airflow.runs import produce_land_reconcile
from penstock.pipelines.cars import CARS


@dag(
    schedule=every_interval(CARS),
    tags=[*CARS.tags, "quarter-hourly"],
    default_args=TASK_DEFAULTS,
    **DAG_DEFAULTS,
)
def car_transactions() -> None:
    """The sales of a quarter of an hour, once it is over.

    Fetches the transactions of the run's data interval from the car API, puts them on the topic
    `car-transactions-logs`, lands them in InfluxDB's `car_transaction_data`, and proves with counts that all arrived.
    What was posted to the API's `/api/logs` since the last run lands with them.

    To fill in the past: *Trigger > Backfill*. It can be done twice, in either direction, and beside live runs.
    """
    produce_land_reconcile(CARS)


car_transactions()
