"""The second step of a run whose records a stream lands."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from penstock.airflow.errors import TryAgain
from penstock.airflow.operators.await_landing import AwaitLandingOperator
from penstock.airflow.runs import produce_land_reconcile
from penstock.airflow.triggers import LandingTrigger
from penstock.core.counts import Landed
from penstock.core.errors import Fatal, Retry
from penstock.core.pipeline import LandedBy, Pipeline
from penstock.ledger import landings
from penstock.pipelines import CARS
from penstock.services import landing_wait
from tests.unit.airflow.conftest import FakeLedger, produced

STREAMED = replace(CARS, landed_by=LandedBy.STREAM)


@pytest.fixture(autouse=True)
def addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "k:1")
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", "http://r")
    monkeypatch.setenv("LEDGER_URL", "postgresql://penstock@host/penstock")


def operator(result: Any) -> AwaitLandingOperator:
    return AwaitLandingOperator(task_id="await_landing", pipeline=STREAMED, produced=result)


def steps(pipeline: Pipeline) -> dict[str, set[str]]:
    with DAG("cars", schedule=None) as dag:
        produce_land_reconcile(pipeline)
    return {task.task_id: task.downstream_task_ids for task in dag.tasks}


def test_a_run_waits_for_the_stream_where_it_would_land_by_itself() -> None:
    assert steps(CARS) == {"produce": {"land", "reconcile"}, "land": {"reconcile"}, "reconcile": set()}
    assert steps(STREAMED) == {
        "produce": {"await_landing", "reconcile"},
        "await_landing": {"reconcile"},
        "reconcile": set(),
    }


def test_it_waits_without_a_slot_for_the_offsets_of_its_batch(fake_ledger: FakeLedger, context: dict[str, Any]) -> None:
    result = produced()
    with pytest.raises(TaskDeferred) as deferred:
        operator(result).execute(context)
    trigger = deferred.value.trigger
    assert isinstance(trigger, LandingTrigger)
    _, arguments = trigger.serialize()
    assert arguments["pipeline"] == "car_transactions"
    assert arguments["wanted"] == {str(each["partition"]): each["end"] for each in result["ranges"]}
    assert LandingTrigger(**arguments).wanted == trigger.wanted
    assert fake_ledger.methods() == ["started"]


def test_once_all_has_landed_it_answers_the_counts(
    fake_ledger: FakeLedger, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = produced(acked=6)
    counts = Landed(result["batch_id"], read=6, landed=5, rejected=0, duplicates=1)
    monkeypatch.setattr(landings, "landed_by_stream", lambda *_: counts)
    assert operator(result).landed(context, {}) == [counts.to_json()]
    assert fake_ledger.methods() == ["started", "landed"]


def test_a_batch_without_records_is_not_waited_for(fake_ledger: FakeLedger, context: dict[str, Any]) -> None:
    result = produced(acked=0)
    assert [each["read"] for each in operator(result).execute(context)] == [0]
    assert fake_ledger.methods() == ["started", "started", "landed"]


@pytest.mark.parametrize(("kind", "raised"), [("Retry", TryAgain), ("Fatal", AirflowFailException)])
def test_a_stream_in_trouble_fails_the_task_in_its_own_words(
    fake_ledger: FakeLedger, context: dict[str, Any], kind: str, raised: type[Exception]
) -> None:
    with pytest.raises(raised, match="the stream stands"):
        operator(produced()).landed(context, {"kind": kind, "message": "the stream stands"})
    assert fake_ledger.methods() == ["started", "failed"]


@pytest.mark.parametrize(
    ("answers", "event"),
    [
        ([False, False, True], {}),
        ([False, Retry("slow")], {"kind": "Retry", "message": "slow"}),
        ([Fatal("stopped")], {"kind": "Fatal", "message": "stopped"}),
    ],
)
def test_the_trigger_looks_until_it_knows(answers: list[Any], event: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wait:
        def over(self) -> bool:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return bool(answer)

    monkeypatch.setattr(landing_wait, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(LandingTrigger, "_wait", lambda _: Wait())

    async def first() -> Any:
        return await anext(LandingTrigger(CARS.name, {"0": 1}).run())

    assert asyncio.run(asyncio.wait_for(first(), timedelta(seconds=10).total_seconds())).payload == event
