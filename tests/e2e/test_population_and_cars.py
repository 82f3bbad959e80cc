"""Population and cars through the real scheduler: to InfluxDB by Spark, and to HDFS by Flume."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import requests

from penstock.core.batch import Interval
from penstock.core.settings import Hdfs, Influx, Kafka
from penstock.kafka import dead_letters
from penstock.ledger.store import Ledger, LedgerRow
from penstock.pipelines import PIPELINES
from penstock.sinks.hdfs import read_lines
from penstock.stack.airflow_api import Airflow
from tests.measurements import FOR_EVER, points
from tests.schedule import clear_of_quarter_hours

pytestmark = pytest.mark.e2e

DAY, QUARTER = timedelta(days=1), timedelta(minutes=15)
CARS, POPULATION = PIPELINES["car_transactions"], PIPELINES["population"]
SALES = 150  # of five minutes in a quarter of an hour, every two seconds
SECONDS = 60.0


def midnight(days_ago: int) -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - days_ago * DAY


class Runs:
    """Runs of a pipeline's intervals, each triggered at a moment of its own after the interval's end."""

    def __init__(self, airflow: Airflow, ledger: Ledger) -> None:
        self._airflow, self._ledger = airflow, ledger
        self._moments = count(1)

    def __call__(self, pipeline: str, start: datetime, length: timedelta) -> LedgerRow:
        """Run one interval, again if it ran before, and return what the ledger says of it."""
        moment = start + length + next(self._moments) * timedelta(seconds=1)
        self._airflow.wait(pipeline, self._airflow.trigger(pipeline, logical_date=moment))
        with self._ledger as ledger:
            (row,) = ledger.batches(pipeline, start, start + length)
        return row


@pytest.fixture
def run(airflow: Airflow, ledger: Ledger) -> Runs:
    return Runs(airflow, ledger)


@pytest.fixture
def penstock(stack: Any) -> Callable[..., str]:
    def call(*words: str) -> str:
        command = [sys.executable, "-m", "penstock.cli", *words]
        done = subprocess.run(
            command, env=stack.environment(), capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


def eventually(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + SECONDS
    while not (value := found()):
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        time.sleep(0.5)
    return value


def by_year(influx: Influx) -> Mapping[int, int]:
    found = points(influx, POPULATION.sinks[0].name, *FOR_EVER)
    years = {each["ID_Year"]: each["Population"] for each in found}
    assert len(years) == len(found), "one point a year"
    return years


def sale(number: int, time: datetime, **changes: Any) -> dict[str, Any]:
    record = {
        "transaction_id": number,
        "time": time.isoformat(),
        "buyer_id": 7,
        "buyer_name": 'Zoë "Z" O\'Neill, née Łoś',
        "car_brand": "Škoda",
        "car_model": "Octavia, Combi",
        "year": 2024,
        "color": "deep blue",
        "country": "Côte d'Ivoire",
        "branch": "Abidjan = Plateau",
        "transaction_price": 23_456.75,
    }
    return record | changes


def test_population_lands_in_influxdb_and_on_hdfs_and_again_changes_nothing(
    run: Runs, influx_settings: Influx, hdfs_settings: Hdfs
) -> None:
    row = run("population", midnight(3), DAY)
    assert (row.verdict, row.rejected) == ("whole", 0)
    assert row.fetched == row.acked == row.landed == row.raw_copied
    before = by_year(influx_settings)
    assert len(before) >= (row.landed or 0) > 5
    point = points(influx_settings, POPULATION.sinks[0].name, *FOR_EVER)[0]
    assert point["_time"] == datetime(point["Year"], 1, 1, tzinfo=UTC)
    assert (point["Nation"], point["Slug_Nation"], point["ID_Nation"]) == ("United States", "united-states", "01000US")
    lines = list(read_lines(hdfs_settings, POPULATION.raw_copy.folder, 0, int(time.time() * 1000)))
    assert {json.loads(line).get("ID_Year") for line in lines} >= set(before)

    assert run("population", midnight(3), DAY).verdict == "whole"
    assert by_year(influx_settings) == before


def test_a_spooled_response_lands_with_the_next_run_and_an_older_value_does_not_overwrite_a_newer_one(
    run: Runs, influx_settings: Influx, kafka_settings: Kafka, stack: Any, penstock: Callable[..., str], tmp_path: Path
) -> None:
    fetched = run("population", midnight(4), DAY).landed
    rows = [
        {"ID Nation": "01000US", "Nation": "United States", "ID Year": year, "Year": str(year), "Population": value}
        for year, value in ((1990, 248_709_873), (2015, 1), (1991, -5))
    ]
    file = tmp_path / "response.json"
    file.write_text(json.dumps({"data": rows, "source": []}, indent=2))
    said = penstock("spool", "population", str(file))
    assert "response" in said

    eventually(lambda: not list((stack.context.spool / "population").glob("*.json")))
    row = run("population", midnight(5), DAY)
    assert (row.verdict, row.fetched, row.rejected) == ("whole", (fetched or 0) + 3, 1)
    years = by_year(influx_settings)
    assert years[1990] == 248_709_873
    assert years[2015] > 1_000_000, "what was fetched after the file was spooled is newer"
    assert 1991 not in years
    letters = dead_letters.read(kafka_settings, POPULATION.dead_letter_topic)
    assert "Population is -5, below its minimum of 0" in {each.reason for each in letters}


def test_cars_land_once_whether_fetched_or_posted(
    run: Runs, influx_settings: Influx, stack: Any, penstock: Callable[..., str]
) -> None:
    start = midnight(6)
    row = run("car_transactions", start, QUARTER)
    assert (row.verdict, row.rejected, row.landed) == ("whole", 0, row.fetched)
    assert (row.landed or 0) >= SALES
    found = points(influx_settings, CARS.sinks[0].name, start, start + QUARTER)
    assert len(found) == SALES

    clear_of_quarter_hours()
    api = stack.context.endpoints()["car_api"]["url"]
    sold = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
    posted = [sale(number, sold) for number in range(1_000)] + [sale(7, sold)]
    answer = requests.post(f"{api}/api/logs", json=posted, timeout=30)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1_001)

    row = run("car_transactions", start + QUARTER, QUARTER)
    assert row.verdict == "whole"
    assert row.fetched == SALES + 1_001
    assert row.landed == row.raw_copied == SALES + 1_000
    assert row.duplicates == 1
    landed = points(influx_settings, CARS.sinks[0].name, sold, sold + timedelta(seconds=1))
    assert sorted(each["transaction_id"] for each in landed) == list(range(1_000))
    assert {each["buyer_name"] for each in landed} == {sale(0, sold)["buyer_name"]}
    assert {each["branch"] for each in landed} == {"Abidjan = Plateau"}

    again = run("car_transactions", start + QUARTER, QUARTER)
    assert (again.verdict, again.landed) == ("whole", SALES + 1_000)
    assert points(influx_settings, CARS.sinks[0].name, start, start + QUARTER) == found
    assert len(points(influx_settings, CARS.sinks[0].name, sold, sold + timedelta(seconds=1))) == 1_000

    interval = Interval(start, start + 2 * QUARTER)
    verified = penstock("verify", "car_transactions", "--from", str(interval.start), "--to", str(interval.end))
    assert verified.count(": whole") == 2
    assert "hdfs:/Cars" in verified


def test_a_source_that_answers_nonsense_fails_in_one_sentence_and_the_retry_completes_the_batch(
    airflow: Airflow, ledger: Ledger, replay: Any
) -> None:
    replay.fault("empty-data", times=50, path="/datausa")
    start = midnight(9)
    number = airflow.backfill("population", start, start)

    def verdict() -> str:
        with ledger as open_ledger:
            rows = open_ledger.batches("population", start, start + DAY)
        return rows[0].verdict if rows else ""

    assert "answers with no rows at all" in eventually(lambda: "produce failed" in verdict() and verdict())
    replay.clear()
    airflow.wait_backfill(number)
    assert verdict() == "whole"
