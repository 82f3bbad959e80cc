"""Streams that land pipelines' records, for those pipelines that choose so."""

from __future__ import annotations

from functools import partial

from penstock.core.pipeline import Pipeline
from penstock.core.settings import PROJECT
from penstock.pipelines import CARS, POPULATION
from penstock.stack.context import Context
from penstock.stack.servers.base import Server, python
from penstock.stack.servers.streams import runs, spark_environment


def command(pipeline: Pipeline, _: Context) -> list[str]:
    """The driver is a Python program, which starts Spark's JVM itself."""
    return python(str(PROJECT / "spark_jobs" / "stream_to_influx.py"), "--pipeline", pipeline.name)


def landing_server(pipeline: Pipeline) -> Server:
    """The server of a pipeline's stream."""
    return Server(
        name=pipeline.landing_service,
        title=f"Spark: lands {pipeline.name}",
        needs=("postgres", "kafka", "influxdb", "hdfs-namenode", "hdfs-datanode", "provision", "spark"),
        command=partial(command, pipeline),
        environment=spark_environment,
        ready=partial(runs, pipeline.landing_service),
        # The micro-batch under way is finished first.
        stop_seconds=40,
    )


LANDING_STREAMS: tuple[Server, ...] = (landing_server(POPULATION), landing_server(CARS))
"""Those of the pipelines that a stream can land."""
