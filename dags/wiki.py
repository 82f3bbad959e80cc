"""Wikimedia's recent changes: proves each hour of the stream with counts."""

from __future__ import annotations

from airflow.sdk import dag

from penstock.airflow.defaults import DAG_DEFAULTS, TASK_DEFAULTS, every_interval
from penstock.airflow.operators.reconcile_stream import ReconcileStreamOperator
from penstock.pipelines.wiki import WIKI


@dag(
    schedule=every_interval(WIKI),
    tags=[*WIKI.tags, "hourly"],
    default_args=TASK_DEFAULTS,
    **DAG_DEFAULTS | {"max_active_runs": 1},
)
def wiki() -> None:
    """An hour of Wikimedia's recent changes, counted anew at every hop once it is over.

    The stream itself is its services: collector, spool folder, Flume, the topic `wiki_changes`, Flume's raw copy on
    HDFS, and the Spark job that counts the edits of each minute and wiki. This DAG counts what the collector took up,
    the distinct events on the topic and in the raw copy, and what the minutes add up to in the Parquet files and in
    InfluxDB, and fails, naming the hop and the minutes, where something is missing or counted twice.

    To count older hours, as long as the topic keeps them: *Trigger > Backfill*.
    """
    ReconcileStreamOperator(task_id="reconcile", stream=WIKI)


wiki()
