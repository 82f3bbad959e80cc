"""What the consumer writes and commits, and when: against a group and an InfluxDB that do as the test says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from apps.price_consumer import consumer as module
from apps.price_consumer import status
from apps.price_consumer.consumer import Options, PriceConsumer
from apps.price_consumer.events import PriceLimits
from penstock.core import settings
from penstock.core.counts import OffsetRange
from penstock.core.errors import Retry
from penstock.core.record import Record
from penstock.kafka.dead_letters import DeadLetter
from penstock.kafka.member import Assigned, Batch, Owner
from penstock.kafka.progress import Progress
from penstock.kafka.reader import Message
from penstock.pipelines import WEB_EVENTS

NOON = 1_767_268_800_000
MINUTE_MS = 60_000


def value(number: int, seconds: float, **changes: Any) -> bytes:
    event = {
        "event_id": f"event-{number}",
        "time": NOON + round(seconds * 1000),
        "event_type": "purchase",
        "user_id": 1,
        "product_id": 1,
        "product": "a thing",
        "category": "toys",
        "price": 50.0,
    }
    return json.dumps(event | changes).encode()


@dataclass
class Raw:
    """A message as confluent_kafka gives it."""

    number: int
    body: bytes | None
    part: int = 0
    at: int = NOON + 3_600_000

    def partition(self) -> int:
        return self.part

    def offset(self) -> int:
        return self.number

    def value(self) -> bytes | None:
        return self.body

    def timestamp(self) -> tuple[int, int]:
        return 1, self.at

    def topic(self) -> str:
        return WEB_EVENTS.topic

    def key(self) -> None:
        return None

    def headers(self) -> None:
        return None


class Clock:
    """In place of the module time."""

    def __init__(self) -> None:
        self._now = 1_000.0

    def monotonic(self) -> float:
        return self._now

    def shift(self, seconds: float) -> None:
        self._now += seconds


class Group:
    """A group with one member, which takes commits unless `refuses`."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.away = False
        self.refuses = False
        self.paused = False
        self.commits: list[Mapping[int, Progress]] = []
        self.batches: list[Batch] = []

    def poll(self, most: int, seconds: float) -> Batch:
        return self.batches.pop(0) if self.batches else Batch([], {})

    def commit(self, progress: Mapping[int, Progress]) -> bool:
        if not self.refuses:
            self.commits.append(dict(progress))
        return not self.refuses

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def end_of(self, partition: int) -> int | None:
        return None

    def close(self) -> None:
        self.owner.revoked([0])


@dataclass
class Influx:
    """{(minute, bucket): events} of partition 0 as they were last written; `during` is called in a write."""

    events: dict[tuple[int, str], int] = field(default_factory=dict)
    away: bool = False
    during: Any = None

    def write(self, rows: Sequence[Record]) -> None:
        if self.during is not None and rows:
            self.during()
        if self.away:
            raise Retry("InfluxDB is away")
        for row in rows:
            self.events[(int(row["minute"]) - NOON) // MINUTE_MS, str(row["bucket"])] = int(row["events"])

    @property
    def medium(self) -> dict[int, int]:
        return {minute: events for (minute, bucket), events in self.events.items() if bucket == "medium"}

    def close(self) -> None:
        """Nothing to let go of."""


class Letters:
    def __init__(self) -> None:
        self.sent: list[DeadLetter] = []

    def send(self, letters: Sequence[DeadLetter], *, timeout: float) -> None:
        self.sent += letters


class Bench:
    """A consumer with partition 0, turned by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
        self.influx, self.letters, self.clock = Influx(), Letters(), clock
        monkeypatch.setattr(module, "CountsWriter", lambda *_, **__: self.influx)
        monkeypatch.setattr(module, "LetterBox", lambda *_, **__: self.letters)
        self.consumer = PriceConsumer(
            WEB_EVENTS,
            Options(PriceLimits(20, 100), ahead=60_000),
            settings.Kafka("nowhere:1", "http://nowhere"),
            settings.Influx("http://nowhere", "org", "bucket", "token"),
        )
        self.group = Group(self.consumer)
        self.consumer._member = self.group  # type: ignore[assignment]

    def give(self, progress: Progress | None = None, begin: int = 0, end: int = 0) -> int:
        return self.consumer.assigned([Assigned(0, progress, begin, end)])[0]

    def turn(self, *values: bytes, offset: int = 0, seconds: float = 10.0, end: int | None = None) -> None:
        """Let `seconds` pass, and these records come."""
        self.clock.shift(seconds)
        records = [Raw(number, each) for number, each in enumerate(values, offset)]
        self.group.batches.append(Batch(records, {} if end is None else {0: end}))
        self.consumer._turn(self.group)  # type: ignore[arg-type]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(status, "time", clock)
    return Bench(monkeypatch, clock)


def test_a_closed_minute_is_written_then_committed_and_then_the_open_ones(bench: Bench) -> None:
    bench.give()
    order: list[str] = []
    commit = bench.group.commit
    bench.influx.during = lambda: order.append("write")
    bench.group.commit = lambda progress: order.append("commit") or commit(progress)  # type: ignore[method-assign]
    bench.turn(value(1, 0), value(2, 1), value(3, 200))
    assert order == ["write", "commit", "write"]
    assert bench.influx.medium == {0: 2, 3: 1}
    assert bench.group.commits == [{0: Progress(2, 3, NOON + 200_000, NOON + MINUTE_MS)}]


def test_a_member_that_the_group_has_given_up_writes_final_counts_only(bench: Bench) -> None:
    bench.give()
    bench.group.refuses = True
    bench.turn(value(1, 0), value(3, 200))
    assert bench.influx.medium == {0: 1}
    assert bench.consumer.refused_commits == 1


def test_open_minutes_are_not_written_by_a_process_that_was_stopped_after_its_commit(bench: Bench) -> None:
    """Its partition may be another's by now, whose counts an old write would hide."""
    commit = bench.group.commit

    def stopped(progress: Mapping[int, Progress]) -> bool:
        taken = commit(progress)
        bench.clock.shift(20)
        return taken

    bench.give()
    bench.group.commit = stopped  # type: ignore[method-assign]
    bench.turn(value(1, 0))
    assert bench.influx.medium == {}
    bench.group.commit = commit  # type: ignore[method-assign]
    bench.turn()
    assert bench.influx.medium == {0: 1}


def test_open_minutes_are_not_shown_lower_than_an_earlier_owner_had_them(bench: Bench) -> None:
    assert bench.give(Progress(0, 1, NOON, NOON), end=3) == 0
    bench.turn(value(1, 0), value(2, 1))
    assert bench.influx.medium == {}
    bench.turn(value(3, 2), offset=2)
    assert bench.influx.medium == {0: 3}


def test_open_minutes_are_not_shown_before_they_are_counted_anew(bench: Bench) -> None:
    bench.give(Progress(0, 3, NOON, NOON), end=3)
    bench.turn(value(1, 0))
    assert bench.influx.medium == {}
    assert all(each == {0: Progress(0, 3, NOON, NOON)} for each in bench.group.commits)
    bench.turn(value(2, 1), value(3, 2), offset=1)
    assert bench.influx.medium == {0: 3}


def test_a_partition_whose_last_offsets_hold_no_records_is_shown_too(bench: Bench) -> None:
    bench.give(Progress(0, 1, NOON, NOON), end=5)
    bench.turn(value(1, 0), end=5)
    assert bench.influx.medium == {0: 1}
    assert bench.consumer.partitions[0].position == 5


def test_nothing_is_committed_twice(bench: Bench) -> None:
    bench.give()
    bench.turn(value(1, 0))
    bench.turn()
    bench.turn()
    assert len(bench.group.commits) == 1


def test_minutes_written_while_the_partition_was_lost_are_counted_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its successor has closed the minute with 3 events; the write of 1, begun before, lands after that."""
    log = [value(1, 0), value(2, 1), value(3, 2), value(4, 200)]
    messages = [Message("events", 0, at, NOON + 3_600_000, None, each, {}) for at, each in enumerate(log)]
    monkeypatch.setattr(module.reader, "extent", lambda *_: [OffsetRange(0, 0, len(log))])
    monkeypatch.setattr(module.reader, "read", lambda *_: iter(messages))
    bench.give()
    bench.influx.during = lambda: bench.clock.shift(20)  # the process was stopped
    bench.turn(log[0])
    assert bench.influx.medium == {0: 1}
    bench.influx.during = None
    bench.consumer.lost([0])
    bench.turn()
    assert bench.influx.medium == {0: 3}


def test_minutes_written_while_the_partition_was_certainly_owned_are_left_alone(bench: Bench) -> None:
    bench.give()
    bench.turn(value(1, 0))
    bench.consumer.lost([0])
    bench.turn()  # would ask Kafka, which is nowhere
    assert bench.influx.medium == {0: 1}
    assert not bench.consumer.partitions


def test_while_influxdb_is_away_nothing_is_committed_and_reading_stops_at_a_bound(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_CLOSED_ROWS", 3)
    bench.give()
    bench.influx.away = True
    bench.turn(value(1, 0), value(2, 200))
    assert (bench.group.commits, bench.group.paused, status.health(bench.consumer).status) == ([], False, 503)
    bench.turn(value(3, 400), offset=2)
    assert bench.group.paused
    bench.influx.away = False
    bench.turn(seconds=60)
    assert not bench.group.paused
    assert bench.influx.medium == {0: 1, 3: 1, 6: 1}
    assert status.health(bench.consumer).status == 200
    assert bench.group.commits[-1][0].position == 3


def test_a_partition_that_is_revoked_is_written_and_committed_first(bench: Bench) -> None:
    bench.give()
    bench.turn()
    before = len(bench.group.commits)
    bench.turn(value(1, 0), value(2, 200), seconds=0.1)
    assert len(bench.group.commits) == before
    bench.consumer.revoked([0])
    assert bench.influx.medium[0] == 1
    assert bench.group.commits[-1][0].position == 2
    assert not bench.consumer.partitions


def test_what_was_rejected_before_a_restart_is_not_set_aside_again(bench: Bench) -> None:
    bench.give(Progress(0, 2, NOON, NOON), end=3)
    bench.turn(b"bad", b"bad too", b"new and bad")
    assert [letter.value for letter in bench.letters.sent] == [b"new and bad"]
    assert bench.letters.sent[0].id == f"{WEB_EVENTS.topic}-0@2"
    assert bench.consumer.outcomes["rejected"] == 1


def test_a_clock_that_is_far_ahead_closes_no_minute(bench: Bench) -> None:
    bench.give()
    bench.turn(value(1, 0), value(2, 3_600 + 61), value(3, 1))
    assert bench.influx.medium == {0: 2}
    assert "a wrong clock" in bench.letters.sent[0].reason
    assert bench.consumer.outcomes["late"] == 0


def test_minutes_whose_records_expired_before_they_were_counted_keep_what_was_written(bench: Bench) -> None:
    start = bench.give(Progress(10, 20, NOON + 90_000, NOON - MINUTE_MS), begin=15, end=30)
    assert start == 15
    bench.turn(value(1, 0), value(2, 80), value(3, 130), offset=20, end=30)
    assert bench.influx.medium == {2: 1}
    assert bench.consumer.outcomes["late"] == 2


def test_a_topic_that_was_made_anew_is_read_from_its_beginning(bench: Bench) -> None:
    assert bench.give(Progress(1_000, 2_000, NOON, NOON), begin=0, end=30) == 0
    assert bench.consumer.partitions[0].progress() == Progress(0, 0)
