"""The profile monitoring on the running stack: what Prometheus asks, and what it is told."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
import requests
import yaml

from penstock.core.batch import Batch, Interval
from penstock.core.counts import Count, Landed, OffsetRange, Produced
from penstock.core.service import State
from penstock.core.settings import PROJECT
from penstock.core.stream import Fates, MicroBatch
from penstock.ledger.freshness import freshness
from penstock.ledger.measures import Measures, Standing
from penstock.ledger.reconcile import verdict
from penstock.ledger.services import Services
from penstock.ledger.store import Hop, Ledger, Run
from penstock.ledger.stream_verdicts import StreamRow, StreamVerdicts
from penstock.ledger.streams import Streams
from penstock.observe import metrics
from penstock.pipelines import STREAMS
from penstock.stack.layout import free_ports
from tests.streams import EVENT_SERVICES, running

pytestmark = pytest.mark.integration

T = TypeVar("T")

_PATIENCE_SECONDS = 120.0


def eventually(found: Callable[[], T | None], what: str) -> T:
    """The first answer that is none of None, empty and False."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not (answer := found()):
        assert time.monotonic() < deadline, what
        time.sleep(1)
    return answer


class Prometheus:
    """The stack's own."""

    def __init__(self, url: str) -> None:
        self._url = url

    def targets(self) -> list[dict[str, Any]]:
        """What it scrapes, and how that goes."""
        answer = requests.get(f"{self._url}/api/v1/targets", timeout=10)
        answer.raise_for_status()
        return list(answer.json()["data"]["activeTargets"])

    def ask(self, query: str) -> dict[tuple[str, ...], float]:
        """{values of the labels, in the order of their names: value} at present."""
        answer = requests.get(f"{self._url}/api/v1/query", params={"query": query}, timeout=10)
        answer.raise_for_status()
        return {
            tuple(value for _, value in sorted(each["metric"].items())): float(each["value"][1])
            for each in answer.json()["data"]["result"]
        }


@pytest.fixture(scope="module")
def prometheus(stack: Any) -> Prometheus:
    """The stack's Prometheus."""
    return Prometheus(stack.context.endpoints()["prometheus"]["url"])


@pytest.fixture
def exporter(ledger_url: str, stack: Any) -> Iterator[Callable[[], str]]:
    """An exporter of the test's own ledger, asked by what is yielded."""
    Ledger(ledger_url).migrate()
    yield from _exporter(stack, ledger_url)


def _exporter(stack: Any, ledger_url: str) -> Iterator[Callable[[], str]]:
    (port,) = free_ports(1)
    environment = {**stack.environment(), "LEDGER_URL": ledger_url, "EXPORTER_SECONDS": "1"}
    command = [sys.executable, "-m", "apps.penstock_exporter", "--port", str(port)]
    with subprocess.Popen(command, env=environment, cwd=PROJECT) as program:

        def scrape() -> str:
            try:
                return requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
            except requests.ConnectionError:
                return ""

        eventually(scrape, "the exporter does not answer")
        try:
            yield scrape
        finally:
            program.terminate()


def test_every_target_of_the_configuration_is_up(stack: Any, prometheus: Prometheus) -> None:
    conf = yaml.safe_load((stack.context.layout.conf("prometheus") / "prometheus.yml").read_text())
    jobs = {job["job_name"] for job in conf["scrape_configs"]}
    # One price consumer runs where nobody asked for more, and the tests' stack holds the collector.
    held = {"price_consumer_2", "price_consumer_3", "price_consumer_4", "recentchange_collector"}
    with running(stack, [*EVENT_SERVICES, "kafka-lag-exporter"]):

        def all_up() -> bool:
            down = {
                (each["labels"]["job"], each["labels"].get("app"), each["lastError"])
                for each in prometheus.targets()
                if each["health"] != "up" and each["labels"].get("app") not in held
            }
            return not down

        eventually(all_up, f"{prometheus.targets()}")
        assert {each["labels"]["job"] for each in prometheus.targets()} == jobs

        # And of a stream without micro-batches, the newest minute reaches the ledger by way of its group's commits.
        def of_web_events() -> dict[tuple[str, ...], float]:
            return prometheus.ask(f'{metrics.FRESHNESS_AGE}{{data_set="web_events"}}')

        eventually(of_web_events, "the freshness of web events is not known")


def test_airflows_measurements_of_a_run_arrive(airflow: Any, prometheus: Prometheus) -> None:
    airflow.wait("maintenance", airflow.trigger("maintenance"))

    def finished() -> dict[tuple[str, ...], float]:
        return prometheus.ask('sum by (dag_id, state) (airflow_ti_finish_total{dag_id="maintenance"}) > 0')

    assert ("maintenance", "success") in eventually(finished, "no measurement of a task")
    eventually(lambda: prometheus.ask("airflow_scheduler_heartbeat_total"), "no heartbeat")
    eventually(lambda: prometheus.ask('airflow_pool_slots{state="open"}'), "no slots of pools")
    eventually(
        lambda: prometheus.ask('airflow_task_duration_seconds_count{dag_id="maintenance"}'), "no duration of a task"
    )


def test_servers_tell_how_they_are(prometheus: Prometheus) -> None:
    for query in (
        "kafka_underreplicatedpartitions == 0",
        "kafka_log_bytes",
        "kafka_topic_messagesinpersec_total > 0",
        'kafka_request_milliseconds{request="Produce",quantile="0.99"}',
        'cassandra_request_seconds{request="Write",quantile="0.99"}',
        "cassandra_live_disk_bytes > 0",
        "cassandra_pending_compactions",
        'http_api_requests_total{job="influxdb"}',
    ):
        eventually(lambda asked=query: prometheus.ask(asked), query)  # type: ignore[misc]


def test_data_grows_old_in_prometheus_while_airflow_is_stopped(stack: Any, prometheus: Prometheus) -> None:
    """The stack's ledger holds a stream's minute of an hour ago, and nobody lands anything."""
    components = ("airflow-triggerer", "airflow-dag-processor", "airflow-scheduler", "airflow-api-server")
    newest = datetime.now(UTC) - timedelta(hours=1)
    with closing(Streams(stack.context.ledger_url)) as ledger:
        ledger.closed("web_events", newest)
    for name in components:
        stack.stop(name)
    try:
        query = f'{metrics.FRESHNESS_AGE}{{data_set="web_events"}}'
        (before,) = eventually(lambda: prometheus.ask(f"{query} > 3000"), "no age").values()
        eventually(lambda: prometheus.ask(f"{query} > {before + 10}"), "it does not grow older")
        stale = f"{metrics.FRESHNESS_AGE} > {metrics.FRESHNESS_LIMIT} and {metrics.FRESH} == 0"
        found = eventually(lambda: prometheus.ask(stale), "what an alert goes by does not turn")
        assert any("web_events" in labels for labels in found)
    finally:
        for name in reversed(components):
            stack.start(name)


def test_the_exporter_answers_without_a_ledger(stack: Any) -> None:
    (port,) = free_ports(1)
    for scrape in _exporter(stack, f"postgresql://penstock:x@127.0.0.1:{port}/penstock"):
        eventually(lambda scrape=scrape: "penstock_flume_up{" in scrape(), "nothing of the others")  # type: ignore[misc]
        lines = scrape().splitlines()
        assert "penstock_ledger_up 0.0" in lines
        assert 'penstock_exporter_part_up{part="spools"} 1.0' in lines
        assert not any(line.startswith("penstock_freshness_age_seconds{") for line in lines)


def test_a_stream_is_as_new_as_its_newest_minute_that_is_out(ledger_url: str) -> None:
    ledger = Ledger(ledger_url)
    ledger.migrate()
    now = datetime.now(UTC)
    closed = (now - timedelta(minutes=30)).replace(second=0, microsecond=0)
    with closing(Streams(ledger_url)) as streams:
        streams.written("counted", micro_batch(0, closed + timedelta(seconds=40), rows=5))
        streams.written("counted", micro_batch(1, now, rows=0))
        streams.closed("noted", closed - timedelta(hours=1))
        streams.closed("noted", closed)
    found = ledger.newest_minutes(["counted", "noted", "idle"])
    assert found["idle"] is None
    for name in ("counted", "noted"):
        newest, age = found[name] or pytest.fail(name)
        assert newest == closed
        assert timedelta(minutes=30) <= age < timedelta(minutes=40)
    judged = freshness(ledger, STREAMS.values())
    assert [(each.data_set, each.fresh, each.newest) for each in judged] == [(name, False, None) for name in STREAMS]


OF_LANDED_DATA = {
    str(each)
    for each in (
        metrics.POPULATION_CHANGE,
        metrics.CAR_PRICE_OUTLIERS,
    )
}
"""Those that need data in InfluxDB: test_data_watch.py."""


def test_every_metric_has_series_once_something_has_landed(ledger_url: str, exporter: Callable[[], str]) -> None:
    now = datetime.now(UTC)
    land(Ledger(ledger_url), now)
    with closing(Streams(ledger_url)) as streams, closing(Services(ledger_url)) as services:
        streams.written("wiki", micro_batch(0, now, rows=5))
        streams.committed("wiki", QUERY, 0, 42)
        services.seen("car-api", State.HEALTHY, "", 1)
        services.restarted("car-api", "it was dead")
    hour = timedelta(hours=1)
    StreamVerdicts(ledger_url).write(StreamRow("wiki", now - hour, now, 10, 10, 10, {"minutes": 10}, 0, "whole"))
    wanted = {str(each) for each in vars(metrics).values() if isinstance(each, metrics.Metric)} - OF_LANDED_DATA

    def missing() -> set[str]:
        return wanted - {line.partition("{")[0].partition(" ")[0] for line in exporter().splitlines()}

    eventually(lambda: not missing(), f"no series of {missing()}")
    lines = exporter().splitlines()
    for line in (
        'penstock_batches{data_set="weather_hourly",state="whole"} 1.0',
        'penstock_fresh{data_set="weather_hourly"} 1.0',
        'penstock_fresh{data_set="wiki"} 1.0',
        'penstock_records{data_set="weather_hourly",fate="landed"} 24.0',
        'penstock_service_restarts_total{service="car-api"} 1.0',
        'penstock_service_state{service="car-api",state="healthy"} 1.0',
        'penstock_stream_lag_records{data_set="wiki"} 42.0',
        'penstock_stream_whole{data_set="wiki"} 1.0',
    ):
        assert line in lines


def land(ledger: Ledger, now: datetime) -> None:
    """One whole batch of 24 records."""
    batch = Batch("weather_hourly", Interval(now - timedelta(hours=1), now), {})
    run = Run("weather_hourly/manual", 1)
    produced = Produced(batch.id, "hourlymetrics", 7, now, 24, 24, 0, (OffsetRange(0, 0, 24),))
    landed = Landed(batch.id, 24, 24, 0)
    for hop in Hop:
        ledger.started(batch, hop, run, as_of=now)
        if hop is Hop.PRODUCE:
            ledger.produced(batch, produced, run)
        elif hop is Hop.LAND:
            ledger.landed(batch, landed, run, as_of=now)
        else:
            ledger.reconciled(batch, verdict(produced, landed, {"hourlydata": Count(24)}), run, as_of=now)


def test_the_ledger_is_measured_as_it_stands(ledger_url: str) -> None:
    Ledger(ledger_url).migrate()
    with closing(Measures(ledger_url)) as measures, closing(Streams(ledger_url)) as streams:
        streams.written("wiki", micro_batch(0, datetime.now(UTC), rows=5, fates=Fates(10, 1, 2, 3)))
        streams.committed("wiki", QUERY, 0, 42)
        streams.written("wiki", micro_batch(1, datetime.now(UTC), rows=5, fates=Fates(1, 0, 0, 0)))
        assert measures.fates(["wiki", "web_events"]) == {"wiki": Fates(11, 1, 2, 3)}
        lag = SimpleNamespace(**{each.name: (each.lag, each.whole) for each in measures.streams(["wiki", "idle"])})
        assert (lag.wiki, lag.idle) == ((42, None), (None, None))
        nothing = dict.fromkeys(Standing, 0)
        assert measures.batches(["weather_hourly"], timedelta(hours=24)) == {"weather_hourly": nothing}
        (unwatched,) = measures.services(["car-api"])
        assert (unwatched.desired, unwatched.state, unwatched.seen_age, unwatched.restarts) == (
            "started", "unknown", None, 0,
        )  # fmt: skip


QUERY = "6c1c0b0e-0000-4000-8000-000000000001"


def micro_batch(number: int, watermark: datetime, rows: int, fates: Fates | None = None) -> MicroBatch:
    """A batch of the job, closed up to `watermark`."""
    return MicroBatch(
        query_id=QUERY,
        number=number,
        started=watermark,
        start={0: 0},
        end={0: 10},
        fates=fates or Fates(read=10),
        watermark=watermark,
        rows=rows,
        events=rows,
    )
