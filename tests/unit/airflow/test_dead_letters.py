from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from penstock.airflow import replaying
from penstock.airflow.letters_form import LettersAsked, letters_form
from penstock.airflow.operators.dead_letters import (
    DropDeadLettersOperator,
    HourlyWork,
    ReplayDeadLettersOperator,
)
from penstock.airflow.replaying import Outcome
from penstock.core.errors import Fatal


@pytest.fixture
def asked(context: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The context of a run that asks for letters; `pushed` has its XComs."""
    pushed: dict[str, Any] = {}
    context["ti"].xcom_push = pushed.__setitem__
    context["dag_run"] = SimpleNamespace(triggering_user_name="grace")
    context["pushed"] = pushed
    context["params"] = {"replay": [7], "mended": {"7": {"a": 1}}, "drop": None, "why": None, "by": None}
    return context


def outcome(monkeypatch: pytest.MonkeyPatch, found: Outcome) -> list[Any]:
    calls: list[Any] = []

    def done(*given: Any) -> Outcome:
        calls.append(given)
        return found

    monkeypatch.setattr(replaying, "replay", done)
    monkeypatch.setattr(replaying, "drop", done)
    return calls


def test_a_run_asked_for_nothing_skips_letters_and_does_its_hourly_work(context: dict[str, Any]) -> None:
    context["params"] = dict.fromkeys(letters_form())
    for operator in (ReplayDeadLettersOperator, DropDeadLettersOperator):
        with pytest.raises(AirflowSkipException):
            operator(task_id="t").execute(context)
    HourlyWork(task_id="t").pre_execute(context)


def test_a_run_asked_for_letters_skips_the_hourly_work(asked: dict[str, Any]) -> None:
    with pytest.raises(AirflowSkipException):
        HourlyWork(task_id="t").pre_execute(asked)


def test_letters_are_replayed_for_who_has_triggered_the_run(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = outcome(monkeypatch, Outcome(replayed=[7], verdicts={"b": "whole"}))
    found = ReplayDeadLettersOperator(task_id="t").execute(asked)
    ((ids, mended, run, by),) = calls
    assert (ids, mended, by) == ((7,), {7: {"a": 1}}, "grace")
    assert run.id == "weather_hourly/scheduled__2026-03-01T10:00:00+00:00"
    assert (found["replayed"], found["verdicts"]) == (1, {"b": "whole"})


def test_refusals_and_gaps_fail_the_task_and_are_in_its_outcome(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome(monkeypatch, Outcome(refused={7: "letter 7: mend it"}))
    with pytest.raises(AirflowFailException, match="refused: letter 7: mend it"):
        ReplayDeadLettersOperator(task_id="t").execute(asked)
    assert asked["pushed"]["outcome"]["refusals"] == ["letter 7: mend it"]
    outcome(monkeypatch, Outcome(replayed=[7], verdicts={"b": "1 missing in pop"}))
    with pytest.raises(AirflowFailException, match=r"not whole\. b: 1 missing in pop"):
        ReplayDeadLettersOperator(task_id="t").execute(asked)


def test_letters_are_dropped_with_the_reason(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked["params"] = {"drop": [8], "why": "a broken sensor", "by": "ada"}
    calls = outcome(monkeypatch, Outcome(dropped=[8]))
    assert DropDeadLettersOperator(task_id="t").execute(asked)["dropped"] == 1
    assert (calls[0][0], *calls[0][2:]) == ((8,), "ada", "a broken sensor")


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"drop": [1]}, "say why"),
        ({"drop": [1], "replay": [1, 2], "why": "x"}, "replayed and dropped: 1"),
        ({"replay": [1], "mended": {"2": {}}}, "of letters that are not replayed: 2"),
    ],
)
def test_a_form_that_contradicts_itself_is_refused(params: dict[str, Any], said: str) -> None:
    with pytest.raises(Fatal, match=said):
        LettersAsked.of(params)
