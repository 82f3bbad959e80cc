"""Drivers of Spark's streams: each a Python program, which starts a JVM of its own."""

from __future__ import annotations

from functools import partial

from penstock.core.settings import PROJECT
from penstock.stack.context import Context
from penstock.stack.servers.airflow import airflow_environment
from penstock.stack.servers.base import Environment, Server, python

_WIKI_EDITS_MINUTE = "wiki-edits-minute"
_OF_SPARK = ("PENSTOCK_SPARK_PROPERTIES", "JAVA_HOME", "SPARK_HOME", "SPARK_LAUNCHER_OPTS")


def spark_environment(context: Context) -> Environment:
    """Where Spark is; the rest of Airflow's environment is no business of a driver."""
    return {name: value for name, value in airflow_environment(context).items() if name in _OF_SPARK}


def runs(name: str, context: Context) -> str | None:
    """Ready is the process: whether it gets on is the watch's to judge, which gives it the time that Spark needs."""
    state = context.supervisor.states().get(name, {}).get("statename", "gone")
    return None if state == "RUNNING" else f"its process is {state}"


WIKI_EDITS_MINUTE = Server(
    name=_WIKI_EDITS_MINUTE,
    title="Spark: wiki changes a minute",
    needs=("kafka", "influxdb", "hdfs-namenode", "hdfs-datanode", "provision", "spark"),
    command=lambda _: python(str(PROJECT / "spark_jobs" / "wiki_edits_minute.py")),
    environment=spark_environment,
    ready=partial(runs, _WIKI_EDITS_MINUTE),
    # The running micro-batch is finished first.
    stop_seconds=40,
)
