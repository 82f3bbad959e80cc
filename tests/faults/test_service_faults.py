"""Airflow dies, and the services do not notice: they are taken up again as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from penstock.stack.airflow_api import Airflow
from tests.services import Watching, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

TRIGGERER, SCHEDULER = "airflow-triggerer", "airflow-scheduler"


@pytest.fixture
def watching(stack: Any, airflow: Airflow) -> Iterator[Watching]:
    airflow.wait_for_dags({"service_flume_pop_spool"})
    with closing(Watching(stack, airflow, "flume-pop-spool")) as found:
        found.begin("start")
        yield found


@pytest.mark.parametrize("victims", [(TRIGGERER,), (SCHEDULER,), (TRIGGERER, SCHEDULER)])
def test_airflow_killed_and_started_again_takes_the_service_up(
    stack: Any, watching: Watching, victims: tuple[str, ...]
) -> None:
    pid, restarts = watching.pid, watching.row.restarts
    for victim in victims:
        assert stack.kill(victim)
    for victim in victims:
        stack.start(victim)
    assert watching.is_seen_anew()
    assert watching.processes() == [pid]
    assert watching.row.restarts == restarts

    assert watching.kill() == pid  # and the watch is in force
    eventually(lambda: watching.pid not in (pid, 0) and watching.row.state == "healthy")
    assert watching.processes() == [watching.pid]
    assert watching.row.restarts == restarts + 1


def test_a_service_that_dies_while_airflow_is_down_is_restarted_once_it_is_back(stack: Any, watching: Watching) -> None:
    restarts = watching.row.restarts
    for server in (TRIGGERER, SCHEDULER):
        stack.stop(server)
    pid = watching.kill()
    for server in (TRIGGERER, SCHEDULER):
        stack.start(server)
    eventually(lambda: watching.pid not in (pid, 0) and watching.row.state == "healthy")
    assert watching.row.restarts == restarts + 1


def test_a_cleared_watch_leaves_the_service_running(watching: Watching) -> None:
    pid, tries = watching.pid, watching.task(watching.run_id)["try_number"]
    watching.clear()
    eventually(lambda: (task := watching.task(watching.run_id))["try_number"] > tries and task["state"] == "deferred")
    assert watching.is_seen_anew()
    assert watching.processes() == [pid]
