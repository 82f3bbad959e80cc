"""The Airflow Assets of the tables that pipelines land in: what another DAG can be scheduled on."""

from __future__ import annotations

from airflow.sdk import Asset

from penstock.core.pipeline import CassandraTable, Pipeline
from penstock.core.settings import cassandra_keyspace


def table_asset(sink: CassandraTable) -> Asset:
    """The Asset of one table. It is named after the table alone, so that moving Cassandra does not rename it."""
    return Asset(name=sink.table, uri=f"cassandra://{cassandra_keyspace()}/{sink.table}", group="table")


def table_assets(pipeline: Pipeline) -> list[Asset]:
    """The Assets that a reconciled batch of `pipeline` has updated."""
    return [table_asset(sink) for sink in pipeline.sinks]
