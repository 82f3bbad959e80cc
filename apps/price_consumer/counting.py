"""The counts of one partition: a function of its records in their order, and of nothing else.

No clock is read here. Whoever starts from a `Progress` and reads the records from its offset on comes to the same
counts of every minute that is not closed there as whoever read all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeAlias

from apps.price_consumer.events import BUCKETS, Event, PriceLimits
from penstock.kafka.progress import Progress

MINUTE_MS = 60_000

REMEMBERED_IDS = 200_000
"""Ids of closed minutes that a partition keeps, to tell a repetition from a late event: about 20 MB."""


class Taken(Enum):
    """What became of a record."""

    COUNTED = auto()
    REPEATED = auto()
    LATE = auto()
    REPLAYED = auto()


@dataclass(frozen=True)
class Count:
    """The events of one minute, category and bucket, and the prices of the purchases among them, in USD.

    `minute` is its beginning in ms since the epoch.
    """

    minute: int
    category: str
    bucket: str
    events: int
    revenue: float


_Id: TypeAlias = int
"""64 bits of SipHash: of a million ids in a minute, two are taken for one with a chance of 1 in 40 million."""


@dataclass
class _Minute:
    """`counts` is {category: [events, revenue] of each bucket}."""

    first_offset: int
    ids: set[_Id] = field(default_factory=set)
    counts: dict[str, list[list[float]]] = field(default_factory=dict)
    changed: bool = False

    def add(self, category: str, bucket: int, revenue: float) -> None:
        row = self.counts.get(category)
        if row is None:
            row = self.counts[category] = [[0, 0.0] for _ in BUCKETS]
        cell = row[bucket]
        cell[0] += 1
        cell[1] += revenue
        self.changed = True

    def rows(self, minute: int) -> Iterator[Count]:
        """All buckets of each category, empty ones too: where the limits were moved, they replace what was there."""
        for category, row in self.counts.items():
            for bucket, (events, revenue) in zip(BUCKETS, row, strict=True):
                yield Count(minute, category, bucket, int(events), revenue)


class _Remembered:
    """The ids of closed minutes, the oldest minutes forgotten first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ids: dict[int, set[_Id]] = {}
        self._size = 0

    def knows(self, minute: int, identity: _Id) -> bool:
        found = self._ids.get(minute)
        return found is not None and identity in found

    def add(self, minute: int, ids: Iterable[_Id]) -> None:
        found = self._ids.setdefault(minute, set())
        before = len(found)
        found.update(ids)
        self._size += len(found) - before
        while self._size > self._limit:
            self._size -= len(self._ids.pop(min(self._ids)))


class PartitionCounts:
    """Counts the records of one partition, given in the order of their offsets.

    `lateness` in ms: a minute is closed once an event is that much newer than its end. The counts of a closed minute
    are final; they stay in `closed` until they were written.
    """

    def __init__(
        self, progress: Progress, limits: PriceLimits, lateness: int, remembered_ids: int = REMEMBERED_IDS
    ) -> None:
        self._limits = limits
        self._lateness = lateness
        self._newest = progress.newest
        self._closed_before = progress.closed_before
        self._open: dict[int, _Minute] = {}
        self._closed: dict[int, _Minute] = {}
        self._remembered = _Remembered(remembered_ids)
        self._resumed = progress
        self.position = progress.position
        """Where the first record is that was never taken."""
        self.read_to = progress.offset
        """Where the next record is; before `position` while the open minutes are counted anew after a restart."""
        self.late = progress.late

    @property
    def newest(self) -> int | None:
        """The newest event time so far, in ms since the epoch."""
        return self._newest

    @property
    def closed_rows(self) -> int:
        """How many closed counts wait to be written."""
        return sum(len(minute.counts) * len(BUCKETS) for minute in self._closed.values())

    def progress(self) -> Progress:
        """Where to go on from. Only to be committed once all closed minutes are written."""
        if self.read_to < self.position:
            return self._resumed
        first = min((minute.first_offset for minute in self._open.values()), default=self.position)
        return Progress(first, self.position, self._newest, self._closed_before, self.late)

    def skip(self, offset: int) -> bool:
        """A record at `offset` that is no event; whether it was dealt with before a restart."""
        replayed = offset < self.position
        self.read_to = offset + 1
        if not replayed:
            self.position = offset + 1
        return replayed

    def reached(self, offset: int) -> None:
        """There is no record before `offset` that was not taken."""
        self.read_to = max(self.read_to, offset)
        self.position = max(self.position, offset)

    def take(self, offset: int, event: Event) -> Taken:
        """Count one event."""
        replayed = self.skip(offset)
        minute = event.time - event.time % MINUTE_MS
        identity = hash(event.event_id)
        if self._closed_before is not None and minute < self._closed_before:
            return self._take_closed(minute, identity, replayed=replayed)
        counts = self._open.get(minute)
        if counts is None:
            counts = self._open[minute] = _Minute(offset)
        if identity in counts.ids:
            return Taken.REPLAYED if replayed else Taken.REPEATED
        counts.ids.add(identity)
        counts.add(event.category, self._limits.bucket(event.price), event.price if event.is_purchase else 0.0)
        if replayed:
            return Taken.REPLAYED
        if self._newest is None or event.time > self._newest:
            self._advance(event.time)
        return Taken.COUNTED

    def _take_closed(self, minute: int, identity: _Id, *, replayed: bool) -> Taken:
        known = self._remembered.knows(minute, identity)
        if not known:
            self._remembered.add(minute, (identity,))
        if replayed:
            return Taken.REPLAYED
        if known:
            return Taken.REPEATED
        self.late += 1
        return Taken.LATE

    def _advance(self, newest: int) -> None:
        self._newest = newest
        watermark = newest - self._lateness
        boundary = watermark - watermark % MINUTE_MS
        if self._closed_before is not None and boundary <= self._closed_before:
            return
        self._closed_before = boundary
        for minute in [each for each in self._open if each < boundary]:
            done = self._closed[minute] = self._open.pop(minute)
            self._remembered.add(minute, done.ids)
            done.ids = set()

    def closed(self) -> list[Count]:
        """The final counts that wait to be written."""
        return [row for minute, counts in self._closed.items() for row in counts.rows(minute)]

    def written(self) -> None:
        """All that `closed` gave is in InfluxDB."""
        self._closed.clear()

    def changed(self) -> list[Count]:
        """The counts so far of open minutes that changed since they were last written."""
        return [row for minute, counts in self._open.items() if counts.changed for row in counts.rows(minute)]

    def shown(self) -> None:
        """All that `changed` gave is in InfluxDB."""
        for counts in self._open.values():
            counts.changed = False
