"""The dates of a historic run: checked, and split into chunks of whole days."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from math import ceil

from penstock.core.batch import Interval
from penstock.core.errors import Fatal

DAY = timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

FIRST_DAY = date(1940, 1, 1)
"""The archive's first day (ERA5): https://open-meteo.com/en/docs/historical-weather-api"""

CHUNK_ROWS = 100_000
"""Rows of one chunk: a month of hours for 100 locations, and a Kafka transaction of some seconds."""


def midnight(day: date) -> datetime:
    """The UTC instant at which `day` begins."""
    return datetime.combine(day, time(), tzinfo=UTC)


def historic_interval(start_date: date | str, end_date: date | str, *, today: date) -> Interval:
    """The interval of the days from `start_date` to `end_date`, both included, in UTC.

    Raises Fatal where one is no date, the end lies before the start, or a day is before 1940 or not over by `today`.
    """
    start, end = _day("start_date", start_date), _day("end_date", end_date)
    if start < FIRST_DAY:
        raise Fatal(f"start_date {start} is before {FIRST_DAY}, the first day there is weather for")
    if end < start:
        raise Fatal(f"end_date {end} is before start_date {start}: swap them, or give one later day")
    if end >= today:
        raise Fatal(f"end_date {end} is not over yet (UTC): the latest day a historic run can have is {today - DAY}")
    return Interval(midnight(start), midnight(end + DAY))


def _day(name: str, value: date | str) -> date:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise Fatal(f"{name} is {value!r}, not a date: give it as YYYY-MM-DD, such as 2026-03-31") from None


def split(
    interval: Interval, *, locations: int, rows_per_day: int = 24, max_rows: int = CHUNK_ROWS
) -> tuple[Interval, ...]:
    """Cut `interval` at midnights (UTC) into the fewest chunks, of nearly equal length, of at most `max_rows` each.

    `rows_per_day` are those of one location. A chunk has at least one day, however many rows that is.
    """
    first, last = interval.start.date(), (interval.end - timedelta(microseconds=1)).date()
    days = (last - first).days + 1
    days_per_chunk = max(1, max_rows // (max(1, locations) * rows_per_day))
    chunks = ceil(days / days_per_chunk)
    cuts = [midnight(first + DAY * (days * number // chunks)) for number in range(1, chunks)]
    edges = [interval.start, *cuts, interval.end]
    return tuple(Interval(start, end) for start, end in pairwise(edges))
