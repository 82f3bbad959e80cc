"""The data interval of a run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from penstock.core.batch import Interval
from penstock.core.errors import Fatal

if TYPE_CHECKING:
    from airflow.sdk import Context


def data_interval(context: Context, schedule: str | None) -> Interval:
    """The run's own interval, or, where a person started it without a date, the last whole one of `schedule`.

    Raises Fatal where there is neither.
    """
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if start is not None and end is not None:
        return Interval(_utc(start), _utc(end))
    if schedule is None:
        raise Fatal("this run has no data interval: trigger it with a logical date")
    from croniter import croniter

    ticks = croniter(schedule, _utc(context["dag_run"].run_after), ret_type=datetime)
    end = ticks.get_current() if croniter.match(schedule, ticks.get_current()) else ticks.get_prev()
    return Interval(ticks.get_prev(), end)


def _utc(moment: datetime) -> datetime:
    """A plain datetime in UTC: Airflow's are pendulum's, in any time zone."""
    return datetime.fromtimestamp(moment.timestamp(), tz=UTC)
