"""All the places where a pipeline's records must be, as witnesses for reconciliation and verification."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from penstock.core import settings
from penstock.core.pipeline import CassandraTable, Pipeline
from penstock.ledger.cassandra_rows import TableRows, cassandra_session
from penstock.ledger.evidence import Witness
from penstock.ledger.influx_points import InfluxPoints
from penstock.ledger.raw_lines import RawLines


@contextmanager
def witnesses(
    pipeline: Pipeline, environment: Mapping[str, str] = os.environ, *, raw_copy: bool = True
) -> Iterator[list[Witness]]:
    """The pipeline's sinks, then its raw copy, if it has one.

    Raises Retry where a server is away, Fatal where an address is missing or a server refuses.
    """
    with ExitStack() as sessions:
        found: list[Witness] = []
        for sink in pipeline.sinks:
            if isinstance(sink, CassandraTable):
                session = sessions.enter_context(cassandra_session(settings.Cassandra.from_env(environment)))
                found.append(TableRows(session, sink.name, pipeline.contract))
            else:
                found.append(InfluxPoints(settings.Influx.from_env(environment), sink.name, pipeline.contract))
        if raw_copy and pipeline.raw_copy:
            found.append(RawLines(settings.Hdfs.from_env(environment), pipeline))
        yield found
