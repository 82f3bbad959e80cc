"""Rows into a Cassandra table, in unlogged batches of one partition, under the batch's as-of time."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cassandra import ConsistencyLevel
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, PreparedStatement, Session
from cassandra.policies import ConstantReconnectionPolicy
from cassandra.query import tuple_factory

from penstock.core import settings
from penstock.core.contract import Contract, Kind
from penstock.core.counts import Count, Extent
from penstock.core.errors import Fatal
from penstock.sinks import cassandra_table
from penstock.sinks.base import AsOf, Written
from penstock.sinks.cassandra_count import BatchCount
from penstock.sinks.columns import bucket_labels, physical_rows
from penstock.sinks.cql import EncodedBatchProtocol, EncodedRows, encode_rows, routing_key, write_timestamp
from penstock.sinks.keys import Indices, KeyColumns, WrittenKeys, pairs
from penstock.sinks.patience import PATIENCE_SECONDS, outlast
from penstock.sinks.sending import Piece, Refused, Sender, explained

Answer = TypeVar("Answer")

_BATCH_ROWS = 128
_BATCH_BYTES = 120 << 10  # below the 128 KiB of one segment of the native protocol v5
_IN_FLIGHT = 16
_REQUEST_SECONDS = 20.0
_RECONNECT_SECONDS = 1.0
_STATEMENTS = 64


class _Connection(Cluster.connection_class):  # type: ignore[misc]
    """The driver's connection, with room for a whole batch: it hands out 4 KiB at a time otherwise."""

    out_buffer_size = 128 << 10


def connect(where: settings.Cassandra, patience: float = PATIENCE_SECONDS) -> Session:
    """A session that can send encoded batches; `session.cluster.shutdown()` ends it.

    Raises Retry where Cassandra stays away for `patience` seconds, Fatal where it refuses the login.
    """

    def attempt() -> Session:
        with explained(address(where)):
            return _connect(where)

    return outlast(patience, attempt)


def _connect(where: settings.Cassandra) -> Session:
    profile = ExecutionProfile(
        consistency_level=ConsistencyLevel.LOCAL_QUORUM, request_timeout=_REQUEST_SECONDS, row_factory=tuple_factory
    )
    cluster = Cluster(
        list(where.hosts),
        port=where.port,
        auth_provider=PlainTextAuthProvider(where.user, where.password),
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        protocol_version=5,
        connection_class=_Connection,
        compression=False,  # a landing is short of CPU, not of bandwidth
        reconnection_policy=ConstantReconnectionPolicy(_RECONNECT_SECONDS, max_attempts=None),
        schema_metadata_enabled=False,  # reading all of it takes longer than a small landing writes
    )
    session = cluster.connect()
    session.client_protocol_handler = EncodedBatchProtocol
    if len(cluster.metadata.all_hosts()) > 1:
        cluster.refresh_keyspace_metadata(where.keyspace)  # its replication, for token-aware routing
    return session


@cache
def process_session(where: settings.Cassandra, patience: float) -> Session:
    """One session for all tasks of a worker process."""
    logging.getLogger("cassandra").setLevel(logging.CRITICAL)  # what it has to say comes as exceptions too
    return connect(where, patience)


def address(where: settings.Cassandra) -> str:
    """How messages name the server."""
    return f"Cassandra at {','.join(where.hosts)}:{where.port}"


class CassandraSink:
    """The Sink of one table. `patience` is how long Cassandra may be away, in seconds.

    A `session` from `connect` may be shared by the sinks of one process; without one, the sink opens and closes its
    own.
    """

    def __init__(
        self,
        where: settings.Cassandra,
        table: str,
        contract: Contract,
        *,
        session: Session | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        contract.write_time_column()
        self._where = where
        self._table = table
        self._contract = contract
        self._patience = patience
        self._shared = session
        self._own: Session | None = None
        self._statements: dict[tuple[str, ...], PreparedStatement] = {}
        self._written: defaultdict[datetime, WrittenKeys] = defaultdict(WrittenKeys)

    @property
    def _target(self) -> str:
        return f'"{self._where.keyspace}"."{self._table}"'

    def __repr__(self) -> str:
        return f"CassandraSink({self._where.keyspace}.{self._table})"

    @property
    def _session(self) -> Session:
        if self._shared:
            return self._shared
        if self._own is None:
            self._own = connect(self._where, self._patience)
        return self._own

    def _ask(self, call: Callable[[Session], Answer]) -> Answer:
        """What `call` returns, tried again while Cassandra is away."""
        session = self._session

        def attempt() -> Answer:
            with explained(address(self._where)):
                return call(session)

        return outlast(self._patience, attempt)

    def setup(self) -> None:
        """Create keyspace and table where they are missing, and columns for new fields; needs no rights otherwise."""
        self._ask(lambda session: cassandra_table.ensure(session, self._where, self._table, self._contract))

    def write(self, rows: pa.RecordBatch, as_of: AsOf) -> Written:
        """See Sink.write."""
        if not isinstance(as_of, datetime):
            raise Fatal(f"{self!r} writes all rows under one as-of time: a shared topic cannot land in Cassandra")
        if not rows.num_rows:
            return Written(0)
        columns = self._columns(physical_rows(rows, self._contract))
        keys = self._keys(columns)
        kept = self._written[as_of].first_only(keys)
        if not len(kept):
            return Written(0, duplicates=rows.num_rows)
        refused = self._send(columns, keys, kept, write_timestamp(as_of))
        return Written(
            landed=len(kept) - len(refused),
            duplicates=rows.num_rows - len(kept),
            rejects=tuple((int(kept[each.row]), each.reason) for each in refused),
        )

    def count(self, extent: Extent, as_of: datetime) -> Count:
        """See Sink.count."""
        return self._ask(lambda session: BatchCount(session, self._target, self._contract).count(extent, as_of))

    def close(self) -> None:
        """End the sink's own connections."""
        if self._own is not None:
            self._own.cluster.shutdown()
            self._own = None

    def _columns(self, rows: pa.RecordBatch) -> Mapping[str, pa.Array]:
        """The table's columns that hold a value in at least one row; the key's come first, in its order."""
        found = dict(zip(rows.schema.names, rows.columns, strict=True))
        for bucket in self._contract.buckets:
            found[bucket.name] = bucket_labels(bucket, found[bucket.of], self._kind(bucket.of))
        key = (*self._contract.partition_key, *self._contract.clustering_key)
        found |= {name: _one_zero(found[name]) for name in key}
        others = [name for name, column in found.items() if name not in key and column.null_count < rows.num_rows]
        return {name: found[name] for name in (*key, *others)}

    def _keys(self, columns: Mapping[str, pa.Array]) -> KeyColumns:
        contract = self._contract
        others = [columns[name] for name in contract.clustering_key if name != contract.event_time]
        if contract.event_time in contract.clustering_key:
            times = columns[contract.event_time].to_numpy().astype(np.int64)
        else:
            times = np.zeros(len(next(iter(columns.values()))), np.int64)
        return KeyColumns([columns[name] for name in contract.partition_key], others, times)

    def _send(self, columns: Mapping[str, pa.Array], keys: KeyColumns, kept: Indices, timestamp: int) -> list[Refused]:
        statement = self._prepared(tuple(columns))
        if len(kept) < len(keys.times) or (np.diff(kept) != 1).any():
            chosen = pa.array(kept)
            columns = {name: column.take(chosen) for name, column in columns.items()}
        encoded = encode_rows(statement.query_id, list(columns.values()), [self._kind(name) for name in columns])
        pieces = list(self._pieces(encoded, keys.boundaries(kept, of_series=False), statement.query_id))
        sender = Sender(self._session, address(self._where), in_flight=_IN_FLIGHT, patience=self._patience)
        return sender.send(statement, pieces, timestamp)

    def _pieces(self, encoded: EncodedRows, bounds: Indices, statement_id: bytes) -> Iterator[Piece]:
        components = len(self._contract.partition_key)
        for begin, end in pairs(bounds):
            key = routing_key(encoded.slice(begin, end), statement_id, components)
            for cut_begin, cut_end in encoded.cuts(begin, end, _BATCH_ROWS, _BATCH_BYTES):
                yield Piece(encoded, cut_begin, cut_end, key)

    def _prepared(self, names: tuple[str, ...]) -> PreparedStatement:
        """The INSERT of these columns. Which are there differs little, so that a few statements serve a landing."""
        if names not in self._statements:
            if len(self._statements) >= _STATEMENTS:
                self._statements.clear()
            listed = ", ".join(f'"{name}"' for name in names)
            query = f"INSERT INTO {self._target} ({listed}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608 - CQL cannot bind names; these are the contract's
            self._statements[names] = self._ask(lambda session: session.prepare(query))
        return self._statements[names]

    def _kind(self, name: str) -> Kind:
        field = self._contract.by_name.get(name)
        return field.kind if field else Kind.STRING


def _one_zero(column: pa.Array) -> pa.Array:
    """The column with -0.0 as 0.0: CQL takes them for two keys, and nobody means two places by them."""
    return pc.add(column, 0.0) if pa.types.is_floating(column.type) else column
