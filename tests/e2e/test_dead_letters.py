"""Dead letters as a person handles them: by `penstock dlq`, through the real scheduler."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import Producer

from penstock.core.batch import Interval
from penstock.core.settings import PROJECT, Influx
from penstock.ledger.store import Ledger
from penstock.pipelines.population import POPULATION
from penstock.stack.airflow_api import Airflow
from tests import measurements

pytestmark = pytest.mark.e2e

DAY = timedelta(days=1)


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


def test_a_letter_is_listed_shown_refused_mended_replayed_and_another_dropped(
    penstock: Any, airflow: Airflow, ledger: Ledger, stack: Any, influx_settings: Influx
) -> None:
    number = f"{datetime.now(UTC):%H%M%S%f}"
    nation = f"Ruritania {number}"
    figures = {"ID Nation": f"RU{number}", "Nation": nation, "ID Year": 1999, "Year": "1999", "Population": -5}
    producer = Producer({"bootstrap.servers": stack.environment()["KAFKA_BOOTSTRAP_SERVERS"]})
    for value in (figures, {"Nation": nation}):
        producer.produce(POPULATION.topic, json.dumps(value).encode())
    producer.flush(30)
    start = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - 9 * DAY
    interval = Interval(start, start + DAY)
    airflow.wait_backfill(airflow.backfill("population", interval.start, interval.start))
    (before,) = ledger.batches("population", interval.start, interval.end)
    assert before.verdict == "whole"
    assert (before.rejected or 0) >= 2

    _, listed = penstock("dlq", "list", "population", "--json")
    rows = sorted(json.loads(listed), key=lambda row: row["id"])[-2:]  # the newest are these
    (letter,) = (row["id"] for row in rows if "Population is -5, below its minimum of 0" in row["reason"])
    (other,) = (row["id"] for row in rows if row["id"] != letter)
    _, shown = penstock("dlq", "show", str(letter))
    assert nation in shown
    assert re.search(r"state\s+open", shown)

    code, said = penstock("dlq", "replay", str(letter))
    assert code == 1, said
    assert f"refused: letter {letter}: it would be rejected again" in said

    code, said = penstock("dlq", "replay", str(letter), "--set", "Population=5")
    assert code == 0, said
    assert f"{before.batch_id}: whole" in said
    (after,) = ledger.batches("population", interval.start, interval.end)
    assert (after.landed, after.rejected, after.verdict) == (
        (before.landed or 0) + 1,
        (before.rejected or 0) - 1,
        "whole",
    )
    points = measurements.points(influx_settings, POPULATION.sinks[0].name, *measurements.FOR_EVER)
    assert len([each for each in points if nation in each.values()]) == 1
    assert penstock("verify", "population", "--from", f"{start:%Y-%m-%d}", "--to", f"{start + DAY:%Y-%m-%d}")[0] == 0

    code, said = penstock("dlq", "drop", str(other), "--why", "there is no such nation")
    assert (code, "dropped: 1" in said) == (0, True), said
    assert penstock("dlq", "replay", str(other))[0] == 1
    states = {row["id"]: row["state"] for row in json.loads(penstock("dlq", "list", "--any-state", "--json")[1])}
    assert (states[letter], states[other]) == ("replayed", "dropped")
