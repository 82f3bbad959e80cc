"""A sixth data set, added to the running stack as docs/add-a-data-set.md says: three files, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hdfs import InsecureClient

from penstock.core.settings import Cassandra, Hdfs, Influx, Kafka
from penstock.kafka import dead_letters
from penstock.stack.airflow_api import Airflow
from tests import documented, tables
from tests.conftest import TEST_DATA_SETS, Stack
from tests.measurements import points

pytestmark = pytest.mark.e2e

DAY = timedelta(days=1)
FIRST = datetime(2026, 3, 1, tzinfo=UTC)
DAYS = 3
QUAKES = 40  # a day that are sound; two more are not
AGENT = "flume-earthquakes-hdfs"
SECONDS = 240.0

Penstock = Callable[..., str]


def feature(number: int, moment: datetime, **said: Any) -> dict[str, Any]:
    """One earthquake in the words of the USGS."""
    properties = {
        "mag": None if number == 7 else round(0.4 + number % 50 / 10, 2),
        "place": f'{number} km ESE of "Ōtaki", New Zealand',
        "time": int(moment.timestamp() * 1000),
        "updated": int(moment.timestamp() * 1000) + 5_400_000,
        "magType": None if number == 7 else ("ml", "md", "mww")[number % 3],
        "type": "earthquake",
        "net": ("ci", "nc", "us")[number % 3],
        "code": f"{number:08}",
    }
    return {
        "type": "Feature",
        "properties": properties | said,
        "geometry": {"type": "Point", "coordinates": [-116.5 + number / 100, 33.5, 8.25 - number / 10]},
        "id": f"{properties['net']}{moment:%Y%m%d}{number:04}",
    }


def of_day(day: datetime) -> list[dict[str, Any]]:
    quakes = [feature(number, day + number * timedelta(minutes=30, milliseconds=7)) for number in range(QUAKES)]
    impossible = feature(QUAKES, day + timedelta(hours=23), mag=12.5)
    nowhere = feature(QUAKES + 1, day + timedelta(hours=23, minutes=1)) | {"geometry": None}
    return [*quakes, impossible, nowhere]


class EventService(BaseHTTPRequestHandler):
    """Answers as the event service of the USGS does."""

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        start, last = (datetime.fromisoformat(asked[name][0]).replace(tzinfo=UTC) for name in ("starttime", "endtime"))
        days = [FIRST + number * DAY for number in range(-1, DAYS + 1)]
        found = [
            each
            for day in days
            for each in of_day(day)
            if start.timestamp() * 1000 <= each["properties"]["time"] <= last.timestamp() * 1000
        ]
        body = json.dumps({"type": "FeatureCollection", "features": found}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        """Nothing."""


@pytest.fixture
def service() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), EventService)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/query"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def penstock(stack: Stack) -> Penstock:
    def call(*words: str, code: int = 0) -> str:
        """What the command says, as from a shell of a person."""
        done = subprocess.run(
            [sys.executable, "-m", "penstock.cli", *words],
            env=os.environ | {"COLUMNS": "250"},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    return call


@pytest.fixture
def added(stack: Stack, airflow: Airflow, penstock: Penstock) -> Iterator[None]:
    """The three files of the page and a fourth that is broken, taken up by the running stack and taken away again."""
    documented.write(
        TEST_DATA_SETS, documented.files() | {"pipelines/tides.py": "TIDES = 1\nTIDES = Pipeline(name=)\n"}
    )
    try:
        before = pids(stack)
        said = penstock("up")
        assert "the data set tides is left out" in said
        assert {name: pid for name, pid in pids(stack).items() if name in before} == before, "nothing was restarted"
        yield
    finally:
        shutil.rmtree(TEST_DATA_SETS)
        penstock("up")


def pids(stack: Stack) -> Mapping[str, int]:
    return {name: each["pid"] for name, each in stack.context.supervisor.states().items() if each["pid"]}


def eventually(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + SECONDS
    while not (value := found()):
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        time.sleep(0.5)
    return value


def in_cassandra(where: Cassandra) -> set[tuple[str, float | None]]:
    with tables.session(where) as session:
        rows = list(session.execute("SELECT id, magnitude FROM earthquakes"))
    assert len(rows) == len({row["id"] for row in rows})
    return {(row["id"], row["magnitude"]) for row in rows}


def in_influxdb(where: Influx) -> set[tuple[str, float | None]]:
    found = points(where, "earthquake_magnitudes", FIRST - DAY, FIRST + (DAYS + 1) * DAY)
    assert len(found) == len({each["id"] for each in found})
    return {(each["id"], each.get("magnitude")) for each in found}


def on_hdfs(where: Hdfs) -> set[tuple[str, float | None]]:
    client = InsecureClient(where.webhdfs, user=where.user)
    lines = []
    for folder, _, names in client.walk("/earthquakes"):
        for name in names:
            with client.read(f"{folder}/{name}") as file:
                lines += [json.loads(line) for line in file.read().splitlines()]
    return {(each["id"], each.get("magnitude")) for each in lines}


def sound(days: int) -> set[tuple[str, float | None]]:
    found = [each for day in range(days) for each in of_day(FIRST + day * DAY)[:QUAKES]]
    return {(each["id"], each["properties"]["mag"]) for each in found}


@pytest.mark.usefixtures("added")
def test_three_files_are_a_data_set_in_all_three_sinks(
    stack: Stack,
    airflow: Airflow,
    penstock: Penstock,
    service: str,
    kafka_settings: Kafka,
    cassandra_settings: Cassandra,
    influx_settings: Influx,
    hdfs_settings: Hdfs,
) -> None:
    penstock("exec", "airflow", "variables", "set", "earthquakes_service", service)

    said = penstock("run", "earthquakes", "--from", f"{FIRST:%Y-%m-%d}", "--to", f"{FIRST + DAY:%Y-%m-%d}")
    assert "1 batch, 1 whole, 0 not" in said
    places = (in_cassandra(cassandra_settings), in_influxdb(influx_settings), on_hdfs(hdfs_settings))
    assert places == (sound(1), sound(1), sound(1))
    letters = {each.id: each for each in dead_letters.read(kafka_settings, "earthquakes.dlq")}
    reasons = sorted(each.reason for each in letters.values())
    assert len(reasons) == 2
    assert reasons[0] == "magnitude is 12.5, above its maximum of 10"
    assert reasons[1].startswith("the feature is no earthquake: TypeError")

    interval = ("--from", f"{FIRST + DAY:%Y-%m-%d}", "--to", f"{FIRST + DAYS * DAY:%Y-%m-%d}")
    number = int(penstock("backfill", "earthquakes", *interval).split()[1])
    airflow.wait_backfill(number)
    places = (in_cassandra(cassandra_settings), in_influxdb(influx_settings), on_hdfs(hdfs_settings))
    assert places == (sound(DAYS), sound(DAYS), sound(DAYS))
    verified = penstock(
        "verify", "earthquakes", "--from", f"{FIRST:%Y-%m-%d}", "--to", f"{FIRST + DAYS * DAY:%Y-%m-%d}"
    )
    assert (
        verified.count(f"earthquakes {QUAKES}, earthquake_magnitudes {QUAKES}, hdfs:/earthquakes {QUAKES}: whole")
        == DAYS
    )

    status = penstock("status", code=1)
    assert "earthquakes: " in status
    assert f"the data set tides is left out: {TEST_DATA_SETS}/pipelines/tides.py, line 2: invalid syntax" in status
    (error,) = airflow.import_errors()
    assert error["filename"].endswith("broken_data_sets.py")
    assert f"{TEST_DATA_SETS}/pipelines/tides.py, line 2: invalid syntax" in error["stack_trace"]
    eventually(lambda: f"{AGENT} " in (shown := penstock("service", "status", AGENT)) and "healthy" in shown)


def test_a_data_set_goes_with_its_files(stack: Stack, airflow: Airflow, penstock: Penstock) -> None:
    assert not TEST_DATA_SETS.exists()
    assert AGENT not in stack.context.supervisor.states()
    gone = {"earthquakes", f"service_{AGENT.replace('-', '_')}"}
    eventually(lambda: not gone & set(airflow.dag_ids()))
    eventually(lambda: not airflow.import_errors())
