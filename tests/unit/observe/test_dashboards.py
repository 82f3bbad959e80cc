"""The dashboards as they lie in the repository: what is committed is what is generated, and Grafana can show it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from apps.recentchange_collector.collector import State
from apps.recentchange_collector.status import registry as collector_metrics
from penstock.core.settings import INCLUDE, PROJECT
from penstock.observe import metrics
from penstock.observe.dashboards.__main__ import write
from penstock.observe.dashboards.catalogue import files
from penstock.observe.dashboards.places import Places
from tests.grafana import panels

COMMITTED = INCLUDE / "grafana" / "dashboards"
PROVISIONING = INCLUDE / "grafana" / "provisioning"
DEFAULTS = Places.from_env({})
FILES = files(DEFAULTS)
DASHBOARDS = {name: json.loads(content) for name, content in FILES.items()}
WIDTH = 24

each_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS.keys())


def test_what_is_committed_is_what_is_generated() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in COMMITTED.glob("*.json")}
    stale = sorted(name for name in committed.keys() | FILES.keys() if committed.get(name) != FILES.get(name))
    assert not stale, "run `make dashboards`"


def test_a_dashboard_that_is_no_longer_made_is_taken_away(tmp_path: Any) -> None:
    (tmp_path / "old.json").write_text("{}")
    write(tmp_path, DEFAULTS)
    assert {path.name for path in tmp_path.iterdir()} == DASHBOARDS.keys()


def test_renamed_measurements_and_tables_are_the_ones_that_are_asked() -> None:
    environment = {"CARS_MEASUREMENT": "sold", "INFLUXDB_BUCKET": "elsewhere", "HOURLY_SINK_TABLE": "hours"}
    made = files(Places.from_env(environment))
    assert "car_transaction_data" not in made["cars.json"]
    assert r"from(bucket: \"elsewhere\")" in made["cars.json"]
    assert "FROM analytics.hours " in made["weather.json"]


def test_uids_and_titles_are_unique() -> None:
    for name in ("uid", "title"):
        assert max(Counter(each[name] for each in DASHBOARDS.values()).values()) == 1


@each_dashboard
def test_the_sdk_reads_back_what_it_wrote(dashboard: Mapping[str, Any]) -> None:
    register_default_plugins()
    assert json.loads(json.dumps(Dashboard.from_json(dict(dashboard)), cls=JSONEncoder)) == dashboard


@each_dashboard
def test_every_panel_says_what_it_shows(dashboard: Mapping[str, Any]) -> None:
    for panel in panels(dashboard):
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]
        assert panel.get("description") or panel["datasource"]["uid"] != "prometheus", panel["title"]
    assert max(Counter(panel["title"] for panel in panels(dashboard)).values()) == 1


@each_dashboard
def test_panels_neither_overlap_nor_leave_the_grid(dashboard: Mapping[str, Any]) -> None:
    places = [(each["title"], each["gridPos"]) for each in dashboard["panels"]]
    for title, at in places:
        assert at["x"] + at["w"] <= WIDTH, title
    for (one, a), (other, b) in combinations(places, 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert apart or above, f"{one} and {other} overlap"


@each_dashboard
def test_panel_ids_are_unique(dashboard: Mapping[str, Any]) -> None:
    assert max(Counter(each["id"] for each in dashboard["panels"]).values()) == 1


@each_dashboard
def test_every_source_is_provisioned(dashboard: Mapping[str, Any]) -> None:
    declared = yaml.safe_load((PROVISIONING / "datasources" / "penstock.yml").read_text())["datasources"]
    known = {(each["type"], each["uid"]) for each in declared}
    for panel in panels(dashboard):
        for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            assert (source["type"], source["uid"]) in known


def test_secrets_and_addresses_come_from_the_environment_only() -> None:
    declared = yaml.safe_load((PROVISIONING / "datasources" / "penstock.yml").read_text())["datasources"]
    for source in declared:
        for value in (source["url"], *source.get("secureJsonData", {}).values()):
            assert re.fullmatch(r"\$[A-Z_]+", value), source["name"]


_FUNCTIONS = re.compile(r"[a-z_]+(?=\s*\()")
_WORDS = {"by", "on", "or", "unless", "and", "bool", "group_left", "ignoring", "without", "offset"}


def asked_metrics(expression: str) -> set[str]:
    """The metrics that a PromQL expression names."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(by|on)\s*\([^)]*\)', " ", expression)
    names = set(re.findall(r"[a-zA-Z_:][\w:]*", _FUNCTIONS.sub(" ", bare)))
    return {name for name in names - _WORDS if not name.startswith("e+")}


def known_metrics() -> re.Pattern[str]:
    """The names that Prometheus gets, by what serves them and by the configurations that map them."""
    own = [str(each) for each in vars(metrics).values() if isinstance(each, metrics.Metric)]
    collector = [f"{family.name}(_total)?" for family in collector_metrics(State(newest=0.0)).collect()]
    producer = [f"{name}(_total)?" for name in _quoted("web_event_producer/producer.py", "web_event")]
    consumer = [f"{name}(_total)?" for name in _quoted("price_consumer/status.py", "price_consumer")]
    lag = _quoted("kafka_lag_exporter/exporter.py", "kafka_consumergroup")
    statsd = [_filled(each["name"], each["match"]) for each in _yaml(INCLUDE / "statsd" / "mapping.yml")["mappings"]]
    histograms = [f"{name}_(sum|count|bucket)" for name in statsd]
    beans = [
        _filled(rule["name"], rule["pattern"]).lower()
        for name in ("kafka", "cassandra")
        for rule in _yaml(INCLUDE / name / "jmx.yml")["rules"]
    ]
    kept = re.findall(r"regex: (\(.*\))", (INCLUDE / "prometheus" / "prometheus.yml.j2").read_text())
    everyone = (*own, *collector, *producer, *consumer, *lag, *statsd, *histograms, *beans, *kept, "up", "ALERTS")
    return re.compile("|".join(everyone))


def _quoted(app: str, prefix: str) -> list[str]:
    return re.findall(rf'"({prefix}\w+)"', (PROJECT / "apps" / app).read_text(encoding="utf-8"))


def _filled(name: str, pattern: str) -> str:
    """A name with what its pattern allows in the places $1, $2 ..."""
    groups = re.findall(r"\([^()]*\)", pattern)
    return re.sub(r"\$(\d)", lambda at: groups[int(at[1]) - 1] if groups else r"\w+", name)


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_every_metric_that_is_asked_for_is_served_by_somebody() -> None:
    known = known_metrics()
    asked = [
        (panel["title"], target["expr"])
        for each in DASHBOARDS.values()
        for panel in panels(each)
        for target in panel["targets"]
        if "expr" in target
    ]
    assert asked
    for title, expression in asked:
        for name in asked_metrics(expression):
            assert known.fullmatch(name), f"{title}: nobody serves {name}"
