"""Servers that go away while a batch is on its way: the task waits or fails with one sentence, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import psutil
import pytest

from penstock.core.batch import Interval
from penstock.core.settings import Cassandra
from penstock.ledger.store import Ledger, LedgerRow
from penstock.pipelines.weather_defaults import CITIES
from penstock.stack.airflow_api import Airflow
from tests import tables

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DAG = "weather_hourly"
PATIENCE = 600.0

_days_ago = count(30)


class Batch:
    """One hour that no other test fills, and its run in Airflow."""

    def __init__(self, airflow: Airflow, ledger: Ledger, cassandra: Cassandra) -> None:
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        start = midnight - next(_days_ago) * DAY
        self.interval = Interval(start, start + HOUR)
        self._airflow, self._ledger, self._cassandra = airflow, ledger, cassandra

    def begin(self) -> None:
        """Start the run, by a backfill of this hour."""
        self._backfill = self._airflow.backfill(DAG, self.interval.start, self.interval.start)

    @property
    def run_id(self) -> str:
        """That of the run, once there is one."""
        logical = self.interval.start.isoformat()[:19] + "Z"
        return str(
            _eventually(lambda: [run for run in self._airflow.runs(DAG) if run["logical_date"] == logical])[0][
                "dag_run_id"
            ]
        )

    def task(self, task_id: str) -> Mapping[str, Any]:
        """The present state of one of its tasks."""
        return next(each for each in self._airflow.tasks(DAG, self.run_id) if each["task_id"] == task_id)

    def wait_until(self, task_id: str, *states: str) -> Mapping[str, Any]:
        """Wait until a task is in one of these states."""
        return _eventually(lambda: found if (found := self.task(task_id))["state"] in states else None)

    def driver(self) -> psutil.Process | None:
        """The process of Spark that lands it, if there is one."""
        start = self.interval.start.strftime("%Y-%m-%dT%H_%M_%SZ")
        for process in psutil.process_iter(["cmdline"]):
            command = " ".join(process.info["cmdline"] or ())
            if "org.apache.spark.deploy.SparkSubmit" in command and f"{DAG}_{start}" in command:
                return process
        return None

    def log(self, task_id: str, try_number: int) -> str:
        """What a try has said."""
        return self._airflow.task_log(DAG, self.run_id, task_id, try_number)

    def end(self) -> str:
        """Wait for the end of the run, and return its state."""
        state = self._airflow.wait(DAG, self.run_id, PATIENCE)
        self._airflow.wait_backfill(self._backfill, PATIENCE)
        return state

    def assert_whole(self) -> LedgerRow:
        """Everything arrived, by the ledger's account and by the table's own."""
        with self._ledger as ledger:
            (batch,) = ledger.batches(DAG, self.interval.start, self.interval.end)
        assert (batch.verdict, batch.fetched, batch.landed) == ("whole", len(CITIES), len(CITIES))
        with tables.session(self._cassandra) as session:
            rows = tables.rows(session, "hourlydata", self.interval.start, self.interval.end)
        assert len(rows) == len(CITIES)
        return batch


def _eventually(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (value := found()):
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        time.sleep(0.5)
    return value


@pytest.fixture
def batch(airflow: Airflow, ledger: Ledger, cassandra_settings: Cassandra) -> Batch:
    return Batch(airflow, ledger, cassandra_settings)


class Outage:
    """A server that is stopped until it is back."""

    def __init__(self, stack: Any) -> None:
        self._stack = stack
        self._stopped: list[str] = []

    def of(self, name: str) -> None:
        """Stop a server."""
        self._stack.stop(name)
        self._stopped.append(name)

    def ends(self) -> None:
        """Start again what was stopped."""
        while self._stopped:
            self._stack.start(self._stopped.pop())


@pytest.fixture
def outage(stack: Any) -> Iterator[Outage]:
    outage = Outage(stack)
    yield outage
    outage.ends()


def test_produce_waits_for_a_broker_that_is_away(batch: Batch, outage: Outage) -> None:
    outage.of("kafka")
    batch.begin()
    batch.wait_until("produce", "running")
    outage.ends()
    assert batch.end() == "success"
    batch.assert_whole()


@pytest.mark.parametrize(
    ("server", "step", "sentence"),
    [("registry", "produce", "the schema registry at"), ("cassandra", "land", "Cassandra at")],
)
def test_a_step_fails_in_one_sentence_and_its_retry_completes_the_batch(
    batch: Batch, outage: Outage, server: str, step: str, sentence: str
) -> None:
    outage.of(server)
    batch.begin()
    failed = batch.wait_until(step, "up_for_retry")
    log = batch.log(step, failed["try_number"])
    assert [line for line in log.splitlines() if line.startswith(sentence)]
    assert "Traceback" not in log
    outage.ends()
    assert batch.end() == "success"
    assert batch.task(step)["try_number"] > failed["try_number"]
    batch.assert_whole()


@pytest.mark.parametrize("step", ["produce", "land"])
def test_a_broker_that_is_killed_loses_nothing(batch: Batch, stack: Any, step: str) -> None:
    batch.begin()
    batch.wait_until(step, "running", "success")
    stack.kill("kafka")
    assert batch.end() == "success"
    batch.assert_whole()


def test_a_cassandra_that_is_killed_while_landing_loses_nothing(batch: Batch, stack: Any) -> None:
    batch.begin()
    batch.wait_until("land", "running", "success")
    stack.kill("cassandra")
    assert batch.end() == "success"
    batch.assert_whole()


@pytest.mark.parametrize("victim", ["driver", "worker"])
def test_a_landing_that_is_killed_is_done_again(batch: Batch, victim: str) -> None:
    """Spark's driver dies with its Python workers; or its Airflow worker dies, and the driver goes on as an orphan."""
    batch.begin()
    killed = batch.wait_until("land", "running")
    driver = _eventually(batch.driver)
    (driver if victim == "driver" else driver.parent()).kill()
    assert batch.end() == "success"
    assert batch.task("land")["try_number"] > killed["try_number"]
    batch.assert_whole()
