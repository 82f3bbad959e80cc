"""Every query of every dashboard against the real servers, with records that landed as they do."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from apps.kafka_lag_exporter.exporter import Exporter
from apps.recentchange_collector.collector import State
from apps.recentchange_collector.status import health, registry
from apps.status_server import status_server
from penstock.core.settings import Cassandra, Influx, Kafka
from penstock.core.stream import MINUTE
from penstock.kafka.group_lags import GroupLags
from penstock.observe.dashboards.catalogue import files
from penstock.observe.dashboards.places import Places
from penstock.observe.dashboards.queries import CASSANDRA, INFLUXDB
from penstock.observe.metrics import PART_UP
from tests import grafana
from tests.landed import land
from tests.replay import serve
from tests.services import eventually
from tests.tables import session as cassandra_session

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC)

_MEASURED = (
    "recentchange_collector_events_total",
    "kafka_requests_total",
    "cassandra_requests_total",
    "storage_shard_write_count",
    "airflow_scheduler_heartbeat_total",
    "penstock_fresh",
)
"""Of each job, what must have been scraped twice before its panels are asked."""


@dataclass(frozen=True)
class Landed:
    """Where the test's own records are, and the dashboards that show them."""

    places: Places
    influx: Influx
    cassandra: Callable[[str], list[grafana.Row]]

    def dashboard(self, name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads(files(self.places)[name])
        return found

    def ask(self, dashboard: Mapping[str, Any], panel: Mapping[str, Any], variables: Mapping[str, Any]) -> list[Any]:
        """The rows of each of the panel's queries."""
        within = grafana.TimeRange.of(dashboard, NOW, panel.get("interval"))
        return [self._answer(target, variables, within) for target in panel["targets"]]

    def _answer(self, target: Mapping[str, Any], variables: Mapping[str, Any], within: grafana.TimeRange) -> Any:
        if target["datasource"]["uid"] == INFLUXDB.uid:
            query = grafana.interpolated(target["query"], variables, within)
            return grafana.ask_flux(self.influx, query, within)
        assert target["datasource"]["uid"] == CASSANDRA.uid
        return self.cassandra(grafana.interpolated(target["target"], variables, within))


@pytest.fixture(scope="module")
def landed(influx_settings: Influx, cassandra_settings: Cassandra) -> Iterator[Landed]:
    """Some hours of every data set, in measurements and tables of the test's own."""
    places = Places.from_env({})
    own = f"t{uuid.uuid4().hex[:10]}"
    names = replace(
        places.names,
        **{
            name: f"{own}_{getattr(places.names, name)}"
            for name in vars(places.names)
            if name.endswith(("_measurement", "_table"))
        },
    )
    with serve() as replay, cassandra_session(cassandra_settings) as session:
        land(influx_settings, cassandra_settings, names, replay, NOW)
        places = Places(influx_settings.bucket, cassandra_settings.keyspace, names)
        yield Landed(places, influx_settings, lambda query: list(session.execute(query)))
        for table in (names.hourly_table, names.daily_table):
            session.execute(f'DROP TABLE "{table}"')


def _panels(uid: str) -> list[Any]:
    """A case for each panel of the dashboards whose data lands with the test."""
    return [
        pytest.param(name, panel["title"], id=f"{name.removesuffix('.json')}: {panel['title']}")
        for name, content in files(Places.from_env({})).items()
        for panel in grafana.panels(json.loads(content))
        if panel["datasource"]["uid"] == uid
    ]


def _panel(dashboard: Mapping[str, Any], title: str) -> Mapping[str, Any]:
    return next(each for each in grafana.panels(dashboard) if each["title"] == title)


@pytest.mark.parametrize(("name", "title"), _panels("influxdb"))
def test_a_panel_on_influxdb_finds_what_landed(landed: Landed, name: str, title: str) -> None:
    dashboard = landed.dashboard(name)
    panel = _panel(dashboard, title)
    for rows in landed.ask(dashboard, panel, grafana.everything(dashboard)):
        assert rows
        for label in grafana.labels(panel):
            assert all(row[label] for row in rows)


@pytest.mark.parametrize(("name", "title"), _panels("cassandra"))
def test_a_panel_on_cassandra_finds_what_landed(landed: Landed, name: str, title: str) -> None:
    dashboard = landed.dashboard(name)
    for rows in landed.ask(dashboard, _panel(dashboard, title), grafana.everything(dashboard)):
        assert rows
        assert len({row["city"] for row in rows}) == 1
        value = next(column for column in rows[0] if column not in {"city", "time"})
        assert any(row[value] is not None for row in rows)


@pytest.fixture(scope="module")
def prometheus(stack: Any, kafka_settings: Kafka, landed: Landed) -> Iterator[str]:
    """The stack's Prometheus, once InfluxDB has `landed` data to measure.

    Metrics of two programs that the tests' stack holds are served in their place.
    """
    url = stack.context.endpoints()["prometheus"]["url"]
    state = State(events=1, newest=NOW.timestamp())
    with ExitStack() as serving:
        exporter = Exporter(GroupLags(kafka_settings.bootstrap_servers), seconds=1)
        exporter.refresh()
        of_lags = CollectorRegistry()
        of_lags.register(exporter)
        ports = stack.context.ports
        for port, metrics in (("recentchange_collector", registry(state)), ("kafka_lag_exporter", of_lags)):
            serving.enter_context(status_server("127.0.0.1", ports[port], lambda: health(state), metrics))
        for measured in _MEASURED:
            # A panel's newest point may be a step old.
            eventually(lambda name=measured: _asked(url, f"rate({name}[1m] offset 15s)"))
        eventually(lambda: _asked(url, f"min({PART_UP}) == 1"))
        yield url


def _asked(url: str, expression: str) -> list[grafana.Row]:
    now = datetime.now(UTC)
    return grafana.ask_prometheus(url, {"instant": True}, expression, grafana.TimeRange(now, now, MINUTE))


@pytest.mark.parametrize(("name", "title"), _panels("prometheus"))
def test_a_panel_on_prometheus_finds_what_is_measured(prometheus: str, name: str, title: str) -> None:
    dashboard = json.loads(files(Places.from_env({}))[name])
    panel = _panel(dashboard, title)
    within = grafana.TimeRange.of(dashboard, datetime.now(UTC), panel.get("interval"))
    for target in panel["targets"]:
        expression = grafana.interpolated(target["expr"], grafana.everything(dashboard), within)
        assert grafana.ask_prometheus(prometheus, target, expression, within), expression


@pytest.mark.parametrize("name", ["cars.json", "population.json", "web-events.json", "wiki.json"])
def test_a_variable_offers_what_landed_and_narrows_the_panels(landed: Landed, name: str) -> None:
    dashboard = landed.dashboard(name)
    within = grafana.TimeRange.of(dashboard, NOW)
    variables = grafana.everything(dashboard)
    for variable in dashboard["templating"]["list"]:
        offered = [row["_value"] for row in grafana.ask_flux(landed.influx, variable["query"], within)]
        assert offered
        first = next(grafana.panels(dashboard))
        one = landed.ask(dashboard, first, variables | {variable["name"]: grafana.chosen(offered[0])})
        none = landed.ask(dashboard, first, variables | {variable["name"]: grafana.chosen("no such value")})
        assert (bool(one[0]), bool(none[0])) == (True, False)


def test_the_price_buckets_are_summed_over_the_partitions(landed: Landed) -> None:
    dashboard = landed.dashboard("web-events.json")
    variables = grafana.everything(dashboard)
    (all_events,) = landed.ask(dashboard, _panel(dashboard, "Events"), variables)
    (by_category,) = landed.ask(dashboard, _panel(dashboard, "Events by category and price bucket"), variables)
    assert sum(int(row[each]) for row in by_category for each in ("low", "medium", "high")) == int(
        all_events[0]["_value"]
    )


def test_weather_is_drawn_once_and_in_the_order_of_time(landed: Landed) -> None:
    dashboard = landed.dashboard("weather.json")
    (rows, _) = landed.ask(dashboard, _panel(dashboard, "Temperature over time"), grafana.everything(dashboard))
    times = [row["time"] for row in rows]
    assert len(set(times)) == len(times) == 72
