"""The population by nation and year: Data USA -> Kafka -> Spark -> InfluxDB."""

from __future__ import annotations

from airflow.sdk import dag

from penstock.airflow.defaults import DAG_DEFAULTS, TASK_DEFAULTS, every_interval
from penstock.airflow.runs import produce_land_reconcile
from penstock.pipelines.population import POPULATION


@dag(
    schedule=every_interval(POPULATION),
    tags=[*POPULATION.tags, "daily"],
    default_args=TASK_DEFAULTS,
    **DAG_DEFAULTS,
)
def population() -> None:
    """All years of the population, once a day.

    Fetches what Data USA has, puts one record a nation and year on the topic `pop`, lands them in InfluxDB's
    `population_data` at 1 January of the year, and proves with counts that all arrived. What others have written to the
    topic since the last run, such as response files from the spool folder, lands with them.

    Every run fetches all years there are, whatever day it is for. A year that comes again is the same point: where the
    source has revised its figure, the newest wins.
    """
    produce_land_reconcile(POPULATION)


population()
