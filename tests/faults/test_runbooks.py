"""Every runbook is walked: its fault is caused for real, its alert fires, and its commands, as written, mend it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from apps.replay_api.changes import Feed
from penstock.core.batch import Interval
from penstock.core.errors import Retry
from penstock.core.service import Desired
from penstock.core.settings import PROJECT, Cassandra, Influx, Kafka
from penstock.kafka.group_lags import GroupLags
from penstock.ledger.services import Services
from penstock.ledger.stream_verdicts import judge, whole_minutes_since
from penstock.pipelines import PIPELINES, WEB_EVENTS
from penstock.services import control
from penstock.services.spool import put
from penstock.stack import demo
from penstock.stack.airflow_api import Airflow
from penstock.stack.report import report
from tests import tables
from tests.alerting import alerting
from tests.measurements import FOR_EVER, points
from tests.price_events import Visitors
from tests.runbooks import filled_in, runbooks
from tests.services import Watching, eventually
from tests.streams import EVENT_SERVICES, running

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

RUNBOOKS = runbooks()
HOUR, DAY, QUARTER = timedelta(hours=1), timedelta(days=1), timedelta(minutes=15)
GIB = 1 << 30
WATCHED = "flume-pop-spool"
_FORGET_RESTARTS = "DELETE FROM service_restarts WHERE service = %s"
_COMMAND_SECONDS = 900
_AGAIN_SECONDS = 240.0


@dataclass
class Fault:
    """What is broken.

    `labels` are some of the alert's, `values` what a person finds out for the runbook's placeholders. The exporter runs
    with `settings`; None leaves that to the stack's own. `meanwhile` goes on until the alert fires.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] | None = field(default_factory=dict)
    meanwhile: Callable[[], AbstractContextManager[Any]] = nullcontext


@dataclass
class Site:
    """What the walks break, and what they may use for it."""

    stack: Any
    airflow: Airflow
    kafka: Kafka
    influx: Influx
    cassandra: Cassandra
    folder: Path
    name: str
    afterwards: ExitStack

    def run(self, pipeline: str, start: datetime, end: datetime) -> None:
        """Land an interval."""
        with report() as told:
            demo.run_pipelines(self.airflow, {pipeline: Interval(start, end)}, told)

    def execute(self, statement: str, *values: Any) -> None:
        """In the ledger."""
        with psycopg.connect(self.stack.context.ledger_url, autocommit=True) as session:
            session.execute(statement, values)

    def watching(self, service: str) -> Watching:
        """A watch that has just begun."""
        self.airflow.wait_for_dags({f"service_{service.replace('-', '_')}"})
        found = self.afterwards.enter_context(closing(Watching(self.stack, self.airflow, service)))
        found.begin("start")
        return found

    def pause(self, dag_id: str) -> None:
        """Pause a DAG until the walk is over."""
        self.afterwards.callback(self.airflow.pause, dag_id, paused=False)
        self.airflow.pause(dag_id)

    def runs(self, *services: str) -> None:
        """Run services until the walk is over, those that others feed from first."""
        self.afterwards.enter_context(running(self.stack, services))

    def stops(self, service: str) -> None:
        """Have a person stop a service; after the walk it is as the stack has it."""
        with closing(Services(self.stack.context.ledger_url)) as ledger:
            stood = any(row.desired is Desired.STOPPED for row in ledger.rows([service]))
        self.afterwards.callback(self._stop if stood else self._start, service)
        self._stop(service)

    def _stop(self, service: str) -> None:
        with closing(Services(self.stack.context.ledger_url)) as ledger:
            control.stop(service, self.stack.context.supervisor.client, ledger, by="a test")

    def _start(self, service: str) -> None:
        with closing(Services(self.stack.context.ledger_url)) as ledger:
            control.want(service, ledger, by="a test")
        self.stack.start(service)

    def lag(self, group: str) -> int | None:
        """Records that wait for the group, None where it has committed nothing yet or Kafka has just started."""
        try:
            found = GroupLags(self.kafka.bootstrap_servers).measure().partitions
        except Retry:
            return None
        lags = [each.lag for each in found if each.group == group]
        return sum(lags) if lags else None

    def visitors(self, rate: int) -> Visitors:
        """Write web events, `rate` a second."""
        return Visitors(self.kafka.bootstrap_servers, WEB_EVENTS.topic, rate=rate)

    def sell(self, *sales: Mapping[str, Any]) -> None:
        """Post to the car API."""
        url = self.stack.environment()["CAR_API_URL"]
        requests.post(f"{url}/api/logs", json=list(sales), timeout=30).raise_for_status()


Walk = Callable[[Site], Fault]
WALKS: dict[str, Walk] = {}


def walk(name: str) -> Callable[[Walk], Walk]:
    """Causes the fault of an alert, and leaves to `site.afterwards` what has to be as it was."""

    def known(causes: Walk) -> Walk:
        WALKS[name] = causes
        return causes

    return known


@pytest.fixture
def site(
    stack: Any,
    airflow: Airflow,
    kafka_settings: Kafka,
    influx_settings: Influx,
    cassandra_settings: Cassandra,
    unique: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    command = tmp_path / "bin" / "penstock"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m penstock.cli "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    with ExitStack() as afterwards:
        yield Site(stack, airflow, kafka_settings, influx_settings, cassandra_settings, tmp_path, unique, afterwards)


@pytest.mark.parametrize("name", RUNBOOKS)
def test_the_runbook_mends_what_its_alert_tells(site: Site, name: str) -> None:
    assert name in WALKS, f"docs/runbooks/{name}.md has no walk: cause its fault here"
    fault = WALKS[name](site)
    with alerting(site.stack, site.folder, fault.settings) as alerts:
        with fault.meanwhile():
            labels = alerts.wait_for(name, fault.labels)
        values = {each.upper(): value for each, value in labels.items()} | dict(fault.values)
        _follow(name, values)
        alerts.wait_until_over(name, labels)


def _follow(name: str, values: Mapping[str, str]) -> None:
    book = RUNBOOKS[name]
    for command in book.commands("Find out"):
        done = _run(command, values)
        # 1 says that something is not as it should be, which is so.
        assert done.returncode in {0, 1}, f"{command}: {done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        assert done.stdout or done.stderr, f"{command} tells nothing"
    for command in book.commands("Mend"):
        deadline = time.monotonic() + _AGAIN_SECONDS
        while (done := _run(command, values)).returncode:
            again = "Run the last command again" in book.sections["When it does not help"]
            assert again and time.monotonic() < deadline, f"{command}: {done.stdout}{done.stderr}"  # noqa: PT018
            time.sleep(5)


def _run(command: str, values: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    words = ["/bin/sh", "-c", filled_in(command, values)]
    return subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=_COMMAND_SECONDS)


def _span(start: datetime, end: datetime) -> dict[str, str]:
    return {"FROM": f"{start:%Y-%m-%dT%H:%M}", "TO": f"{end:%Y-%m-%dT%H:%M}"}


def _hour() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def _today() -> datetime:
    return _hour().replace(hour=0)


@walk("DataStale")
def _data_stale(site: Site) -> Fault:
    """Somebody has paused the DAG, hours ago."""
    pipeline, hour = "weather_hourly", _hour()
    long_ago = hour - 9 * HOUR
    site.run(pipeline, long_ago - HOUR, long_ago)
    site.pause(pipeline)
    site.execute("DELETE FROM batches WHERE pipeline = %s AND interval_end > %s", pipeline, long_ago)
    return Fault({"data_set": pipeline}, _span(hour - HOUR, hour))


@walk("DataNeverLanded")
def _data_never_landed(site: Site) -> Fault:
    """The DAG was paused from the beginning."""
    pipeline, today = "weather_daily", _today()
    site.pause(pipeline)
    site.execute("DELETE FROM batches WHERE pipeline = %s", pipeline)
    return Fault({"data_set": pipeline}, _span(today - DAY, today))


@walk("ExporterAway")
def _exporter_away(site: Site) -> Fault:
    site.stack.stop("penstock-exporter")
    return Fault(settings=None)


@walk("LedgerAway")
def _ledger_away(site: Site) -> Fault:
    site.stack.stop("postgres")
    return Fault()


@walk("ExporterBlind")
def _exporter_blind(site: Site) -> Fault:
    site.stack.stop("influxdb")
    return Fault({"part": "data"}, {"SERVER": "influxdb"})


@walk("TargetDown")
def _target_down(site: Site) -> Fault:
    site.stack.stop("influxdb")
    return Fault({"job": "influxdb"}, {"SERVER": "influxdb"})


@walk("ConsumerStuck")
def _consumer_stuck(site: Site) -> Fault:
    """Somebody has stopped the agent of a raw copy, and forgotten it."""
    group = "flume-cars-hdfs"
    first, *others = _sales(site)
    site.runs("kafka-lag-exporter")
    site.sell(first)
    eventually(lambda: site.lag(group) == 0)
    site.stops(group)
    site.sell(*others)
    return Fault({"group": group}, {"SERVICE": group})


@walk("ConsumerFallsBehind")
def _consumer_falls_behind(site: Site) -> Fault:
    """More comes than is counted: the consumers are stopped."""
    service, group = "price-consumer-1", "price-consumer"
    site.runs("kafka-lag-exporter", service)
    with site.visitors(rate=100):
        eventually(lambda: site.lag(group) is not None)
    for each in (service, "price-consumer-2"):
        site.stops(each)
    with site.visitors(rate=5_000):
        eventually(lambda: (site.lag(group) or 0) > 10_000)
    return Fault({"group": group}, {"SERVICE": service}, meanwhile=partial(site.visitors, rate=200))


@walk("DeadLettersOpen")
def _dead_letters_open(site: Site) -> Fault:
    """A file in the spool folder has a year with fewer than no people."""
    row = {"ID Nation": "01000US", "Nation": "United States", "ID Year": 1991, "Year": "1991", "Population": -5}
    file = site.folder / "response.json"
    file.write_text(json.dumps({"data": [row], "source": []}))
    put(site.stack.context.spool, "population", file)
    eventually(lambda: not list((site.stack.context.spool / "population").glob("*.json")))
    today = _today()
    site.run("population", today - 2 * DAY, today - DAY)
    letters = json.loads(_run("penstock dlq list population --json", {}).stdout)
    return Fault({"data_set": "population"}, {"LETTER": str(letters[0]["id"]), "WHY": "nobody lives in 1991"})


@walk("BatchNotWhole")
def _batch_not_whole(site: Site) -> Fault:
    """Rows of a batch that was whole are deleted from the table, and it is judged again."""
    pipeline, start = "weather_hourly", _hour() - 7 * HOUR
    site.run(pipeline, start, start + HOUR)
    table = PIPELINES[pipeline].sinks[0].name
    with tables.session(site.cassandra) as session:
        for row in tables.rows(session, table, start, start + HOUR):
            where = "latitude = %(latitude)s AND longitude = %(longitude)s AND month = %(month)s AND time = %(time)s"
            session.execute(f'DELETE FROM "{table}" WHERE {where}', row)
    logical = start.strftime("%Y-%m-%dT%H:%M:%SZ")
    (found,) = [each for each in site.airflow.runs(pipeline) if each["logical_date"] == logical]
    again = {"dag_run_id": found["dag_run_id"], "task_ids": ["reconcile"], "only_failed": False, "dry_run": False}
    site.airflow._call("POST", f"/dags/{pipeline}/clearTaskInstances", json=again)
    return Fault({"data_set": pipeline}, _span(start, start + HOUR))


@walk("StreamNotWhole")
def _stream_not_whole(site: Site) -> Fault:
    """The agent of the raw copy is stopped while events come."""
    agent = "flume-events-hdfs"
    site.runs(*EVENT_SERVICES)
    site.stops(agent)
    stopped = datetime.now(UTC)
    minutes = eventually(lambda: whole_minutes_since(stopped, datetime.now(UTC)))
    row = judge(WEB_EVENTS, minutes, site.stack.environment(), patience=0.0)
    assert "the raw copy lacks" in row.verdict
    return Fault({"data_set": WEB_EVENTS.name}, {"SERVICE": agent} | _span(minutes.start, minutes.end))


@walk("ServiceDown")
def _service_down(site: Site) -> Fault:
    """It dies once more than its budget of restarts allows."""
    watching = site.watching(WATCHED)
    site.afterwards.callback(site.execute, _FORGET_RESTARTS, WATCHED)
    for _ in range(watching.service.budget.restarts):
        watching._ledger.restarted(WATCHED, "dead: by a test")
    watching.kill()
    return Fault({"service": WATCHED, "state": "dead"}, {"SERVICE_DAG": watching.service.dag_id})


@walk("ServiceUnwatched")
def _service_unwatched(site: Site) -> Fault:
    """The triggerer, in which all watches run, is stopped, minutes ago."""
    watching = site.watching(WATCHED)
    site.stack.stop("airflow-triggerer")
    site.execute("UPDATE services SET seen = seen - interval '10 minutes' WHERE name = %s", WATCHED)
    return Fault({"service": WATCHED}, {"SERVICE_DAG": watching.service.dag_id})


@walk("ServiceRestartsOften")
def _service_restarts_often(site: Site) -> Fault:
    """It is killed again and again."""
    watching = site.watching(WATCHED)
    site.afterwards.callback(site.execute, _FORGET_RESTARTS, WATCHED)

    @contextmanager
    def killing() -> Iterator[None]:
        for _ in range(3):
            before = watching.row.restarts
            watching.kill()
            eventually(lambda known=before: watching.row.restarts > known)
            # Killed before it has started, it would be started again by supervisord.
            eventually(lambda: watching.is_seen_anew() and watching.row.state == "healthy")
        yield

    return Fault({"service": WATCHED}, meanwhile=killing)


@walk("SpoolNearlyFull")
def _spool_nearly_full(site: Site) -> Fault:
    """Nobody takes up what is spooled, in a folder that may not have much."""
    agent, folder = "flume-wiki-spool", site.stack.context.spool / "wiki"
    site.runs(agent)
    site.stops(agent)
    lines = _changes(30)
    file = folder / f"{site.name}.jsonl"
    hidden = folder / f".{file.name}"
    hidden.write_bytes(lines)
    hidden.rename(file)
    settings = {"WIKI_SPOOL_BYTES": str(len(lines) * 10 // 9), "WIKI_SPOOL_FILE_BYTES": "1024"}
    return Fault({"spool": "wiki"}, {"SERVICE": agent}, settings)


@walk("DiskNearlyFull")
def _disk_nearly_full(site: Site) -> Fault:
    """Somebody has left a large file on the disk."""
    free = shutil.disk_usage(site.stack.context.spool).free
    ballast = site.stack.context.layout.var / "ballast"
    site.afterwards.callback(ballast.unlink, missing_ok=True)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 4 * GIB)
    return Fault(values={"FILE": str(ballast)}, settings={"PENSTOCK_DISK_FREE_BYTES": str(free - 2 * GIB)})


@walk("PopulationChange")
def _population_change(site: Site) -> Fault:
    """The newest figure in InfluxDB is twice what it was."""
    today = _today()
    site.run("population", today - DAY, today)
    measurement = PIPELINES["population"].sinks[0].name
    newest = points(site.influx, measurement, *FOR_EVER)[-1]
    nation = newest["Nation"].replace(" ", "\\ ")
    nanoseconds = int(newest["_time"].timestamp()) * 1_000_000_000
    doubled = f"Population={2 * newest['Population']}i {nanoseconds}"
    _write(site.influx, f"{measurement},Nation={nation},Slug_Nation={newest['Slug_Nation']} {doubled}")
    return Fault({"nation": newest["Nation"]}, _span(today - DAY, today))


@walk("CarPriceOutliers")
def _car_price_outliers(site: Site) -> Fault:
    """A branch has posted a price with the decimal point in the wrong place."""
    *usual, right = _sales(site)
    site.sell(*usual, right | {"transaction_price": 100 * right["transaction_price"]})
    quarter = _hour() - QUARTER
    site.run("car_transactions", quarter, quarter + QUARTER)
    file = site.folder / "sale.json"
    file.write_text(json.dumps(right))
    return Fault({"car_brand": site.name}, {"SALE": str(file)} | _span(quarter, quarter + QUARTER))


def _sales(site: Site) -> list[dict[str, Any]]:
    """Sales of a brand of the test's own, an hour ago."""
    sold = datetime.now(UTC) - HOUR
    first = int(time.time() * 1000)
    return [
        {
            "transaction_id": first + number,
            "time": (sold + number * timedelta(seconds=1)).isoformat(timespec="seconds"),
            "buyer_id": 7,
            "buyer_name": "Zoë O'Neill",
            "car_brand": site.name,
            "car_model": "Octavia",
            "year": 2024,
            "color": "blue",
            "country": "Spain",
            "branch": "Madrid",
            "transaction_price": 20_000.0 + 100 * number,
        }
        for number in range(20)
    ]


def _changes(count: int) -> bytes:
    """Recent changes as the collector spools them."""
    feed = Feed(1)
    now = int(time.time())
    found = (re.search(rb"^data: (.*)$", feed.frame(now - number), re.MULTILINE) for number in range(count))
    return b"".join(line[1] + b"\n" for line in found if line)


def _write(influx: Influx, line: str) -> None:
    answer = requests.post(
        f"{influx.url}/api/v2/write",
        params={"org": influx.org, "bucket": influx.bucket, "precision": "ns"},
        headers={"Authorization": f"Token {influx.token}"},
        data=line.encode(),
        timeout=30,
    )
    assert answer.ok, answer.text
