from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest

from penstock.airflow.intervals import data_interval
from penstock.core.batch import Interval
from penstock.core.errors import Fatal


def manual(run_after: datetime) -> dict[str, Any]:
    return {"dag_run": SimpleNamespace(run_after=run_after)}


def test_a_run_has_the_interval_that_airflow_gives_it() -> None:
    start, end = (pendulum.datetime(2026, 3, 1, hour, tz="UTC") for hour in (10, 11))
    interval = data_interval({"data_interval_start": start, "data_interval_end": end}, "0 * * * *")
    assert interval == Interval(datetime(2026, 3, 1, 10, tzinfo=UTC), datetime(2026, 3, 1, 11, tzinfo=UTC))
    assert type(interval.start) is datetime


def test_times_of_other_zones_are_taken_in_utc() -> None:
    start, end = (pendulum.datetime(2026, 3, 1, hour, tz="Asia/Tokyo") for hour in (9, 10))
    interval = data_interval({"data_interval_start": start, "data_interval_end": end}, None)
    assert str(interval) == "2026-03-01T00:00:00Z/2026-03-01T01:00:00Z"


@pytest.mark.parametrize(
    ("schedule", "run_after", "expected"),
    [
        ("0 * * * *", datetime(2026, 3, 1, 11, 20, tzinfo=UTC), "2026-03-01T10:00:00Z/2026-03-01T11:00:00Z"),
        ("0 * * * *", datetime(2026, 3, 1, 11, tzinfo=UTC), "2026-03-01T10:00:00Z/2026-03-01T11:00:00Z"),
        ("0 0 * * *", datetime(2026, 3, 1, 11, 20, tzinfo=UTC), "2026-02-28T00:00:00Z/2026-03-01T00:00:00Z"),
    ],
)
def test_a_run_without_a_date_takes_the_last_whole_interval(schedule: str, run_after: datetime, expected: str) -> None:
    assert str(data_interval(manual(run_after), schedule)) == expected


def test_a_run_with_neither_date_nor_schedule_is_refused() -> None:
    with pytest.raises(Fatal, match="trigger it with a logical date"):
        data_interval(manual(datetime(2026, 3, 1, tzinfo=UTC)), None)
