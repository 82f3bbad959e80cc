from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from penstock.core.batch import Interval
from penstock.core.errors import Fatal
from penstock.ledger.stream_hops import MINUTE_MS, milliseconds
from penstock.ledger.stream_verdicts import Hops, count, whole_minutes_since
from penstock.pipelines import WIKI

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = Interval(NOON, NOON + timedelta(hours=1))
FIRST = milliseconds(NOON)
SECOND = FIRST + MINUTE_MS


def ids(*numbers):
    return np.array(numbers, np.int64)


def hops(**more):
    whole = {
        "collected": {FIRST: 3, SECOND: 1},
        "on_topic": {FIRST: ids(1, 2, 3), SECOND: ids(4)},
        "raw_copied": {FIRST: ids(1, 2, 3), SECOND: ids(4)},
        "aggregated": {"points": {FIRST: 3, SECOND: 1}, "files": {FIRST: 3, SECOND: 1}},
    }
    return Hops(**whole | more)


def test_equal_counts_at_every_hop_are_whole():
    row = hops().row(WIKI, HOUR)
    assert row.whole
    assert (row.collected, row.on_topic, row.raw_copied, row.aggregated) == (4, 4, 4, {"points": 4, "files": 4})


def test_a_record_that_never_reached_the_topic_is_named_with_its_minute():
    assert hops(collected={FIRST: 3, SECOND: 3}).gaps() == [
        "the topic lacks 2 of the records collected, by minute: 12:01 2"
    ]


def test_more_of_one_minute_does_not_make_up_for_less_of_another():
    assert hops(collected={FIRST: 4}).gaps() == ["the topic lacks 1 of the records collected, by minute: 12:00 1"]


def test_a_collector_that_is_away_is_no_gap():
    row = hops(collected=None).row(WIKI, HOUR)
    assert row.whole
    assert row.collected is None


def test_the_raw_copy_is_held_against_the_topic_record_by_record():
    assert hops(raw_copied={FIRST: ids(1, 2, 9), SECOND: ids(4)}).gaps() == [
        "the raw copy lacks 1 of the topic's records, by minute: 12:00 1"
    ]


def test_a_minute_that_counts_twice_is_not_whole_though_another_lacks_as_much():
    assert hops(aggregated={"points": {FIRST: 4}}).gaps() == [
        "points counts 1 records too many, by minute: 12:00 1",
        "points lacks 1 of the topic's records, by minute: 12:01 1",
    ]


def test_what_came_late_may_be_lacking_and_no_more():
    assert hops(aggregated={"points": {FIRST: 3}}, late=1).gaps() == []
    assert hops(aggregated={"points": {FIRST: 2}}, late=1).gaps() == [
        "points lacks 2 of the topic's records (1 came late), by minute: 12:00 1, 12:01 1"
    ]


def test_many_minutes_are_named_by_the_first():
    lacking = {FIRST + each * MINUTE_MS: 1 for each in range(5)}
    (gap,) = hops(collected=lacking, on_topic={}, raw_copied={}, aggregated={}).gaps()
    assert gap.endswith("by minute: 12:00 1, 12:01 1, 12:02 1 and 2 more minutes")


def test_only_whole_minutes_are_counted():
    with pytest.raises(Fatal, match="is not of whole minutes"):
        count(WIKI, Interval(NOON, NOON + timedelta(seconds=90)), {})


@pytest.mark.parametrize(
    ("began", "now", "minutes"),
    [
        (NOON, NOON + timedelta(seconds=59), None),
        (NOON, NOON + timedelta(seconds=60), 1),
        (NOON + timedelta(seconds=1), NOON + timedelta(seconds=119), None),
        (NOON + timedelta(seconds=1), NOON + timedelta(seconds=181), 2),
    ],
)
def test_whole_minutes_begin_after_and_are_over(began, now, minutes):
    found = whole_minutes_since(began, now)
    assert (None if found is None else (found.end - found.start) // timedelta(minutes=1)) == minutes
