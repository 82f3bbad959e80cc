"""Alert rules: complete, tested, and about metrics that there are."""

from __future__ import annotations

import re
from typing import Any

import pytest

from apps.kafka_lag_exporter.exporter import Exporter
from penstock.kafka.group_lags import Lags, PartitionLag
from penstock.observe import metrics
from penstock.observe.metrics import Metric
from penstock.pipelines import PIPELINES, STREAMS
from penstock.services import SERVICES
from tests.runbooks import rule_checks, rules

RULES = {rule["alert"]: rule for rule in rules()}
OF_PROMETHEUS = {"up"}
FUNCTIONS = {"abs", "absent", "delta", "increase", "max", "max_over_time", "min_over_time", "sum"}
WORDS = {"and", "or", "unless", "on", "by", "group_left", *FUNCTIONS}


def _named(expression: str) -> set[str]:
    """The metrics of an expression: words that are neither labels nor the language's own."""
    bare = re.sub(r"\{[^}]*\}|\[\w+\]|\b(by|on|group_left) \([^)]*\)", " ", expression)
    return set(re.findall(r"\b[a-z_]+\b", bare)) - WORDS


def _of_the_lag_exporter() -> set[str]:
    class Measured:
        def measure(self) -> Lags:
            return Lags((PartitionLag("group", "topic", 0, 1, 2),), {})

    exporter = Exporter(Measured(), 1.0)
    exporter.refresh()
    return {family.name for family in exporter.collect()}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_it_is_about_metrics_that_there_are(rule: dict[str, Any]) -> None:
    ours = {each.name for each in vars(metrics).values() if isinstance(each, Metric)}
    assert _named(rule["expr"])
    assert _named(rule["expr"]) <= ours | _of_the_lag_exporter() | OF_PROMETHEUS


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_it_says_what_where_and_what_to_do(rule: dict[str, Any]) -> None:
    said = rule["annotations"]
    assert said.keys() == {"summary", "description", "runbook"}
    assert said["runbook"] == f"docs/runbooks/{rule['alert']}.md"
    assert all(said[name].endswith(".") for name in ("summary", "description"))
    assert "; " in said["summary"], "what and where; what to do"
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["labels"]["severity"] == "ticket" or "for" in rule, "a page waits whether it passes"


@pytest.mark.parametrize("name", RULES)
def test_it_is_shown_to_fire_and_not_to_fire(name: str) -> None:
    checks = [check for check in rule_checks() if check["alertname"] == name]
    assert {bool(check["exp_alerts"]) for check in checks} == {True, False}


def test_a_consumer_that_is_stuck_is_known_for_every_group_of_ours() -> None:
    (known,) = re.findall(r'group=~"([^"]+)"', RULES["ConsumerStuck"]["expr"])
    declared = [*PIPELINES.values(), *STREAMS.values()]
    groups = [each.raw_copy.agent for each in declared if each.raw_copy] + [
        each.counted_by for each in STREAMS.values()
    ]
    assert all(re.fullmatch(known, group) for group in groups)


def test_restarts_are_told_before_the_budget_is_used_up() -> None:
    found = re.search(r"\[(\d+)m\]\) >= (\d+)$", RULES["ServiceRestartsOften"]["expr"])
    assert found
    for service in SERVICES.values():
        assert service.budget.window.total_seconds() == 60 * int(found[1])
        assert service.budget.restarts > int(found[2])
