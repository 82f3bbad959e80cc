"""What a Cassandra table holds of a batch, by other means than those that wrote it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from penstock.core.contract import Contract, Kind
from penstock.core.errors import Fatal, Retry
from penstock.core.record import Record, Value
from penstock.core.settings import Cassandra
from penstock.ledger.evidence import shown

if TYPE_CHECKING:
    from cassandra.cluster import NoHostAvailable, Session

Columns: TypeAlias = tuple[Value, ...]
"""Values of some columns of a key, physical as in a Record."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CASSANDRA_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class RowKey:
    """The primary key of one row."""

    partition: Columns
    clustering: Columns


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
        self.name = table
        self._session = session
        self._contract = contract
        self._select = session.prepare(_select(table, contract))
        self._to_cql = [_to_cql(contract, name) for name in (*contract.partition_key, *contract.clustering_key)]
        self._from_cql = [_from_cql(contract, name) for name in contract.clustering_key]

    def key(self, record: Record) -> RowKey:
        """The primary key of the record's row."""
        return row_key(self._contract, record)

    def lacking(self, keys: Mapping[RowKey, int]) -> Iterator[RowKey]:
        """See Witness. Rows are streamed, never all in memory."""
        partitions: dict[Columns, dict[Columns, int]] = defaultdict(dict)
        for key, as_of in keys.items():
            partitions[key.partition][key.clustering] = as_of
        for partition, wanted in partitions.items():
            for clustering, written in self._rows(partition, wanted):
                if clustering in wanted and (written is None or written >= wanted[clustering]):
                    del wanted[clustering]
            yield from (RowKey(partition, clustering) for clustering in sorted(wanted, key=repr))

    def named(self, key: RowKey) -> str:
        """Without the derived buckets."""
        columns = (*self._contract.partition_key, *self._contract.clustering_key)
        return shown(self._contract, dict(zip(columns, (*key.partition, *key.clustering), strict=True)))

    def _rows(self, partition: Columns, wanted: Iterable[Columns]) -> Iterator[tuple[Columns, int | None]]:
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
