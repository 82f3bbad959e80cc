"""The consumer: reads its partitions, writes their counts to InfluxDB, and then commits how far it is.

What is written first is final: a closed minute's counts are the same whoever counts them, so they may be written again
by a restarted consumer, or by one that has lost the partition and does not know yet. Counts of open minutes are not:
an old one would hide a newer one. They are written only just after a commit that the group took, while nobody else can
have the partition; where the write took too long for that and the partition is gone, it is made good by `_Repair`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from apps.price_consumer.backoff import Backoff
from apps.price_consumer.counting import MINUTE_MS, Count, PartitionCounts, Taken
from apps.price_consumer.events import PriceLimits, decode
from penstock.core import settings
from penstock.core.counts import OffsetRange
from penstock.core.errors import Reject, Retry
from penstock.core.record import Record
from penstock.core.stream import Stream
from penstock.kafka import reader
from penstock.kafka.dead_letters import DeadLetter, LetterBox
from penstock.kafka.member import HEARTBEAT_SECONDS, SESSION_SECONDS, Assigned, Member
from penstock.kafka.progress import Progress
from penstock.sinks.influxdb_counts import CountsWriter

_log = logging.getLogger(__name__)

_BATCH = 5_000
_POLL_SECONDS = 0.5
_SETTLE_SECONDS = 2.0
_WRITE_PATIENCE_SECONDS = 5.0
_LETTERS_SECONDS = 10.0
_MOST_LETTERS = 1_000
_MOST_CLOSED_ROWS = 20_000
"""Counts of closed minutes that wait for InfluxDB before nothing more is read."""

_OWNED_SECONDS = SESSION_SECONDS - 2 * HEARTBEAT_SECONDS
"""How long after a commit that the group took nobody else can have the partitions."""

_LEASE_SECONDS = _OWNED_SECONDS / 2
"""How long after it a write of open minutes may begin."""

OUTCOMES = ("counted", "repeated", "late", "rejected")


@dataclass(frozen=True)
class Options:
    """What the counting depends on, but for the stream. `ahead` is in ms."""

    limits: PriceLimits
    ahead: int


@dataclass(frozen=True)
class _Repair:
    """A partition that was lost while its open `minutes` were being written, counted up to `since`."""

    partition: int
    since: Progress
    minutes: frozenset[int]


class PriceConsumer:
    """Counts the stream's events until it is told to stop. `outcomes`, `commits` and the like are for its metrics."""

    def __init__(self, stream: Stream, options: Options, kafka: settings.Kafka, influx: settings.Influx) -> None:
        """Raises Fatal for names that InfluxDB cannot store."""
        self._stream = stream
        self._options = options
        self._kafka = kafka
        aggregate = stream.aggregate
        self._writer = CountsWriter(
            influx, aggregate.measurement.name, aggregate.contract, patience=_WRITE_PATIENCE_SECONDS
        )
        self._letter_box = LetterBox(kafka, stream.dead_letter_topic)
        self._letters: list[DeadLetter] = []
        self._member: Member | None = None
        self._partitions: dict[int, PartitionCounts] = {}
        self._shown_from: dict[int, int] = {}
        self._committed: dict[int, Progress] = {}
        self._doubtful: dict[int, _Repair] = {}
        self._repairs: list[_Repair] = []
        self.lag: dict[int, int] = {}
        self._kept: tuple[dict[int, Any], ...] = (
            self._partitions,
            self._shown_from,
            self._committed,
            self._doubtful,
            self.lag,
        )
        self._proven = -float("inf")
        self._settle_at = 0.0
        self._influx_backoff = Backoff()
        self._kafka_backoff = Backoff()
        self.outcomes: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        self.commits = 0
        self.refused_commits = 0
        self.influx_away: str | None = None
        self.kafka_away: str | None = "Kafka has not answered yet"
        self.turned = time.monotonic()
        """When it last got on, in seconds of the monotonic clock."""

    @property
    def partitions(self) -> Mapping[int, PartitionCounts]:
        """{partition: its counts} of those that this consumer has now."""
        return dict(self._partitions)

    def run(self, stopping: threading.Event) -> None:
        """Consume until `stopping` is set. Raises Fatal for what a person must mend."""
        while not stopping.is_set():
            try:
                self._repair()
                self._be_member(stopping)
            except Retry as error:
                self.kafka_away = str(error)
                pause = self._kafka_backoff.next()
                _log.warning("%s; the next try is in %.1f s", error, pause)
                self._wait(pause, stopping)
        self._last_repair()
        self._writer.close()

    def _wait(self, seconds: float, stopping: threading.Event) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not stopping.is_set():
            self.turned = time.monotonic()
            stopping.wait(min(left, 1.0))

    def _be_member(self, stopping: threading.Event) -> None:
        member = self._member = Member(self._kafka, self._stream.counted_by, self._stream.topic, self)
        try:
            while not stopping.is_set():
                self._turn(member)
            if not member.away:
                self._settle_or_wait()
        finally:
            member.close()
            self._member = None
            self._forget(list(self._partitions))
            self._letters.clear()  # they are rejected again

    def _turn(self, member: Member) -> None:
        self.turned = time.monotonic()
        batch = member.poll(_BATCH, _POLL_SECONDS)
        self._take(batch.records)
        for partition, offset in batch.ends.items():
            self._reached(partition, offset)
        self._measure(member)
        self.kafka_away = "Kafka is not connected" if member.away else None
        full = self._is_full()
        if full or time.monotonic() >= self._settle_at:
            self._settle_or_wait()
            full = self._is_full()
        if full:
            member.pause()
        else:
            member.resume()

    def _measure(self, member: Member) -> None:
        for partition, counts in self._partitions.items():
            end = member.end_of(partition)
            self.lag[partition] = max(0, (end or 0) - counts.position)

    def _is_full(self) -> bool:
        waiting = sum(each.closed_rows for each in self._partitions.values())
        return waiting > _MOST_CLOSED_ROWS or len(self._letters) > _MOST_LETTERS

    # --- What the group tells ---

    def assigned(self, partitions: Sequence[Assigned]) -> Mapping[int, int]:
        """See `member.Owner`."""
        starts = {}
        for each in partitions:
            progress = self._start(each)
            self._partitions[each.partition] = self._counts_from(progress)
            self._shown_from[each.partition] = each.end  # an earlier owner has shown no more than that
            starts[each.partition] = progress.offset
        _log.info("took up the partitions %s", starts)
        self._kafka_backoff.reset()
        return starts

    def _start(self, given: Assigned) -> Progress:
        progress = given.progress
        if progress is None:
            return Progress(given.begin, given.begin)
        if progress.offset > given.end:
            _log.error("partition %d ends before the offset that was committed: it was made anew", given.partition)
            return Progress(given.begin, given.begin)
        if progress.offset >= given.begin:
            return progress
        _log.error(
            "partition %d has lost records from %d to %d before they were counted: what was written of their minutes "
            "stands, and what is left of them counts as late",
            given.partition,
            progress.offset,
            given.begin,
        )
        newest = progress.newest
        closed_before = None if newest is None else newest - newest % MINUTE_MS + MINUTE_MS
        return Progress(given.begin, max(progress.position, given.begin), newest, closed_before, progress.late)

    def revoked(self, partitions: Iterable[int]) -> None:
        """See `member.Owner`: write and commit, or leave it to the next owner, who counts the same anew."""
        given_up = list(partitions)
        if self._member is not None and not self._member.away:
            try:
                self._settle()
            except Retry as error:
                _log.warning("gave up the partitions %s as they were last committed: %s", given_up, error)
        _log.info("gave up the partitions %s", given_up)
        self._forget(given_up)

    def lost(self, partitions: Iterable[int]) -> None:
        """See `member.Owner`."""
        gone = list(partitions)
        _log.warning("lost the partitions %s", gone)
        self._proven = -float("inf")
        self._forget(gone)

    def _forget(self, partitions: Iterable[int]) -> None:
        for each in partitions:
            if each in self._doubtful:
                self._repairs.append(self._doubtful[each])
            for kept in self._kept:
                kept.pop(each, None)

    # --- Records ---

    def _take(self, messages: Sequence[Any]) -> None:
        found: Counter[Taken] = Counter()
        partitions, ahead = self._partitions, self._options.ahead
        for message in messages:
            counts = partitions.get(message.partition())
            if counts is None:
                continue  # it was given up while this record was on its way
            offset = message.offset()
            try:
                event = decode(message.value(), message.timestamp()[1], ahead)
            except Reject as reject:
                if not counts.skip(offset):
                    self._letters.append(DeadLetter.of_message(reader.message_of(message), str(reject)))
                    self.outcomes["rejected"] += 1
            else:
                found[counts.take(offset, event)] += 1
        for outcome, name in ((Taken.COUNTED, "counted"), (Taken.REPEATED, "repeated"), (Taken.LATE, "late")):
            self.outcomes[name] += found[outcome]

    def _reached(self, partition: int, offset: int) -> None:
        """There is no record before `offset` that was not taken; nor one that an earlier owner can have shown."""
        if (counts := self._partitions.get(partition)) is not None:
            counts.reached(offset)
            self._shown_from[partition] = min(self._shown_from[partition], offset)

    # --- What is written ---

    def _settle_or_wait(self) -> None:
        """`_settle`, unless InfluxDB failed so lately that it is too soon for another try."""
        if self.influx_away and time.monotonic() < self._settle_at:
            return
        self._settle_at = time.monotonic() + _SETTLE_SECONDS
        self._settle()
        self._repair()

    def _settle(self) -> None:
        """Write what is closed and commit; then show what is open. Raises Retry where Kafka fails."""
        if not self._write(
            [row for each in self._partitions.items() for row in count_rows(*each, PartitionCounts.closed)]
        ):
            return
        for counts in self._partitions.values():
            counts.written()
        self._letter_box.send(self._letters, timeout=_LETTERS_SECONDS)
        self._letters.clear()
        shown = {
            each: rows
            for each, counts in self._caught_up()
            if (rows := count_rows(each, counts, PartitionCounts.changed))
        }
        if not shown:
            self.influx_away = None  # nothing waits for it
        if self._commit(needed=bool(shown)) and shown:
            self._show(shown)

    def _caught_up(self) -> list[tuple[int, PartitionCounts]]:
        """The partitions whose open minutes are no lower than an earlier owner has shown them."""
        return [(each, counts) for each, counts in self._partitions.items() if counts.read_to >= self._shown_from[each]]

    def _commit(self, *, needed: bool) -> bool:
        """Commit what is new, and with `needed` what is not; whether the group takes this for its member."""
        if self._member is None or self._member.away:
            return False
        progress = {partition: counts.progress() for partition, counts in self._partitions.items()}
        if progress == self._committed and not needed:
            return True
        began = time.monotonic()
        if not self._member.commit(progress):
            self.refused_commits += 1
            self._proven = -float("inf")
            return False
        self._proven = began
        self._committed.update(progress)
        self._doubtful.clear()
        self.commits += 1
        return True

    def _show(self, shown: Mapping[int, list[Record]]) -> None:
        """Write counts of open minutes, while nobody else can have their partitions."""
        if time.monotonic() > self._proven + _LEASE_SECONDS:
            return
        for partition, rows in shown.items():
            minutes = frozenset(int(row["minute"] or 0) for row in rows)
            self._doubtful[partition] = _Repair(partition, self._committed[partition], minutes)
        written = self._write([row for rows in shown.values() for row in rows])
        if not written:
            return  # a request that was not answered may still be carried out
        if time.monotonic() < self._proven + _OWNED_SECONDS:
            self._doubtful.clear()
        for partition in shown:
            self._partitions[partition].shown()

    def _repair(self) -> None:
        """Count the minutes anew that were written in doubt, and write those of them that are final by now.

        The others are written by the partition's owner when they are.
        """
        while self._repairs:
            repair = self._repairs[0]
            _log.warning("partition %d was lost while it was written: counting its minutes anew", repair.partition)
            rows = count_rows(repair.partition, self._recount(repair), PartitionCounts.closed)
            if not self._write([row for row in rows if row["minute"] in repair.minutes]):
                return
            del self._repairs[0]

    def _last_repair(self) -> None:
        try:
            self._repair()
        except Retry as error:
            _log.error("minutes that were written in doubt could not be counted anew: %s", error)

    def _recount(self, repair: _Repair) -> PartitionCounts:
        topic, partition = self._stream.topic, repair.partition
        counts = self._counts_from(repair.since)
        ends = {each.partition: each.end for each in reader.extent(self._kafka, topic)}
        for message in reader.read(self._kafka, topic, [OffsetRange(partition, repair.since.offset, ends[partition])]):
            with suppress(Reject):
                counts.take(message.offset, decode(message.value, message.timestamp, self._options.ahead))
        return counts

    def _counts_from(self, progress: Progress) -> PartitionCounts:
        lateness = round(self._stream.lateness.total_seconds() * 1000)
        return PartitionCounts(progress, self._options.limits, lateness)

    def _write(self, rows: Sequence[Record]) -> bool:
        """Whether InfluxDB took them; where it did not, it is left alone for a while."""
        if not rows:
            return True
        try:
            self._writer.write(rows)
        except Retry as error:
            pause = self._influx_backoff.next()
            self._settle_at = time.monotonic() + pause
            self.influx_away = str(error)
            _log.warning("%s; the next try is in %.1f s", error, pause)
            return False
        self.influx_away = None
        self._influx_backoff.reset()
        return True


def count_rows(
    partition: int, counts: PartitionCounts, which: Callable[[PartitionCounts], Iterable[Count]]
) -> list[Record]:
    """Counts as records of the aggregate's contract."""
    return [
        {
            "minute": each.minute,
            "category": each.category,
            "bucket": each.bucket,
            "partition": str(partition),
            "events": each.events,
            "revenue": each.revenue,
        }
        for each in which(counts)
    ]
