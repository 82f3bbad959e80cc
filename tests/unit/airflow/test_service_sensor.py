from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from penstock.airflow.sensors.service import ServiceSensor, action_form
from penstock.airflow.triggers import ServiceTrigger
from penstock.core.errors import Fatal
from penstock.core.service import Desired, State
from penstock.ledger import services as ledger_module
from penstock.services import SERVICES, supervisor
from penstock.services.watch import End, Look

NAME = "flume-pop-hdfs"
RUN = {
    "ti": SimpleNamespace(dag_id="service_flume_pop_hdfs", run_id="manual__1", try_number=2),
    "dag_run": SimpleNamespace(triggering_user_name="ann"),
}


class Told:
    """Stands for supervisord and the ledger, and notes what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def desire(self, name: str, desired: Desired, by: str) -> None:
        self.calls.append((desired, name, by))

    def take_watch(self, name: str, watcher: str) -> None:
        self.calls.append(("take_watch", name, watcher))

    def start(self, name: str) -> None:
        self.calls.append(("start", name))

    def stop(self, name: str, *, wait: bool) -> None:
        self.calls.append(("stop", name, wait))

    def seen(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    found = Told()
    monkeypatch.setenv("LEDGER_URL", "postgresql://penstock@host/penstock")
    monkeypatch.setenv("SUPERVISOR_URL", "http://host")
    monkeypatch.setenv("SUPERVISOR_PASSWORD", "none")
    monkeypatch.setattr(ledger_module, "Services", lambda url: found)
    monkeypatch.setattr(supervisor, "Supervisor", lambda at, timeout: found)
    return found


def execute(action: str) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as raised:
        ServiceSensor(task_id="watch", service=NAME, action=action).execute(RUN)
    return raised.value


WATCHER = "service_flume_pop_hdfs/manual__1/2"


def test_a_watch_takes_over_and_defers(told: Told) -> None:
    deferred = execute("watch")
    assert told.calls == [("take_watch", NAME, WATCHER)]
    assert isinstance(deferred.trigger, ServiceTrigger)
    assert deferred.trigger.serialize() == (
        "penstock.airflow.triggers.ServiceTrigger",
        {"service": NAME, "watcher": WATCHER},
    )
    assert deferred.timeout is None


@pytest.mark.parametrize(
    ("action", "done"),
    [("start", [("start", NAME)]), ("restart", [("stop", NAME, True), ("start", NAME)])],
)
def test_a_person_starts_it_and_the_run_goes_on_to_watch(told: Told, action: str, done: list[Any]) -> None:
    execute(action)
    assert told.calls == [(Desired.STARTED, NAME, "ann"), *done, ("take_watch", NAME, WATCHER)]


def test_a_stop_is_written_down_before_it_is_done_and_leaves_the_watch_to_others(told: Told) -> None:
    said = ServiceSensor(task_id="watch", service=NAME, action="stop").execute(RUN)
    assert said == f"{NAME} is stopped, until somebody starts it"
    assert told.calls == [(Desired.STOPPED, NAME, "ann"), ("stop", NAME, True)]


def test_an_action_that_is_none_is_refused(told: Told) -> None:
    with pytest.raises(AirflowFailException, match="none of watch, start, restart, stop"):
        ServiceSensor(task_id="watch", service=NAME, action="kill").execute(RUN)
    assert told.calls == []


def test_a_service_that_is_not_declared_is_refused() -> None:
    with pytest.raises(Fatal, match="the services are flume-pop-spool"):
        ServiceSensor(task_id="watch", service="other")


def test_the_form_watches_unless_something_else_is_chosen() -> None:
    param = action_form()["action"]
    assert param.value == "watch"
    assert param.schema["enum"] == ["watch", "start", "restart", "stop"]


@pytest.mark.parametrize("end", [End.HANDED_OVER, End.EXPIRED])
def test_a_watch_that_others_go_on_with_ends_well(end: End) -> None:
    event = {"end": str(end), "state": "healthy", "reason": "another run watches it", "news": []}
    said = ServiceSensor(task_id="watch", service=NAME).watched(RUN, event)
    assert said == "healthy; another run watches it"


@pytest.mark.parametrize("end", [str(End.GAVE_UP), "error"])
def test_a_watch_that_gave_up_fails_with_the_reason_and_what_to_do(end: str) -> None:
    event = {"end": end, "state": "dead", "reason": "it has ended (exit code 3)", "news": ["the end of its log:"]}
    with pytest.raises(AirflowFailException) as raised:
        ServiceSensor(task_id="watch", service=NAME).watched(RUN, event)
    assert str(raised.value) == f"{NAME} is dead: it has ended (exit code 3). {SERVICES[NAME].runbook}"


class Looks:
    """A watch that finds these things, one after the other."""

    def __init__(self, *looks: Look | Fatal) -> None:
        self._looks = list(looks)

    def look(self) -> Look:
        found = self._looks.pop(0)
        if isinstance(found, Fatal):
            raise found
        return found


def events(monkeypatch: pytest.MonkeyPatch, watch: Looks) -> list[Any]:
    from penstock.services import watch as watch_module

    monkeypatch.setattr(watch_module, "LOOK_SECONDS", 0)
    trigger = ServiceTrigger(NAME, WATCHER)
    monkeypatch.setattr(trigger, "_watch", lambda: watch)

    async def run() -> list[Any]:
        return [event.payload async for event in trigger.run()]

    return asyncio.run(run())


def test_a_trigger_watches_until_the_end_and_tells_the_news_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    healthy = Look(State.HEALTHY, "nothing waits", 7, ("healthy: nothing waits",), changed=True)
    gave_up = Look(State.DEAD, "left", None, ("the last line",), end=End.GAVE_UP)
    found = events(monkeypatch, Looks(healthy, Look(State.HEALTHY, "nothing waits", 7), gave_up))
    assert found == [{"end": "gave up", "state": "dead", "reason": "left", "news": ["the last line"]}]
    assert capsys.readouterr().out.count("healthy: nothing waits") == 1


def test_a_wrong_configuration_ends_the_watch_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    found = events(monkeypatch, Looks(Fatal("supervisord has no program flume-pop-hdfs")))
    assert found == [
        {"end": "error", "state": "unknown", "reason": "supervisord has no program flume-pop-hdfs", "news": []}
    ]
