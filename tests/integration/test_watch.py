"""Watches over real processes under a real supervisord, with the real ledger."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from penstock.core.errors import Fatal
from penstock.core.service import Desired, State
from penstock.ledger.services import Services
from penstock.ledger.store import Ledger
from penstock.services import control
from penstock.services.service import Budget, Service
from penstock.services.watch import KILL_SECONDS, SAMPLE_SECONDS, End, Look, Watch
from tests.services import Agents, agents, eventually

pytestmark = pytest.mark.integration

AGENT, FLAPPING, MISSING = "agent", "flapping", "missing"


@pytest.fixture
def services(ledger_url: str) -> Iterator[Services]:
    Ledger(ledger_url).migrate()
    with closing(Services(ledger_url)) as found:
        yield found


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agents]:
    dies = ("-c", "import time; print('about to fail', flush=True); time.sleep(1.5); raise SystemExit(3)")
    folder = tmp_path_factory.mktemp("agents")
    with agents(folder, (AGENT, FLAPPING), {FLAPPING: dies}) as found:
        yield found


class Clock:
    """Time that passes when the test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A watch, and what it said."""

    def __init__(self, running: Agents, services: Services, name: str, watcher: str = "run-1", **more: Any) -> None:
        self.service: Service = running.service(name, **more)
        self.supervisor = running.client()
        self.clock = Clock()
        self.services = services
        self.news: list[str] = []
        services.take_watch(name, watcher)
        self.watch = Watch(self.service, self.supervisor, services, watcher, self.clock)

    def look(self) -> Look:
        found = self.watch.look()
        self.news += found.news
        return found

    def until(self, *states: State) -> Look:
        """Look until the service is so. Time stands still, but for the next sample's sake."""

        def look() -> Look | None:
            self.clock.now += SAMPLE_SECONDS if State.STALLED not in states else 0
            found = self.look()
            return found if found.state in states or found.end else None

        return eventually(look)

    def pid(self) -> int | None:
        return self.supervisor.process(self.service.name).pid


@pytest.fixture
def agent(running: Agents, services: Services) -> Iterator[Watched]:
    """A watch over the agent, which starts out stopped, with an empty folder."""
    watched = Watched(running, services, AGENT)
    watched.supervisor.stop(AGENT, wait=True)
    for path in running.spool(AGENT).iterdir():
        path.unlink()
    yield watched
    watched.supervisor.stop(AGENT, wait=True)


def test_what_was_not_started_is_started_and_that_is_no_restart(agent: Watched) -> None:
    assert agent.look().state is State.STARTING
    assert agent.until(State.HEALTHY).reason == "nothing waits"
    (row,) = agent.services.rows()
    assert (row.state, row.pid, row.restarts) == (State.HEALTHY, agent.pid(), 0)


def test_what_runs_already_is_taken_up_as_it_is(agent: Watched, running: Agents, services: Services) -> None:
    agent.until(State.HEALTHY)
    pid = agent.pid()
    for watcher in ("run-2", "run-3"):
        later = Watched(running, services, AGENT, watcher)
        assert later.until(State.HEALTHY).pid == pid
    assert agent.pid() == pid


def test_a_killed_service_is_restarted_with_the_end_of_its_log(agent: Watched) -> None:
    agent.until(State.HEALTHY)
    pid = agent.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    dead = agent.until(State.DEAD)
    assert dead.reason == "it has ended (Bad exit code -1); restarted"
    assert agent.until(State.HEALTHY).pid not in (pid, None)
    assert any(line.startswith("restarting it, because it is dead") for line in agent.news)
    (logged,) = [line for line in agent.news if "agent on port" in line][:1]
    assert "pa55word" not in logged
    (row,) = agent.services.rows()
    assert row.restarts == 1


def test_an_agent_that_lives_and_drains_nothing_is_restarted(agent: Watched, running: Agents) -> None:
    agent.until(State.HEALTHY)
    pid = agent.pid()
    stuck = running.spool(AGENT) / ".stuck"
    stuck.touch()
    (running.spool(AGENT) / "file.json").touch()
    for _ in range(8):
        agent.clock.now += SAMPLE_SECONDS
        found = agent.look()
        if found.state is State.STALLED:
            break
    assert found.reason == "1 files wait, and nothing was drained for 60 s; restarted"
    stuck.unlink()
    assert agent.until(State.HEALTHY).pid != pid
    eventually(lambda: not (running.spool(AGENT) / "file.json").exists())


def test_a_frozen_process_is_killed_and_started_again(tmp_path: Path, services: Services) -> None:
    with agents(tmp_path, (AGENT,), stop_seconds=600) as running:
        agent = Watched(running, services, AGENT)
        agent.until(State.HEALTHY)
        pid = agent.pid()
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        agent.clock.now += SAMPLE_SECONDS
        assert agent.look().reason == "it has not answered for 0 s"
        agent.clock.now += 60
        found = agent.look()
        assert found.reason == "it has not answered for 60 s; restarted"
        assert agent.look().reason == "it is stopping, and will be started again"
        assert psutil.pid_exists(pid), "a stop is waited for before it is made a kill"
        _let_pass(services, KILL_SECONDS)
        assert agent.until(State.HEALTHY).pid not in (pid, None)


def _let_pass(services: Services, seconds: float) -> None:
    """Make all that the ledger knows so much older."""
    age = {"age": timedelta(seconds=seconds)}
    services._session.execute("UPDATE service_restarts SET at = at - %(age)s", age)
    services._session.execute("UPDATE services SET desired_since = desired_since - %(age)s", age)


def test_two_watches_restart_a_dead_service_once(agent: Watched, running: Agents, services: Services) -> None:
    agent.until(State.HEALTHY)
    watches = [
        Watch(agent.service, running.client(), services, "run-1", agent.clock) for _ in range(8)
    ]  # as from a triggerer that was given up too early
    pid = agent.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: running.client().process(AGENT).ended)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            list(pool.map(lambda watch: watch.look(), watches))
    (row,) = services.rows()
    assert row.restarts == 1
    assert len([each for each in psutil.process_iter(["cmdline"]) if _is_agent(each, running)]) == 1


def _is_agent(process: psutil.Process, running: Agents) -> bool:
    return str(running.spool(AGENT)) in (process.info["cmdline"] or [])


def test_a_service_that_always_dies_uses_up_its_budget_and_is_left(running: Agents, services: Services) -> None:
    budget = Budget(restarts=3, base=0.1, longest=0.2)
    watched = Watched(running, services, FLAPPING, budget=budget)
    end = eventually(lambda: found if (found := watched.look()).end else None)
    assert (end.end, end.state) == (End.GAVE_UP, State.DEAD)
    assert end.reason == "it has ended (Bad exit code 3); it is left so after 3 restarts in 30 min"
    assert "  about to fail" in end.news
    assert services.rows()[0].restarts == 3
    assert not running.client().process(FLAPPING).runs

    # The next run waits until the budget has room, and tries again.
    later = Watched(running, services, FLAPPING, "run-2", budget=budget)
    waits = later.look()
    assert waits.end is None
    assert "to be restarted after a pause" in waits.reason
    assert services.rows()[0].restarts == 3
    _let_pass(services, 31 * 60)
    assert later.look().reason.endswith("; restarted")


def test_what_a_person_does_gives_the_budget_back(running: Agents, services: Services) -> None:
    for _ in range(5):
        services.restarted(FLAPPING, "dead: it has ended")
    window = timedelta(minutes=30)
    assert len(services.orders(FLAPPING, window).restart_ages) == 5
    services.desire(FLAPPING, Desired.STARTED, "ann")
    assert services.orders(FLAPPING, window).restart_ages == ()


def test_a_service_that_a_person_has_stopped_stays_stopped(agent: Watched, running: Agents, services: Services) -> None:
    agent.until(State.HEALTHY)
    control.stop(AGENT, agent.supervisor, services, by="ann")
    assert agent.pid() is None
    later = Watched(running, services, AGENT, "run-2")
    for _ in range(3):
        found = later.look()
        assert (found.state, found.reason, found.pid) == (State.STOPPED, "stopped by ann", None)

    later.supervisor.start(AGENT)  # by supervisorctl, past the ledger
    later.look()
    eventually(lambda: later.pid() is None)

    control.start(AGENT, later.supervisor, services, by="ben")
    assert later.until(State.HEALTHY).pid == later.pid()
    pid = later.pid()
    control.restart(AGENT, later.supervisor, services, by="ben")
    assert later.until(State.HEALTHY).pid not in (pid, None)
    assert services.rows()[0].restarts == 0


def test_an_older_watch_ends_when_another_takes_over(agent: Watched, running: Agents, services: Services) -> None:
    agent.until(State.HEALTHY)
    later = Watched(running, services, AGENT, "run-2")
    end = agent.look()
    assert (end.end, end.reason) == (End.HANDED_OVER, "another run watches it from now on")
    assert later.look().end is None


def test_a_program_that_supervisord_does_not_know_is_a_matter_for_a_person(running: Agents, services: Services) -> None:
    service = Service(MISSING, "missing", running.service(AGENT).probe, "Declare it.")
    services.take_watch(MISSING, "run-1")
    with pytest.raises(Fatal, match="has no program missing"):
        Watch(service, running.client(), services, "run-1").look()


def test_a_supervisord_that_is_away_makes_the_state_unknown(tmp_path: Path, services: Services) -> None:
    with agents(tmp_path, (AGENT,)) as running:
        agent = Watched(running, services, AGENT)
        agent.until(State.HEALTHY)
    found = agent.look()
    assert found.state is State.UNKNOWN
    assert "does not answer" in found.reason


def test_what_the_ledger_says_of_a_service_lasts(services: Services) -> None:
    services.seen(AGENT, State.HEALTHY, "nothing waits", 7)
    (first,) = services.rows()
    services.seen(AGENT, State.HEALTHY, "3 records wait", 7)
    (second,) = services.rows()
    assert (second.since, second.reason) == (first.since, "3 records wait")
    services.seen(AGENT, State.DEAD, "it has ended", None)
    (third,) = services.rows()
    assert third.since > first.since
    assert third.pid is None
    assert third.to_json()["state"] == "dead"
