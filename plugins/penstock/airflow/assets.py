"""The Airflow Assets that pipelines land in: what another DAG can be scheduled on."""

from __future__ import annotations

from airflow.sdk import Asset

from penstock.core.pipeline import CassandraTable, InfluxMeasurement, Pipeline, SinkSpec
from penstock.core.settings import cassandra_keyspace, influx_bucket
from penstock.core.stream import Stream


def asset(sink: SinkSpec) -> Asset:
    """The Asset of one sink. It is named after the sink alone, so that moving a server does not rename it."""
    match sink:
        case CassandraTable(name):
            return Asset(name=name, uri=f"cassandra://{cassandra_keyspace()}/{name}", group="table")
        case InfluxMeasurement(name):
            return Asset(name=name, uri=f"influxdb://{influx_bucket()}/{name}", group="measurement")


def assets(pipeline: Pipeline) -> list[Asset]:
    """The Assets that a reconciled batch of `pipeline` has updated."""
    return [asset(sink) for sink in pipeline.sinks]


def stream_assets(stream: Stream) -> list[Asset]:
    """The Assets of a stream's aggregate, for an interval that was found whole."""
    found = [asset(stream.aggregate.measurement)]
    if folder := stream.aggregate.folder:
        found.append(Asset(name=folder.strip("/").replace("/", "."), uri=f"hdfs://{folder.lstrip('/')}", group="files"))
    return found
