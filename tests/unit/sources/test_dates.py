from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.batch import Interval
from penstock.core.errors import Fatal
from penstock.sources.dates import CHUNK_ROWS, DAY, historic_interval, midnight, split

TODAY = date(2026, 11, 22)


@pytest.mark.parametrize("start", ["2026-03-01", date(2026, 3, 1), datetime(2026, 3, 1, 12, tzinfo=UTC)])
def test_both_dates_are_part_of_the_interval(start: date | str) -> None:
    assert historic_interval(start, "2026-03-31", today=TODAY) == Interval(
        datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
    )


def test_one_day_is_enough_and_yesterday_is_the_latest() -> None:
    assert historic_interval("2026-11-21", "2026-11-21", today=TODAY).end == midnight(TODAY)


@pytest.mark.parametrize(
    ("start", "end", "complaint"),
    [
        ("yesterday", "2026-03-31", "start_date is 'yesterday', not a date: give it as YYYY-MM-DD"),
        ("2026-02-30", "2026-03-31", "start_date is '2026-02-30', not a date"),
        ("2026-03-01", "", "end_date is '', not a date"),
        ("2026-03-01", None, "end_date is None, not a date"),
        ("2026-03-31", "2026-03-01", "end_date 2026-03-01 is before start_date 2026-03-31"),
        ("2026-11-01", "2026-11-22", "not over yet .*: the latest day a historic run can have is 2026-11-21"),
        ("2027-01-01", "2027-01-02", "end_date 2027-01-02 is not over yet"),
        ("1939-12-31", "1940-01-02", "start_date 1939-12-31 is before 1940-01-01"),
    ],
)
def test_dates_that_cannot_be_are_refused_by_name(start: Any, end: Any, complaint: str) -> None:
    with pytest.raises(Fatal, match=complaint):
        historic_interval(start, end, today=TODAY)


def test_a_month_of_a_hundred_locations_is_one_chunk() -> None:
    month = historic_interval("2026-03-01", "2026-03-30", today=TODAY)

    assert split(month, locations=100) == (month,)


def test_chunks_are_of_nearly_equal_length() -> None:
    year = historic_interval("2025-01-01", "2025-12-31", today=TODAY)

    lengths = [(chunk.end - chunk.start) // DAY for chunk in split(year, locations=100)]

    assert sum(lengths) == 365
    assert max(lengths) - min(lengths) <= 1


@given(
    first=st.dates(date(1940, 1, 1), date(2026, 1, 1)),
    into_day=st.integers(0, 23),
    hours=st.integers(1, 24 * 400),
    locations=st.integers(1, 2000),
    rows_per_day=st.sampled_from([1, 24]),
    max_rows=st.integers(1, CHUNK_ROWS),
)
def test_chunks_cover_the_interval_exactly_once_in_whole_days_within_the_bound(
    first: date, into_day: int, hours: int, locations: int, rows_per_day: int, max_rows: int
) -> None:
    start = midnight(first) + timedelta(hours=into_day)
    interval = Interval(start, start + timedelta(hours=hours))

    chunks = split(interval, locations=locations, rows_per_day=rows_per_day, max_rows=max_rows)

    assert chunks[0].start == interval.start
    assert chunks[-1].end == interval.end
    for before, after in pairwise(chunks):
        assert before.end == after.start == midnight(after.start.date())
    for chunk in chunks:
        days = ((chunk.end - timedelta(microseconds=1)).date() - chunk.start.date()).days + 1
        assert days == 1 or days * locations * rows_per_day <= max_rows
