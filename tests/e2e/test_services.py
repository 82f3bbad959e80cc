"""A service under the real triggerer: killed, stopped and started."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from penstock.services import SERVICES
from penstock.stack.airflow_api import Airflow
from tests.services import Watching, eventually

pytestmark = pytest.mark.e2e


@pytest.fixture
def watching(stack: Any, airflow: Airflow) -> Iterator[Watching]:
    airflow.wait_for_dags({"service_flume_pop_spool"})
    with closing(Watching(stack, airflow, "flume-pop-spool")) as found:
        found.begin("start")
        yield found


def test_a_killed_service_is_back_and_the_task_says_why(watching: Watching) -> None:
    before = watching.row.restarts
    pid = watching.kill()
    eventually(lambda: watching.pid not in (pid, 0) and watching.row.state == "healthy")
    assert watching.row.restarts == before + 1
    log = watching.log()
    assert "restarting it, because it is dead: it has ended" in log
    assert "the end of its log:" in log
    assert watching.task(watching.run_id)["state"] == "deferred", "the watch goes on"


def test_the_log_of_a_watch_is_read_while_it_goes_on(stack: Any, watching: Watching) -> None:
    served = f"http://127.0.0.1:{stack.context.ports['airflow_log']}/log/dag_id={watching.service.dag_id}/"
    log = eventually(lambda: found if "it runs as process" in (found := watching.log()) else None)
    assert served in log
    assert "Could not read" not in log


def test_a_person_stops_and_starts_it_in_the_ui(watching: Watching) -> None:
    stop = watching.run("stop")
    assert watching.end(stop) == "success"
    assert watching.pid == 0
    shown = eventually(lambda: found if (found := watching.state()) and found["state"] == "stopped" else None)
    assert shown["reason"].startswith("stopped by ")
    assert watching.is_seen_anew()
    assert watching.pid == 0, "nobody starts what a person has stopped"

    earlier = watching.run_id
    watching.begin("start")
    assert watching.pid != 0
    assert watching.end(earlier) == "success", "the new run has taken over"


def test_a_person_restarts_it_in_the_ui(watching: Watching) -> None:
    pid, before = watching.pid, watching.row.restarts
    watching.begin("restart")
    assert watching.pid not in (pid, 0)
    assert watching.row.restarts == before, "only what the watch restarts is counted"


def penstock(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "penstock.cli", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_person_stops_and_starts_it_at_the_command_line(watching: Watching) -> None:
    name = watching.service.name
    penstock("service", "stop", name)
    assert watching.is_seen_anew()
    assert watching.pid == 0, "the watch leaves it stopped"
    (row,) = json.loads(penstock("service", "status", name, "--json"))
    assert (row["state"], row["desired"]) == ("stopped", "stopped")

    penstock("service", "start", name)
    assert watching.pid != 0
    eventually(lambda: watching.row.state == "healthy")
    listed = penstock("service", "status")
    assert all(service in listed for service in SERVICES)
