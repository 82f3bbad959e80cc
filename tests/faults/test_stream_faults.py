"""Each program of the two streams is killed in turn under load: no event is lost, and no minute counts one twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from penstock.core.batch import Interval
from penstock.core.settings import Hdfs
from penstock.ledger.stream_hops import in_raw_copy
from penstock.pipelines import WEB_EVENTS, WIKI
from penstock.services import SERVICES
from penstock.stack.airflow_api import Airflow
from tests.services import Watching, eventually
from tests.streams import EVENT_SERVICES, WIKI_SERVICES, judged, running

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

SERVERS = ("kafka", "hdfs-datanode")
BETWEEN_SECONDS = 10.0
"""For how long the load goes on after a victim has got up again."""


@pytest.fixture
def watched(stack: Any, airflow: Airflow) -> Iterator[dict[str, Watching]]:
    """Both streams, each of their services under the watch of its DAG."""
    names = (*WIKI_SERVICES, *EVENT_SERVICES)
    airflow.wait_for_dags({SERVICES[name].dag_id for name in names})
    with running(stack, names), ExitStack() as closed:
        found = {name: closed.enter_context(closing(Watching(stack, airflow, name))) for name in names}
        for watching in found.values():
            watching.begin("start")
        yield found


def sent(stack: Any, minutes: Interval) -> int:
    """How many changes the source had to send, by its own account."""
    url = f"{stack.context.endpoints()['replay']['url']}/v2/stream/recentchange/sent"
    asked = {"from": minutes.start.isoformat(), "to": minutes.end.isoformat()}
    answer = requests.get(url, params=asked, timeout=30)
    answer.raise_for_status()
    return sum(answer.json()["minutes"].values())


def test_every_program_is_killed_in_turn_and_every_minute_is_whole(stack: Any, watched: dict[str, Watching]) -> None:
    began = datetime.now(UTC)
    for watching in watched.values():
        restarts = watching.row.restarts
        pid = watching.kill()
        eventually(lambda: watching.pid not in (pid, 0) and watching.row.state == "healthy")  # noqa: B023 - called here
        assert watching.row.restarts == restarts + 1
        time.sleep(BETWEEN_SECONDS)
    for server in SERVERS:
        stack.kill(server)
        stack.start(server)
        time.sleep(BETWEEN_SECONDS)

    ended = datetime.now(UTC)
    rows = {stream.name: judged(stack, stream, began, ended) for stream in (WIKI, WEB_EVENTS)}
    assert {name: row.verdict for name, row in rows.items()} == {"wiki": "whole", "web_events": "whole"}
    minutes = Interval(rows["wiki"].interval_start, rows["wiki"].interval_end)
    copied = in_raw_copy(WIKI, minutes, Hdfs.from_env(stack.environment()))
    assert sum(map(len, copied.values())) == sent(stack, minutes)
    for name, watching in watched.items():
        assert len(watching.processes()) == 1, f"{name} runs once"


def test_a_stream_outlives_airflow_and_runs_once_when_it_is_back(stack: Any, watched: dict[str, Watching]) -> None:
    began = datetime.now(UTC)
    pids = {name: watching.pid for name, watching in watched.items()}
    for server in ("airflow-triggerer", "airflow-scheduler"):
        stack.kill(server)
    for server in ("airflow-triggerer", "airflow-scheduler"):
        stack.start(server)
    for name, watching in watched.items():
        assert watching.is_seen_anew()
        assert watching.processes() == [pids[name]]
    assert judged(stack, WIKI, began, datetime.now(UTC)).verdict == "whole"
