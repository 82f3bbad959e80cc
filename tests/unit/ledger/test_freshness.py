from datetime import UTC, datetime, timedelta

import pytest

from penstock.ledger.freshness import Freshness

HOUR = timedelta(hours=1)
NEWEST = datetime(2026, 11, 1, 7, tzinfo=UTC)


def judged(age: timedelta | None) -> Freshness:
    return Freshness("weather_hourly", 3 * HOUR, None if age is None else NEWEST, age)


@pytest.mark.parametrize(
    ("age", "fresh"), [(None, False), (HOUR, True), (3 * HOUR, True), (3 * HOUR + timedelta(seconds=1), False)]
)
def test_a_pipeline_is_fresh_while_its_newest_data_is_within_the_limit(age: timedelta | None, fresh: bool) -> None:
    assert judged(age).fresh is fresh


@pytest.mark.parametrize(
    ("age", "text"),
    [
        (None, "weather_hourly: nothing has landed yet"),
        (timedelta(minutes=65), "weather_hourly: fresh, landed up to 2026-11-01 07:00 UTC, 1h 5m ago (limit 3h)"),
        (timedelta(days=2, seconds=59), "weather_hourly: stale, landed up to 2026-11-01 07:00 UTC, 2d ago (limit 3h)"),
        (timedelta(0), "weather_hourly: fresh, landed up to 2026-11-01 07:00 UTC, 0m ago (limit 3h)"),
        (-HOUR, "weather_hourly: fresh, landed up to 2026-11-01 07:00 UTC, -1h ago (limit 3h)"),
    ],
)
def test_it_reads_as_one_line(age: timedelta | None, text: str) -> None:
    assert str(judged(age)) == text
