"""Whole runs through Airflow: an hour from trigger to verdict, part by part, and a month of history."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.core.batch import Interval
from penstock.ledger.store import Ledger
from penstock.stack import demo
from penstock.stack.airflow_api import Airflow
from penstock.stack.context import Context

_HOURS = 5
_LOCATIONS = 100
_HISTORIC_GOAL_SECONDS = 90.0
_HOURLY_GOAL_SECONDS = 15.0
_TIMEOUT = 3600.0

Line = dict[str, Any]


def run(context: Context, scale: float) -> list[Line]:
    """Measure both; `scale` shortens the history."""
    airflow = demo.airflow(context)
    airflow.wait_for_dags(set(demo.DAG_IDS))
    for dag_id in demo.DAG_IDS:
        airflow.pause(dag_id, paused=False)
    return [*_hourly(airflow, context), *_historic(airflow, context, scale)]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _hourly(airflow: Airflow, context: Context) -> list[Line]:
    """One backfilled hour after another: from the start of the run to the end of its last task."""
    newest = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=2)
    parts: dict[str, list[float]] = {}
    for hour in range(_HOURS):
        interval = Interval(newest + timedelta(hours=hour), newest + timedelta(hours=hour + 1))
        number = demo.start_backfill(airflow, "weather_hourly", interval, backwards=False)
        airflow.wait_backfill(number, _TIMEOUT)
        run_id = next(
            each["dag_run_id"]
            for each in airflow.runs("weather_hourly")
            if _moment(each["logical_date"]) == interval.start
        )
        for part, seconds in _parts(airflow, run_id).items():
            parts.setdefault(part, []).append(seconds)
    _require_whole(context, newest, newest + timedelta(hours=_HOURS))
    middle = {part: statistics.median(seconds) for part, seconds in parts.items()}
    whole = middle["whole run"]
    return [
        {
            "name": f"hourly run: {part}",
            "value": seconds,
            "unit": "s, p50",
            "baseline": "the whole run",
            "baseline_value": whole,
            "ratio": seconds / whole,
            "goal": f"at most {_HOURLY_GOAL_SECONDS:.0f} s" if part == "whole run" else None,
            "met": seconds <= _HOURLY_GOAL_SECONDS if part == "whole run" else None,
        }
        for part, seconds in middle.items()
    ]


def _parts(airflow: Airflow, run_id: str) -> Mapping[str, float]:
    tasks = {each["task_id"]: each for each in airflow.tasks("weather_hourly", run_id)}
    order = ("produce", "land", "reconcile")
    begun = min(_moment(tasks["produce"]["scheduled_when"]), _moment(tasks["produce"]["start_date"]))
    ended = _moment(tasks["reconcile"]["end_date"])
    busy = {name: float(tasks[name]["duration"]) for name in order}
    whole = (ended - begun).total_seconds()
    return {"whole run": whole, **busy, "gaps of the scheduler": whole - sum(busy.values())}


def _require_whole(context: Context, since: datetime, until: datetime) -> None:
    rows = Ledger(context.ledger_url).batches(since=since, until=until)
    broken = [row.verdict for row in rows if not row.whole]
    assert rows, "no batch in the ledger"
    assert not broken, broken


def _historic(airflow: Airflow, context: Context, scale: float) -> list[Line]:
    """30 days of 100 locations, then ten times the days: at most ten times the seconds."""
    days = max(1, round(30 * scale))
    short = _historic_seconds(airflow, context, days)
    long = _historic_seconds(airflow, context, 10 * days)
    rows = days * 24 * _LOCATIONS
    return [
        {
            "name": f"historic run, {days} days x {_LOCATIONS} locations ({rows:,} hourly rows)",
            "value": short,
            "unit": "s",
            "baseline": f"{10 * days} days",
            "baseline_value": long,
            "ratio": long / short,
            "goal": f"at most {_HISTORIC_GOAL_SECONDS:.0f} s, and 10 times the days at most 10 times the time",
            "met": short <= _HISTORIC_GOAL_SECONDS and long <= 10 * short,
        }
    ]


def _historic_seconds(airflow: Airflow, context: Context, days: int) -> float:
    last = datetime.now(UTC).date() - timedelta(days=10)
    conf = {
        "start_date": (last - timedelta(days=days - 1)).isoformat(),
        "end_date": last.isoformat(),
        "latitudes": ",".join(f"{-50 + place}" for place in range(_LOCATIONS)),
        "longitudes": ",".join(f"{-120 + 2 * place}" for place in range(_LOCATIONS)),
    }
    began = datetime.now(UTC)
    run_id = airflow.trigger("weather_historic", conf)
    state = airflow.wait("weather_historic", run_id, _TIMEOUT)
    took = (datetime.now(UTC) - began).total_seconds()
    assert state == "success", f"the historic run of {days} days ended as {state}"
    rows = [row for row in Ledger(context.ledger_url).batches() if row.started >= began]
    assert all(row.whole for row in rows), [row.verdict for row in rows]
    hourly = sum(row.landed or 0 for row in rows if row.pipeline == "weather_hourly")
    assert hourly == days * 24 * _LOCATIONS, f"{hourly} hourly rows landed"
    return took
