"""One running stack for all tests that need servers, apart from the user's: other ports, data and secrets."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import requests
from psycopg import sql

# So that the assertions of what the tests share tell what they saw.
pytest.register_assert_rewrite(*(f"tests.{path.stem}" for path in Path(__file__).parent.glob("*.py")))

from penstock.core.settings import PROJECT, Cassandra, Hdfs, Influx, Kafka
from penstock.ledger.store import Ledger
from penstock.stack import demo, lifecycle
from penstock.stack.airflow_api import Airflow
from penstock.stack.context import MONITORING, Context
from penstock.stack.report import report
from penstock.stack.servers import Server, airflow_environment, wanted
from tests.lineage import DEAD_SERVER
from tests.stream_job import Changes, Job
from tests.streams import HELD

UNIT_TESTS = PROJECT / "tests" / "unit"
TEST_STACK = PROJECT / "build" / "test-stack"
TEST_DATA_SETS = PROJECT / "build" / "test-data-sets"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests that need no server first: they tell within minutes, and before the stack's environment is set."""
    items.sort(key=lambda item: not item.path.is_relative_to(UNIT_TESTS))


class Stack:
    """The running stack, and what a test may do to it."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def _server(self, name: str) -> Server:
        return next(server for server in wanted(self.context) if server.name == name)

    def stop(self, name: str) -> None:
        """Stop a server in its orderly way."""
        self.context.supervisor.stop_program(name)

    def start(self, name: str) -> None:
        """Start a server and wait until it is ready."""
        with report() as told:
            lifecycle.start_one(self.context, self._server(name), told)

    def kill(self, name: str) -> int:
        """Kill a server with SIGKILL and return the process id it had; supervisord starts it again."""
        process = int(self.context.supervisor.states()[name]["pid"])
        assert process, f"{name} does not run"  # 0 would be the tests' own process group
        os.kill(process, 9)
        return process

    def environment(self) -> dict[str, str]:
        """What a program of the stack finds in its environment."""
        return {**self.context.environment(), **airflow_environment(self.context)}


class Replay:
    """The replay server's switches."""

    def __init__(self, url: str) -> None:
        self.url = url

    def fault(self, kind: str, times: int = 1, **more: object) -> None:
        """Make the next `times` requests fail in this way."""
        requests.post(f"{self.url}/faults", json={"kind": kind, "times": times, **more}, timeout=10).raise_for_status()

    def clear(self) -> None:
        """No more faults."""
        requests.delete(f"{self.url}/faults", timeout=10).raise_for_status()


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Start the whole stack once. PENSTOCK_KEEP_STACK=1 leaves it running, and takes up a running one."""
    keep = os.environ.get("PENSTOCK_KEEP_STACK") == "1"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PENSTOCK_VAR", str(TEST_STACK))
        patched.setenv("PENSTOCK_ENV_FILE", str(TEST_STACK.with_suffix(".env")))
        patched.setenv("PENSTOCK_DATA_SETS", str(TEST_DATA_SETS))
        patched.setenv("PENSTOCK_PORTS", "free")
        patched.setenv("PENSTOCK_HOLD", ",".join(HELD))
        patched.setenv("PENSTOCK_PROFILES", MONITORING)
        # All that runs here proves that nothing fails, or waits, because of a lineage server that is away.
        patched.setenv("OPENLINEAGE_URL", DEAD_SERVER)
        if not keep:
            _wipe()
        context = Context.load(create=True).with_replay(True)
        with report() as told:
            lifecycle.up(context, told)
        for name, value in context.environment().items():
            patched.setenv(name, value)
        try:
            yield Stack(context)
        finally:
            if not keep:
                lifecycle.down(context)


def _wipe() -> None:
    shutil.rmtree(TEST_DATA_SETS, ignore_errors=True)
    if TEST_STACK.exists():
        if TEST_STACK.with_suffix(".env").exists():
            lifecycle.down(Context.load())
        shutil.rmtree(TEST_STACK)


@pytest.fixture
def unique() -> str:
    """A short name that no other test uses."""
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.fixture(scope="session")
def kafka_settings(stack: Stack) -> Kafka:
    """Where the broker and its registry are."""
    return Kafka.from_env(stack.environment())


@pytest.fixture(scope="session")
def cassandra_settings(stack: Stack) -> Cassandra:
    """Where Cassandra is, and the role that writes."""
    return Cassandra.from_env(stack.environment())


@pytest.fixture(scope="session")
def influx_settings(stack: Stack) -> Influx:
    """Where InfluxDB is, and the token that reads and writes the bucket."""
    return Influx.from_env(stack.environment())


@pytest.fixture(scope="session")
def hdfs_settings(stack: Stack) -> Hdfs:
    """Where HDFS is, and the name the platform acts under there."""
    return Hdfs.from_env(stack.environment())


@pytest.fixture
def ledger_url(stack: Stack, unique: str) -> Iterator[str]:
    """An empty PostgreSQL schema of the test's own."""
    schema = sql.Identifier(unique)
    with psycopg.connect(stack.context.ledger_url, autocommit=True) as connection:
        connection.execute(sql.SQL("create schema {}").format(schema))
        yield f"{stack.context.ledger_url}?options=-csearch_path%3D{unique}"
        connection.execute(sql.SQL("drop schema {} cascade").format(schema))


@pytest.fixture(scope="session")
def ledger(stack: Stack) -> Ledger:
    """The ledger that the stack's DAGs write."""
    return Ledger(stack.context.ledger_url)


@pytest.fixture(scope="session")
def airflow(stack: Stack) -> Airflow:
    """A client of the stack's Airflow."""
    client = demo.airflow(stack.context)
    client.wait_for_dags(set(demo.DAG_IDS))
    return client


@pytest.fixture
def replay(stack: Stack) -> Iterator[Replay]:
    """The replay server, without faults before and after the test."""
    server = Replay(stack.context.endpoints()["replay"]["url"])
    server.clear()
    yield server
    server.clear()


@pytest.fixture(scope="session")
def spark_submit(stack: Stack) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a Spark job as the platform does: spark_submit(job, *arguments, check=True)."""

    def submit(job: str | Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = stack.environment()
        properties = environment["PENSTOCK_SPARK_PROPERTIES"]
        command = ["spark-submit", "--master", "local[2]", "--properties-file", properties, str(job), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
        assert not check or done.returncode == 0, done.stderr[-4000:]
        return done

    return submit


@pytest.fixture
def job(stack: Stack, unique: str, ledger_url: str, tmp_path: Path) -> Iterator[Job]:
    """A driver of wiki_edits_minute over names of its own, not started yet."""
    made = Job.prepared(unique, stack.environment(), ledger_url, tmp_path / "driver.log")
    yield made
    if made.process and made.process.poll() is None:
        made.process.kill()
        made.process.wait()


@pytest.fixture
def changes(job: Job) -> Changes:
    """What sends changes to the topic of `job`."""
    return Changes(job.kafka, job.name)
