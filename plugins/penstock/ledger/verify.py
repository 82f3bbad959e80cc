"""Holds the ledger against what Kafka and the sinks really have, whatever the landing job said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from penstock.core.batch import Interval
from penstock.core.contract import Contract, Kind
from penstock.core.counts import OffsetRange, Produced
from penstock.core.pipeline import Pipeline
from penstock.core.record import Value
from penstock.core.settings import Cassandra, Kafka
from penstock.ledger.evidence import Found, RowKey, TableRows, TopicRecords, cassandra_session
from penstock.ledger.reconcile import WHOLE
from penstock.ledger.store import Ledger, LedgerRow

_NAMED = 3
_AT_ONCE = 4  # most of the time is spent waiting for Kafka and Cassandra
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Verified:
    """What was found of one batch.

    `landed` is the ledger's count, `keys` the distinct keys of the batch's valid records on the topic, `in_sinks` how
    many of these each sink has, written by this attempt or a later one. `missing` names the first keys that a sink
    lacks. `keys` is None and `in_sinks` empty where they could not be counted; `verdict` then says why.
    """

    batch_id: str
    landed: int | None
    verdict: str
    keys: int | None = None
    in_sinks: Mapping[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether topic and sinks have exactly what the ledger says."""
        return self.verdict == WHOLE

    def __str__(self) -> str:
        counts = {"ledger": self.landed, "topic": self.keys, **self.in_sinks}
        shown = ", ".join(f"{where} {'-' if count is None else count}" for where, count in counts.items())
        return f"{self.batch_id}: {shown}: {self.verdict}"


@dataclass
class _Tally:
    """Adds up a batch, one partition of its topic after the other."""

    records: int = 0
    keys: int = 0
    lacking: dict[str, int] = field(default_factory=dict)
    first_lacking: dict[str, list[RowKey]] = field(default_factory=dict)

    def add(self, found: Found, tables: Mapping[str, TableRows], as_of: datetime) -> None:
        """Count what was found in one partition, and look its keys up."""
        self.records += found.records
        self.keys += len(found.keys)
        for sink, table in tables.items():
            named = self.first_lacking.setdefault(sink, [])
            for key in table.lacking(found.keys, as_of):
                self.lacking[sink] += 1
                if len(named) < _NAMED:
                    named.append(key)


def verify(
    pipeline: Pipeline, interval: Interval, *, ledger: Ledger, kafka: Kafka, cassandra: Cassandra
) -> list[Verified]:
    """Check each batch of `pipeline` whose interval overlaps the given one, oldest first.

    A batch's records are read from its topic again, and each of their keys is looked up in each sink. Memory is
    bounded by the keys of a few batches, of each in one partition of the topic. Raises Retry where a server is away,
    Fatal where one refuses.
    """
    with ledger:
        rows = ledger.batches(pipeline.name, interval.start, interval.end, limit=None)
        produced = {row.batch_id: ledger.last_produced(row.batch_id) for row in rows if row.landed is not None}
    records = TopicRecords(kafka, pipeline.contract)
    with cassandra_session(cassandra) as session:
        tables = {sink.name: TableRows(session, sink.name, pipeline.contract) for sink in pipeline.sinks}

        def check(row: LedgerRow) -> Verified:
            return _verified(row, produced.get(row.batch_id), records, tables, pipeline.contract)

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(check, rows))


def _verified(
    row: LedgerRow,
    produced: Produced | None,
    records: TopicRecords,
    tables: Mapping[str, TableRows],
    contract: Contract,
) -> Verified:
    if row.landed is None or produced is None:
        return Verified(row.batch_id, row.landed, row.verdict)
    if removed := records.removed(produced):
        return Verified(row.batch_id, row.landed, _removed(produced.topic, removed))
    tally = _Tally(lacking=dict.fromkeys(tables, 0))
    for found in records.by_partition(produced):
        tally.add(found, tables, produced.as_of)
    missing = {sink: tuple(_named(contract, key) for key in keys) for sink, keys in tally.first_lacking.items() if keys}
    gaps = [*_on_topic(row.landed, produced, tally), *(_in_sink(tally, sink, missing[sink]) for sink in missing)]
    return Verified(
        batch_id=row.batch_id,
        landed=row.landed,
        verdict="; ".join(gaps) or WHOLE,
        keys=tally.keys,
        in_sinks={sink: tally.keys - lacking for sink, lacking in tally.lacking.items()},
        missing=tuple(dict.fromkeys(name for names in missing.values() for name in names)),
    )


def _removed(topic: str, ranges: Sequence[OffsetRange]) -> str:
    offsets = ", ".join(f"{topic}-{each.partition} [{each.start}, {each.end})" for each in ranges)
    return f"cannot be verified: Kafka has removed records of {offsets}"


def _on_topic(landed: int, produced: Produced, tally: _Tally) -> Iterator[str]:
    acked = produced.acked - produced.rejected
    if tally.records != acked:
        yield f"{tally.records} of its records are on {produced.topic}, {acked} were acked"
    if tally.keys != landed:
        yield f"the ledger has {landed} landed, {produced.topic} has {tally.keys} valid keys"


def _in_sink(tally: _Tally, sink: str, named: Sequence[str]) -> str:
    lacking = tally.lacking[sink]
    more = f" and {lacking - len(named)} more" if lacking > len(named) else ""
    return f"{sink} lacks {lacking} of {tally.keys} keys: {', '.join(named)}{more}"


def _named(contract: Contract, key: RowKey) -> str:
    """`(latitude 52.5, longitude 13.25, time 2026-11-01T06:00:00Z)`, without the derived buckets."""
    columns = (*contract.partition_key, *contract.clustering_key)
    values = zip(columns, (*key.partition, *key.clustering), strict=True)
    shown = (f"{name} {_shown(contract, name, value)}" for name, value in values if name in contract.by_name)
    return f"({', '.join(shown)})"


def _shown(contract: Contract, name: str, value: Value) -> str:
    match contract.by_name[name].kind:
        case Kind.TIMESTAMP:
            return f"{_EPOCH + int(value or 0) * timedelta(milliseconds=1):%Y-%m-%dT%H:%M:%SZ}"
        case Kind.DATE:
            return f"{_EPOCH + int(value or 0) * timedelta(days=1):%Y-%m-%d}"
        case _:
            return str(value)
