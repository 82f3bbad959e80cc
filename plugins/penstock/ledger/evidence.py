"""What a topic and a table hold of a batch: read again, by other means than those that wrote it."""

from __future__ import annotations

import logging
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from io import BytesIO
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeAlias

from penstock.core.contract import Contract, Kind
from penstock.core.counts import OffsetRange, Produced
from penstock.core.errors import Fatal, Retry
from penstock.core.record import Record, Value
from penstock.core.settings import Cassandra, Kafka
from penstock.kafka import headers
from penstock.kafka.reader import extent, read
from penstock.kafka.registry import Registry

if TYPE_CHECKING:
    from cassandra.cluster import NoHostAvailable, Session

log = logging.getLogger(__name__)

Columns: TypeAlias = tuple[Value, ...]
"""Values of some columns of a key, physical as in a Record."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FRAME = struct.Struct(">bI")  # a zero byte and the schema's id stand before the Avro body
_CASSANDRA_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class RowKey:
    """The primary key of one row."""

    partition: Columns
    clustering: Columns


@dataclass
class Found:
    """The records of one attempt in one partition of a topic: how many there are, and the keys of the valid ones."""

    records: int = 0
    keys: set[RowKey] = field(default_factory=set)


class TopicRecords:
    """Reads the records of an attempt from their topic again, and judges them by the contract."""

    def __init__(self, kafka: Kafka, contract: Contract) -> None:
        self._kafka = kafka
        self._contract = contract
        self._schema = _parsed(contract.schema)
        registry = Registry(kafka.registry_url)
        self._writer = cache(lambda schema_id: _parsed(registry.schema(schema_id)))
        self._held = cache(lambda topic: {each.partition: each for each in extent(kafka, topic)})

    def removed(self, produced: Produced) -> list[OffsetRange]:
        """The ranges that the topic does not hold in full any more.

        Raises Retry where Kafka is away, Fatal where it has no such topic.
        """
        held: Mapping[int, OffsetRange] = self._held(produced.topic)
        return [
            each
            for each in produced.ranges
            if each.partition not in held
            or each.start < held[each.partition].start
            or each.end > held[each.partition].end
        ]

    def by_partition(self, produced: Produced) -> Iterator[Found]:
        """What each partition of the topic holds; one partition's keys are in memory at a time.

        A key is in one partition only, because the keys of the messages are made of its fields. Raises Retry where
        Kafka or the registry is away, Fatal where one refuses.
        """
        self._writer(produced.schema_id)  # a registry that refuses us must not make all records look corrupt
        ranges = sorted(produced.ranges, key=lambda each: (each.partition, each.start))
        messages = read(self._kafka, produced.topic, ranges, produced.batch_id)
        as_of = headers.stamp(produced.as_of)
        for _, in_partition in groupby(messages, key=lambda message: message.partition):
            found = Found()
            for message in in_partition:
                if headers.text(message.headers, headers.AS_OF) == as_of:
                    found.records += 1
                    self._note_key(found, message.value or b"")
            yield found

    def _note_key(self, found: Found, value: bytes) -> None:
        record = self._decoded(value)
        if record is not None and self._contract.violation(record) is None:
            found.keys.add(row_key(self._contract, record))

    def _decoded(self, value: bytes) -> Record | None:
        """The record in `value`, or None where that is no Avro record in the registry's framing."""
        from fastavro import schemaless_reader

        try:
            zero, schema_id = _FRAME.unpack_from(value)
            record = schemaless_reader(BytesIO(value[_FRAME.size :]), self._writer(schema_id), self._schema)
        except Retry:
            raise
        except Exception as error:  # noqa: BLE001 - fastavro has no error of its own for a corrupt body
            log.debug("a record that is none: %r", error)
            return None
        return record if zero == 0 and isinstance(record, dict) else None


def _parsed(schema: Mapping[str, Any]) -> Any:
    from fastavro import parse_schema

    return parse_schema(_physical(schema))


def _physical(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without its logical types, so that a timestamp is read as the number it is."""

    def plain(avro_type: Any) -> Any:
        if isinstance(avro_type, list):
            return [plain(each) for each in avro_type]
        return avro_type["type"] if isinstance(avro_type, dict) else avro_type

    return {**schema, "fields": [{**each, "type": plain(each["type"])} for each in schema["fields"]]}


def row_key(contract: Contract, record: Record) -> RowKey:
    """The primary key of the record's row, its buckets derived."""
    values = dict(record)
    for bucket in contract.buckets:
        unit = timedelta(days=1) if contract.by_name[bucket.of].kind is Kind.DATE else timedelta(milliseconds=1)
        values[bucket.name] = f"{_EPOCH + int(record[bucket.of] or 0) * unit:%Y-%m}"
    return RowKey(
        tuple(values[name] for name in contract.partition_key), tuple(values[name] for name in contract.clustering_key)
    )


class TableRows:
    """Looks rows up in one Cassandra table, partition by partition."""

    def __init__(self, session: Session, table: str, contract: Contract) -> None:
        """Raises Fatal where the contract is no table's."""
        self._session = session
        self._contract = contract
        self._select = session.prepare(_select(table, contract))
        self._to_cql = [_to_cql(contract, name) for name in (*contract.partition_key, *contract.clustering_key)]
        self._from_cql = [_from_cql(contract, name) for name in contract.clustering_key]

    def lacking(self, keys: Iterable[RowKey], as_of: datetime) -> Iterator[RowKey]:
        """Those of `keys` that have no row written as of `as_of` or later. Rows are streamed, never all in memory."""
        oldest = (as_of - _EPOCH) // timedelta(microseconds=1)
        partitions: dict[Columns, set[Columns]] = defaultdict(set)
        for key in keys:
            partitions[key.partition].add(key.clustering)
        for partition, wanted in partitions.items():
            for clustering, written in self._rows(partition, wanted):
                if written is None or written >= oldest:
                    wanted.discard(clustering)
            yield from (RowKey(partition, clustering) for clustering in sorted(wanted, key=repr))

    def _rows(self, partition: Columns, wanted: set[Columns]) -> Iterator[tuple[Columns, int | None]]:
        """The rows of `partition` in the range of the wanted ones: clustering key, and write time in microseconds.

        The write time is None for a row that has nothing but its key.
        """
        first = [each[0] for each in wanted] if self._from_cql else []
        bounds = (min(first), max(first)) if first else ()  # type: ignore[type-var]  # a column's values are of one type
        values = (*partition, *bounds)
        convert = (*self._to_cql[: len(partition)], *(self._to_cql[len(partition)] for _ in bounds))
        width = len(self._from_cql)
        for row in self._session.execute(
            self._select, [to_cql(value) for to_cql, value in zip(convert, values, strict=True)]
        ):
            clustering = tuple(from_cql(value) for from_cql, value in zip(self._from_cql, row[:width], strict=True))
            yield clustering, max((time for time in row[width:] if time is not None), default=None)


def _select(table: str, contract: Contract) -> str:
    """A row's write time is that of a column that is never null, or else the newest of all."""
    if not contract.partition_key:
        raise Fatal(f"{contract.where}: no Cassandra layout, so the table {table} cannot be read")
    key = {*contract.partition_key, *contract.clustering_key}
    values = [each for each in contract.fields if each.name not in key]
    witnesses = [each for each in values if not each.nullable][:1] or values
    columns = [f'"{name}"' for name in contract.clustering_key] + [f'WRITETIME("{each.name}")' for each in witnesses]
    conditions = [f'"{name}" = ?' for name in contract.partition_key]
    conditions += [f'"{name}" {bound} ?' for name in contract.clustering_key[:1] for bound in (">=", "<=")]
    return f'SELECT {", ".join(columns)} FROM "{table}" WHERE {" AND ".join(conditions)}'  # noqa: S608 - names of ours


def _same(value: Any) -> Any:
    return value


def _kind(contract: Contract, column: str) -> Kind:
    return contract.by_name[column].kind if column in contract.by_name else Kind.STRING  # a bucket


def _to_cql(contract: Contract, column: str) -> Callable[[Any], Any]:
    """From the physical value to what the driver binds; it takes a timestamp as ms."""
    if _kind(contract, column) is not Kind.DATE:
        return _same
    from cassandra.util import Date

    def to_date(days: int) -> Date:
        return Date(days)

    return to_date


def _from_cql(contract: Contract, column: str) -> Callable[[Any], Any]:
    """From what the driver gives to the physical value."""
    match _kind(contract, column):
        case Kind.TIMESTAMP:
            return lambda time: (time.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
        case Kind.DATE:
            return lambda date: date.days_from_epoch
        case _:
            return _same


@contextmanager
def cassandra_session(settings: Cassandra) -> Iterator[Session]:
    """A session in the keyspace. Raises Retry where Cassandra is away, Fatal where it refuses the user or a query."""
    from cassandra import DriverException, OperationTimedOut, RequestExecutionException
    from cassandra.auth import PlainTextAuthProvider
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
    from cassandra.policies import RoundRobinPolicy
    from cassandra.query import tuple_factory

    profile = ExecutionProfile(
        RoundRobinPolicy(), request_timeout=_CASSANDRA_TIMEOUT_SECONDS, row_factory=tuple_factory
    )
    cluster = Cluster(
        list(settings.hosts),
        port=settings.port,
        auth_provider=PlainTextAuthProvider(settings.user, settings.password),
        protocol_version=5,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
    )
    where = f"Cassandra at {','.join(settings.hosts)}:{settings.port}"
    try:
        yield cluster.connect(settings.keyspace)
    except NoHostAvailable as error:
        raise _unavailable(where, error) from error
    except (RequestExecutionException, OperationTimedOut) as error:
        raise Retry(f"{where} failed: {error}") from error
    except DriverException as error:
        raise Fatal(f"{where} refuses to answer: {error}") from error
    finally:
        cluster.shutdown()


def _unavailable(where: str, error: NoHostAvailable) -> Retry | Fatal:
    from cassandra import AuthenticationFailed

    errors = list(error.errors.values()) if isinstance(error.errors, dict) else []
    if any(isinstance(each, AuthenticationFailed) for each in errors):
        return Fatal(f"{where} refuses the user or its password: check CASSANDRA_USER and CASSANDRA_PASSWORD")
    return Retry(f"{where} can't be reached: {'; '.join(map(str, errors)) or error}")
