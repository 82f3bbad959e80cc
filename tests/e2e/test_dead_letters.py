"""Dead letters as a person handles them: by `penstock dlq`, through the real scheduler."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from penstock.core.batch import Batch, Interval
from penstock.core.settings import PROJECT, Kafka
from penstock.ledger.store import Ledger
from penstock.pipelines.weather import WEATHER_HOURLY
from penstock.stack.airflow_api import Airflow
from tests.dead_letters import Case

pytestmark = pytest.mark.e2e

HOUR = timedelta(hours=1)


@pytest.fixture
def penstock(stack: Any) -> Any:
    """penstock(*arguments): the command's exit code and what it printed."""
    told = {name: os.environ[name] for name in ("PENSTOCK_VAR", "PENSTOCK_ENV_FILE", "PENSTOCK_PORTS")}
    environment = {**stack.environment(), **told, "PYTHONPATH": f"{PROJECT}/plugins:{PROJECT}"}

    def run(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "penstock.cli", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture
def case(kafka_settings: Kafka, stack: Any, ledger: Ledger) -> Case:
    """An hour of the hourly weather, at a place of its own, with two letters."""
    start = datetime(2020, 1, 1, tzinfo=UTC) + int(time.time()) % 50_000 * HOUR
    found = Case(WEATHER_HOURLY, kafka_settings, stack.context.ledger_url, ledger)
    found.batch = Batch(WEATHER_HOURLY.name, Interval(start, start + HOUR), {"test": "dead letters"})
    produced = found.produce([record(start, 50), record(start, 101), record(start, -1, longitude=9.5)])
    found.judge(produced, found.land(produced))
    return found


def record(at: datetime, humidity: float, longitude: float = 8.5) -> dict[str, Any]:
    place = {"latitude": 71.25, "longitude": longitude, "grid_latitude": 71.0, "grid_longitude": 8.0}
    return {
        **place,
        "time": int(at.timestamp()) * 1000 + (0 if humidity == 50 else 1),
        "relative_humidity_2m": humidity,
    }


def test_a_letter_is_listed_shown_refused_mended_and_replayed_and_another_dropped(
    case: Case, penstock: Any, airflow: Airflow
) -> None:
    batch, interval = case.batch.id, case.batch.interval
    assert case.row_of(batch).verdict == "whole"
    code, listed = penstock("dlq", "list", "weather_hourly", "--json")
    assert code == 0, listed
    letters = {row["reason"]: row["id"] for row in json.loads(listed) if row["batch_id"] == batch}
    letter = letters["relative_humidity_2m is 101, above its maximum of 100"]
    other = letters["relative_humidity_2m is -1, below its minimum of 0"]
    _, shown = penstock("dlq", "show", str(letter))
    assert '"relative_humidity_2m": 101' in shown
    assert re.search(r"state\s+open", shown)

    code, said = penstock("dlq", "replay", str(letter))
    assert code == 1, said
    assert f"refused: letter {letter}: it would be rejected again" in said

    code, said = penstock("dlq", "replay", str(letter), "--set", "relative_humidity_2m=100")
    assert code == 0, said
    assert f"{batch}: whole" in said
    row = case.row_of(batch)
    assert (row.fetched, row.acked, row.landed, row.rejected, row.verdict) == (3, 3, 2, 1, "whole")
    times = [f"{at:%Y-%m-%dT%H:%M:%S}" for at in (interval.start, interval.end)]
    code, said = penstock("verify", "weather_hourly", "--from", times[0], "--to", times[1])
    assert f"{batch}: ledger 2, topic 2, hourlydata 2: whole" in said

    code, said = penstock("dlq", "drop", str(other), "--why", "the sensor was broken")
    assert (code, "dropped: 1" in said) == (0, True), said
    code, said = penstock("dlq", "replay", str(other), "--set", "relative_humidity_2m=0")
    assert (code, "it was dropped already" in said) == (1, True), said
    states = {row["id"]: row["state"] for row in json.loads(penstock("dlq", "list", "--any-state", "--json")[1])}
    assert (states[letter], states[other]) == ("replayed", "dropped")

    (run, *_) = [each for each in airflow.runs("maintenance") if each["run_type"] == "manual"]
    airflow.wait("maintenance", run["dag_run_id"])
    tasks = airflow.tasks("maintenance", run["dag_run_id"])
    skipped = {task["task_id"] for task in tasks if task["state"] == "skipped"}
    assert skipped == {"drop_dead_letters", "finish_raw_copies", "merge_minute_counts"}
