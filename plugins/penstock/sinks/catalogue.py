"""The sinks by what a pipeline declares, so that landing and reconciliation need not know their kinds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import pyarrow as pa

from penstock.core import settings
from penstock.core.contract import Contract
from penstock.core.pipeline import CassandraTable, SinkSpec
from penstock.sinks.base import Sink
from penstock.sinks.patience import PATIENCE_SECONDS

Address: TypeAlias = settings.Cassandra | settings.Influx
"""Where a sink's server is, and who writes there."""


def address_of(sink: SinkSpec, environment: Mapping[str, str] = os.environ) -> Address:
    """The settings of the sink's server. Raises Fatal where one is missing."""
    if isinstance(sink, CassandraTable):
        return settings.Cassandra.from_env(environment)
    return settings.Influx.from_env(environment)


def unstorable(sink: SinkSpec, contract: Contract, rows: pa.RecordBatch) -> Mapping[int, str]:
    """{row: why the sink would refuse it}, of rows that keep the contract; no server is asked."""
    if isinstance(sink, CassandraTable):
        return {}
    from penstock.sinks.influxdb import unstorable_rows

    return unstorable_rows(rows, contract)


def open_sink(
    sink: SinkSpec,
    where: Address,
    contract: Contract,
    *,
    patience: float = PATIENCE_SECONDS,
    contested: bool = True,
    endless: bool = False,
    shared: bool = False,
) -> Sink:
    """The sink, with connections of its own, or with `shared` those of this process.

    `contested` says whether newer rows may be in place of those to be written: only a sink without write timestamps
    needs to know. `endless` says that the landing never ends, so that it cannot remember what it wrote.
    """
    if isinstance(where, settings.Cassandra):
        from penstock.sinks.cassandra import CassandraSink, process_session

        session = process_session(where, patience) if shared else None
        return CassandraSink(where, sink.name, contract, session=session, patience=patience)
    from penstock.sinks.influxdb import InfluxSink

    influx: Sink = InfluxSink(where, sink.name, contract, patience=patience, contested=contested, endless=endless)
    return influx


def addresses_of(sinks: Sequence[SinkSpec], environment: Mapping[str, str] = os.environ) -> tuple[Address, ...]:
    """The settings of each sink's server. Raises Fatal where one is missing."""
    return tuple(address_of(each, environment) for each in sinks)


def open_sinks(sinks: Sequence[SinkSpec], where: Sequence[Address], contract: Contract, **how: Any) -> Sink:
    """All `sinks` as one, each at its address; `how` is as for `open_sink`."""
    opened = [open_sink(sink, at, contract, **how) for sink, at in zip(sinks, where, strict=True)]
    if len(opened) == 1:
        return opened[0]
    from penstock.sinks.influxdb import InfluxSink
    from penstock.sinks.several import Several

    # InfluxDB refuses records that Cassandra takes: it is asked first, so that what it refuses is in neither.
    return Several(tuple(sorted(opened, key=lambda each: not isinstance(each, InfluxSink))))
