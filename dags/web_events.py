"""What visitors of the shop do: proves each hour of the stream with counts."""

from __future__ import annotations

from airflow.sdk import dag

from penstock.airflow.defaults import DAG_DEFAULTS, TASK_DEFAULTS, every_interval
from penstock.airflow.operators.reconcile_stream import ReconcileStreamOperator
from penstock.pipelines.web_events import WEB_EVENTS


@dag(
    schedule=every_interval(WEB_EVENTS),
    tags=[*WEB_EVENTS.tags, "hourly"],
    default_args=TASK_DEFAULTS,
    **DAG_DEFAULTS | {"max_active_runs": 1},
)
def web_events() -> None:
    """An hour of web events, counted anew at every hop once it is over.

    The stream itself is its services: producer, log files, Flume, the topic `events`, Flume's raw copy
    on HDFS, and the consumers that count the events of each minute by category and price bucket. This DAG counts what
    the producer made, the distinct events on the topic and in the raw copy, and what the minutes in InfluxDB add up to,
    and fails, naming the hop and the minutes, where something is missing or counted twice.

    To count older hours, as long as the topic keeps them: *Trigger > Backfill*.
    """
    ReconcileStreamOperator(task_id="reconcile", stream=WEB_EVENTS)


web_events()
