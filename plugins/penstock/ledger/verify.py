"""Holds the ledger against what Kafka and the sinks really have, whatever the landing job said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from penstock.core.batch import Interval
from penstock.core.counts import OffsetRange, Produced
from penstock.core.pipeline import Pipeline
from penstock.core.settings import Kafka
from penstock.ledger.evidence import Tally, TopicRecords, Witness, tally
from penstock.ledger.reconcile import WHOLE
from penstock.ledger.store import Ledger, LedgerRow

_AT_ONCE = 4  # most of the time is spent waiting for Kafka and the sinks


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


def verify(
    pipeline: Pipeline, interval: Interval, *, ledger: Ledger, kafka: Kafka, witnesses: Sequence[Witness]
) -> list[Verified]:
    """Check each batch of `pipeline` whose interval overlaps the given one, oldest first.

    A batch's records are read from its topic again, and each of their keys is looked up with each witness. Memory is
    bounded by the keys of a few batches, of each in one partition of the topic. Raises Retry where a server is away,
    Fatal where one refuses.
    """
    with ledger:
        rows = ledger.batches(pipeline.name, interval.start, interval.end, limit=None)
        produced = {row.batch_id: ledger.last_produced(row.batch_id) for row in rows if row.landed is not None}
    records = TopicRecords(kafka, pipeline)

    def check(row: LedgerRow) -> Verified:
        return _verified(row, produced.get(row.batch_id), records, witnesses)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(check, rows))


def _verified(
    row: LedgerRow, produced: Produced | None, records: TopicRecords, witnesses: Sequence[Witness]
) -> Verified:
    if row.landed is None or produced is None:
        return Verified(row.batch_id, row.landed, row.verdict)
    if removed := records.removed(produced):
        return Verified(row.batch_id, row.landed, _removed(produced.topic, removed))
    found = tally(records, produced, witnesses)
    missing = {name: tuple(keys) for name, keys in found.first_lacking.items() if keys}
    return Verified(
        batch_id=row.batch_id,
        landed=row.landed,
        verdict="; ".join(gaps(row.landed, produced, found)) or WHOLE,
        keys=found.keys,
        in_sinks={each.name: found.present(each.name) for each in witnesses},
        missing=tuple(dict.fromkeys(key for keys in missing.values() for key in keys)),
    )


def _removed(topic: str, ranges: Sequence[OffsetRange]) -> str:
    offsets = ", ".join(f"{topic}-{each.partition} [{each.start}, {each.end})" for each in ranges)
    return f"cannot be verified: Kafka has removed records of {offsets}"


def gaps(landed: int, produced: Produced, found: Tally) -> list[str]:
    """What is missing where, one phrase each, by what was found of a batch that landed so many records."""
    return [*_on_topic(landed, produced, found), *(_in_sink(found, name) for name, n in found.lacking.items() if n)]


def _on_topic(landed: int, produced: Produced, found: Tally) -> Iterator[str]:
    if found.records != produced.on_topic:
        yield f"{found.records} of its records are on {produced.topic}, {produced.on_topic} were acked"
    if found.keys != landed:
        yield f"the ledger has {landed} landed, {produced.topic} has {found.keys} valid keys"


def _in_sink(found: Tally, name: str) -> str:
    lacking, named = found.lacking[name], found.first_lacking[name]
    more = f" and {lacking - len(named)} more" if lacking > len(named) else ""
    return f"{name} lacks {lacking} of {found.keys} keys: {', '.join(named)}{more}"
