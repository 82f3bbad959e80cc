"""The weather of some cities, hourly and daily: Open-Meteo -> Kafka -> Spark -> Cassandra."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import TaskGroup, dag

from penstock.airflow.defaults import DAG_DEFAULTS, HISTORIC_TASK_DEFAULTS, TASK_DEFAULTS, every_interval
from penstock.airflow.operators.land import LandOperator
from penstock.airflow.operators.plan import PlanOperator
from penstock.airflow.operators.produce import ReliableProduceToTopicOperator
from penstock.airflow.operators.reconcile import ReconcileOperator
from penstock.airflow.params import historic_form, open_meteo, scheduled_options
from penstock.airflow.runs import produce_land_reconcile
from penstock.pipelines.weather import WEATHER_DAILY, WEATHER_HOURLY


@dag(
    schedule=every_interval(WEATHER_HOURLY),
    tags=[*WEATHER_HOURLY.tags, "hourly"],
    default_args=TASK_DEFAULTS,
    **DAG_DEFAULTS,
)
def weather_hourly() -> None:
    """The hour's weather, once the hour is over.

    Fetches one row for each location and hour of the run's data interval, puts them on the topic `hourlymetrics`, lands
    them in Cassandra's `analytics.hourlydata`, and proves with counts that all arrived.

    What is fetched: the Airflow Variables `latitudes`, `longitudes` and `hourly`, each a list with commas.
    To fill in the past: *Trigger > Backfill*. It can be done twice, in either direction, and beside live runs.
    """
    produce_land_reconcile(WEATHER_HOURLY, scheduled_options(WEATHER_HOURLY))


@dag(
    schedule=every_interval(WEATHER_DAILY),
    tags=[*WEATHER_DAILY.tags, "daily"],
    default_args=TASK_DEFAULTS,
    **DAG_DEFAULTS,
)
def weather_daily() -> None:
    """The day's weather, once the day is over (UTC).

    Fetches one row for each location and day of the run's data interval, puts them on the topic `dailymetrics`, lands
    them in Cassandra's `analytics.dailydata`, and proves with counts that all arrived.

    What is fetched: the Airflow Variables `latitudes`, `longitudes` and `daily`, each a list with commas.
    To fill in the past: *Trigger > Backfill*. It can be done twice, in either direction, and beside live runs.
    """
    produce_land_reconcile(WEATHER_DAILY, scheduled_options(WEATHER_DAILY))


@dag(
    schedule=None,
    params=historic_form(),
    tags=["weather", "historic"],
    default_args=HISTORIC_TASK_DEFAULTS,
    **DAG_DEFAULTS,
)
def weather_historic() -> None:
    """Weather of the past, any days since 1940, for the locations and variables that the form names.

    The days are split into batches of at most 100,000 rows; each is fetched and produced by a task of its own, and all
    of them are landed by one Spark application for the hours and one for the days.

    What the form leaves empty comes from the Airflow Variables `start_date`, `end_date`, `latitudes`, `longitudes`,
    `hourly` and `daily`. Running it again changes nothing, unless the source has revised its values: the newest win.
    """
    for pipeline in (WEATHER_HOURLY, WEATHER_DAILY):
        block = str(open_meteo(pipeline).block)
        with TaskGroup(block):
            plan = PlanOperator(task_id="plan", block=block)
            produce = ReliableProduceToTopicOperator.partial(
                task_id="produce", pipeline=pipeline, map_index_template="{{ task.chunk['interval'] }}"
            ).expand(chunk=plan.output)
            land = LandOperator(
                task_id="land", pipeline=pipeline, produced=produce.output, execution_timeout=timedelta(hours=2)
            )
            ReconcileOperator(task_id="reconcile", pipeline=pipeline, produced=produce.output, landed=land.output)


weather_hourly()
weather_daily()
weather_historic()
