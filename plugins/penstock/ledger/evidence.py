"""What a topic holds of a batch, read again, and how it is held against what the sinks and the raw copy have."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Protocol, TypeAlias

from penstock.core.contract import Contract, Kind
from penstock.core.counts import OffsetRange, Produced, Replayed
from penstock.core.errors import Reject
from penstock.core.pipeline import Pipeline
from penstock.core.record import Record
from penstock.core.settings import Kafka
from penstock.kafka import headers
from penstock.kafka.reader import Message, extent, read
from penstock.ledger.decoding import decoder

log = logging.getLogger(__name__)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Key: TypeAlias = Any
"""What names a record in one place, hashable: a primary key, a point's identity."""


class Witness(Protocol):
    """One place where a batch's records must be: a table, a measurement, the raw copy."""

    name: str

    def key(self, record: Record) -> Key:
        """What names a valid record there."""
        ...

    def lacking(self, keys: Mapping[Key, int]) -> Iterator[Key]:
        """Those of `keys` that it does not have, written as of their time (µs since the epoch) or later.

        Raises Retry where it is away, Fatal where it refuses to answer.
        """
        ...

    def named(self, key: Key) -> str:
        """The key as a person reads it."""
        ...


@dataclass
class Found:
    """The records of one attempt, in one partition of a topic or, where others wrote some of them, in all.

    `records` is how many there are, `ids` the contract's keys of the valid ones, and `keys` has for each witness
    {key: as-of time in µs since the epoch}.
    """

    records: int = 0
    ids: set[tuple[Any, ...]] = field(default_factory=set)
    keys: tuple[dict[Key, int], ...] = ()


class TopicRecords:
    """Reads the records of an attempt from their topic again, and judges them by the contract."""

    def __init__(self, kafka: Kafka, pipeline: Pipeline) -> None:
        self._kafka = kafka
        self._contract = pipeline.contract
        self._held = cache(lambda topic: {each.partition: each for each in extent(kafka, topic)})
        self._records = decoder(pipeline, kafka)

    def removed(self, produced: Produced) -> list[OffsetRange]:
        """The ranges that the topic does not hold in full any more.

        Raises Retry where Kafka is away, Fatal where it has no such topic.
        """
        held: Mapping[int, OffsetRange] = self._held(produced.topic)
        return [
            each
            for each in (*produced.ranges, *produced.claimed, *map(_range, produced.replays))
            if each.partition not in held
            or each.start < held[each.partition].start
            or each.end > held[each.partition].end
        ]

    def by_partition(
        self, produced: Produced, witnesses: Sequence[Witness], *, without: Sequence[OffsetRange] = ()
    ) -> Iterator[Found]:
        """What each partition of the topic holds; one partition's keys are in memory at a time.

        Ours are made of the contract's key, so that a key is in one partition only; others' may be in any, and then
        all partitions come as one. Records at offsets in `without` are left out, and those that a replay has taken the
        place of. Raises Retry where Kafka or the registry is away, Fatal where one refuses.
        """
        self._records.prepare(produced)
        left_out = {(each.partition, offset) for each in without for offset in range(each.start, each.end)}
        left_out |= {each.replaced for each in produced.replays if each.replaced is not None}
        for partitions in _together(produced):
            found = Found(keys=tuple({} for _ in witnesses))
            own = [each for each in produced.ranges if each.partition in partitions]
            for message in _except(left_out, self._own(produced, own)):
                self._note(found, message, witnesses, produced.as_of, by_others=False)
            for message in _except(left_out, self._others(produced)):
                at = _EPOCH + timedelta(milliseconds=message.timestamp)
                self._note(found, message, witnesses, at, by_others=True)
            for replay in (each for each in produced.replays if each.partition in partitions):
                for message in read(self._kafka, produced.topic, [_range(replay)]):
                    self._note(found, message, witnesses, replay.as_of, by_others=False)
            yield found

    def _own(self, produced: Produced, ranges: Iterable[OffsetRange]) -> Iterator[Message]:
        as_of = headers.stamp(produced.as_of)
        for message in read(self._kafka, produced.topic, ranges, produced.batch_id):
            if headers.text(message.headers, headers.AS_OF) == as_of:
                yield message

    def _others(self, produced: Produced) -> Iterator[Message]:
        return (each for each in read(self._kafka, produced.topic, produced.claimed) if each.batch_id is None)

    def _note(
        self, found: Found, message: Message, witnesses: Sequence[Witness], as_of: datetime, *, by_others: bool
    ) -> None:
        found.records += 1
        try:
            record = self._records.decoded(message.value or b"", by_others=by_others)
        except Reject as reject:
            log.debug("a record that is none: %s", reject)
            return
        if self._contract.violation(record) is not None:
            return
        found.ids.add(tuple(record[name] for name in self._contract.key))
        micros = (as_of - _EPOCH) // _MICROSECOND
        for keys, witness in zip(found.keys, witnesses, strict=True):
            key = witness.key(record)
            keys[key] = max(micros, keys.get(key, micros))


def _together(produced: Produced) -> list[set[int]]:
    """The partitions whose keys must be looked at as one."""
    partitions = sorted({*(each.partition for each in produced.ranges), *(each.partition for each in produced.replays)})
    return [set(partitions)] if produced.claimed else [{each} for each in partitions]


def _range(replay: Replayed) -> OffsetRange:
    return OffsetRange(replay.partition, replay.offset, replay.offset + 1)


def _except(left_out: Container[tuple[int, int]], messages: Iterable[Message]) -> Iterator[Message]:
    return (each for each in messages if (each.partition, each.offset) not in left_out)


@dataclass
class Tally:
    """What a topic has of a batch, and what each witness lacks of it."""

    records: int = 0
    keys: int = 0
    lacking: dict[str, int] = field(default_factory=dict)
    first_lacking: dict[str, list[str]] = field(default_factory=dict)

    def present(self, name: str) -> int:
        """How many of the keys the witness of this name has."""
        return self.keys - self.lacking[name]


_NAMED = 3


def tally(records: TopicRecords, produced: Produced, witnesses: Sequence[Witness]) -> Tally:
    """Read a batch again, and look up each of its keys with each witness."""
    total = Tally(lacking=dict.fromkeys((each.name for each in witnesses), 0))
    for found in records.by_partition(produced, witnesses):
        total.records += found.records
        total.keys += len(found.ids)
        for witness, keys in zip(witnesses, found.keys, strict=True):
            first = total.first_lacking.setdefault(witness.name, [])
            for key in witness.lacking(keys):
                total.lacking[witness.name] += 1
                if len(first) < _NAMED:
                    first.append(witness.named(key))
    return total


def shown(contract: Contract, values: Mapping[str, Any]) -> str:
    """`(latitude 52.5, longitude 13.25, time 2026-11-01T06:00:00Z)`: the contract's fields among `values`."""
    text = (f"{name} {_shown(contract, name, value)}" for name, value in values.items() if name in contract.by_name)
    return f"({', '.join(text)})"


def _shown(contract: Contract, name: str, value: Any) -> str:
    match contract.by_name[name].kind:
        case Kind.TIMESTAMP:
            return f"{_EPOCH + int(value or 0) * timedelta(milliseconds=1):%Y-%m-%dT%H:%M:%SZ}"
        case Kind.DATE:
            return f"{_EPOCH + int(value or 0) * timedelta(days=1):%Y-%m-%d}"
        case _:
            return str(value)
