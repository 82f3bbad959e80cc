"""The counting of one partition, against a plain count by id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from apps.price_consumer.counting import MINUTE_MS, Count, PartitionCounts, Taken
from apps.price_consumer.events import Event, PriceLimits
from penstock.kafka.progress import Progress
from tests.price_events import Totals, plain_count

LIMITS = PriceLimits(20, 100)
LATENESS = 2 * MINUTE_MS
NOON = 1_767_268_800_000
FRESH = Progress(0, 0)


def event(number: int, seconds: float = 0, **changes: object) -> Event:
    given: dict[str, object] = {
        "event_id": f"event-{number}",
        "time": NOON + round(seconds * 1000),
        "event_type": "purchase" if number % 3 == 0 else "view",
        "user_id": number,
        "product_id": number,
        "product": "a thing",
        "category": f"category {number % 2}",
        "price": float(number * 7 % 150),
    }
    return Event(**given | changes)  # type: ignore[arg-type]


def counts_from(progress: Progress = FRESH, lateness: int = LATENESS, **more: int) -> PartitionCounts:
    return PartitionCounts(progress, LIMITS, lateness, **more)


def totals(rows: Iterable[Count]) -> Totals:
    return {(row.minute, row.category, row.bucket): (row.events, row.revenue) for row in rows if row.events}


def plain(events: Sequence[Event]) -> tuple[Totals, int]:
    return plain_count([msgspec.structs.asdict(each) for each in events], LATENESS)


class Consumer:
    """Takes a partition's records, writes and commits as the program does, and may be killed at any moment."""

    def __init__(self, log: Sequence[Event], gaps: int = 1) -> None:
        self.log = log
        self.gaps = gaps
        self.stored: Totals = {}
        self.committed = FRESH
        self.restart()

    def restart(self) -> None:
        self.counts = counts_from(self.committed)
        self.next = -(-self.committed.offset // self.gaps)
        self.shown_from = min(len(self.log) * self.gaps, self.counts.position)

    def take(self, records: int) -> None:
        for number in range(self.next, min(self.next + records, len(self.log))):
            self.counts.take(number * self.gaps, self.log[number])
        self.next = min(self.next + records, len(self.log))

    def write(self) -> None:
        self.stored |= totals(self.counts.closed())
        self.counts.written()

    def commit(self) -> None:
        self.write()
        self.committed = Progress.read(self.counts.progress().offset, self.counts.progress().metadata())

    def show(self) -> None:
        self.stored |= totals(self.counts.changed())
        self.counts.shown()


@st.composite
def partitions(draw: st.DrawFn) -> list[Event]:
    """Events around a clock that moves on, out of order, some far too late, with repetitions of any of them."""
    clock, log = 0.0, list[Event]()
    for number in range(draw(st.integers(0, 60))):
        if log and draw(st.booleans()):
            log.append(draw(st.sampled_from(log)))
            continue
        clock += draw(st.floats(0, 60))
        log.append(event(number, clock - draw(st.one_of(st.floats(0, 200), st.floats(0, 1_000)))))
    return log


STEPS = st.lists(
    st.one_of(st.integers(1, 12), st.sampled_from(["write", "commit", "kill", "kill"])),
    max_size=40,
)


@given(partitions(), STEPS, st.integers(1, 3))
def test_restarts_at_any_point_change_no_count(log: list[Event], steps: list[int | str], gaps: int) -> None:
    consumer = Consumer(log, gaps)
    for step in steps:
        match step:
            case "kill":
                consumer.restart()
            case "commit":
                consumer.commit()
            case "write":
                consumer.write()
            case int():
                consumer.take(step)
    consumer.take(len(log))
    consumer.commit()
    consumer.show()
    expected, late = plain(log)
    assert consumer.stored == expected
    assert consumer.counts.late >= late  # a repetition whose id was forgotten in a restart counts as late


@given(partitions(), STEPS)
def test_what_is_shown_never_falls_below_a_complete_count(log: list[Event], steps: list[int | str]) -> None:
    """A consumer that has caught up with what an earlier one may have shown shows no less."""
    consumer = Consumer(log)
    for step in steps:
        before = dict(consumer.stored)
        if isinstance(step, int):
            consumer.take(step)
        elif step == "kill":
            consumer.restart()
        else:
            consumer.commit()
            if consumer.counts.read_to >= consumer.shown_from:
                consumer.show()
        assert all(consumer.stored[key] >= value for key, value in before.items())


@given(partitions())
def test_without_a_restart_late_events_and_repetitions_are_told_apart(log: list[Event]) -> None:
    counts = counts_from()
    outcomes = [counts.take(offset, each) for offset, each in enumerate(log)]
    expected, late = plain(log)
    assert counts.late == outcomes.count(Taken.LATE) == late
    assert outcomes.count(Taken.COUNTED) == sum(events for events, _ in expected.values())


def test_a_minute_closes_when_the_watermark_passes_its_end() -> None:
    counts = counts_from()
    counts.take(0, event(1, 59.999))
    counts.take(1, event(2, 179.999))
    assert counts.closed() == []
    counts.take(2, event(3, 180))
    assert {row.minute for row in counts.closed()} == {NOON}
    assert counts.take(3, event(4, 30)) is Taken.LATE
    assert counts.late == 1


def test_a_commit_goes_back_to_the_first_record_of_an_open_minute() -> None:
    counts = counts_from()
    for offset, seconds in enumerate([0, 70, 10, 130, 200, 190]):
        counts.take(offset, event(offset, seconds))
    progress = counts.progress()
    assert (progress.offset, progress.position) == (1, 6)
    assert progress.closed_before == NOON + MINUTE_MS
    assert Progress.read(progress.offset, progress.metadata()) == progress


def test_a_commit_while_open_minutes_are_counted_anew_gives_none_of_them_up() -> None:
    counts = counts_from()
    for offset, seconds in enumerate([0, 70, 10]):
        counts.take(offset, event(offset, seconds))
    before = counts.progress()
    again = counts_from(before)
    assert again.progress() == before
    again.take(0, event(0, 0))
    assert again.progress() == before
    again.take(1, event(1, 70))
    again.take(2, event(2, 10))
    assert again.progress() == before
    assert totals(again.changed()) == totals(counts.changed())


def test_all_buckets_of_a_category_are_written() -> None:
    """So that a bucket that nothing falls into any more, after the limits were moved, does not keep its count."""
    counts = counts_from()
    counts.take(0, event(0, price=50.0, category="toys"))
    assert [(row.bucket, row.events, row.revenue) for row in counts.changed()] == [
        ("low", 0, 0.0),
        ("medium", 1, 50.0),
        ("high", 0, 0.0),
    ]
    counts.shown()
    assert counts.changed() == []


def test_a_repetition_after_its_minute_is_closed_is_told_while_its_id_is_known() -> None:
    counts = counts_from(remembered_ids=1)
    for offset, seconds in enumerate([0, 70, 300]):
        counts.take(offset, event(offset, seconds))
    assert counts.take(3, event(1, 70)) is Taken.REPEATED
    assert counts.take(4, event(0, 0)) is Taken.LATE  # only the newest closed minute is remembered


def test_with_another_lateness_no_closed_minute_opens_again() -> None:
    counts = counts_from()
    for offset, seconds in enumerate([0, 70, 300]):
        counts.take(offset, event(offset, seconds))
    counts.written()
    later = counts_from(counts.progress(), lateness=10 * MINUTE_MS)
    later.take(2, event(2, 300))
    assert later.take(3, event(3, 80)) is Taken.LATE
    assert later.closed() == []


def test_records_that_are_no_events_move_the_position() -> None:
    counts = counts_from()
    assert not counts.skip(0)
    assert counts.skip(0)
    counts.reached(5)
    assert counts.progress() == Progress(5, 5)
