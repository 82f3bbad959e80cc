"""Starting and stopping an instance: every server as soon as what it needs is ready."""

from __future__ import annotations

import hashlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from penstock.core.errors import Fatal
from penstock.core.service import Desired
from penstock.core.settings import PROJECT
from penstock.pipelines import DATA_SETS
from penstock.services import SERVICES
from penstock.stack import servers as declared
from penstock.stack.context import Context
from penstock.stack.report import Report, Step
from penstock.stack.servers import Server, airflow_environment, render


class _Abandoned(Exception):
    """A wait was given up because the start as a whole has failed."""


_POLL_SECONDS = 0.2
_WORKERS = 8


@dataclass(frozen=True)
class Task:
    """A step of the start that is no server: done once, not supervised."""

    name: str
    run: Callable[[Context, Step], None]
    needs: tuple[str, ...] = ()


def _init_airflow(context: Context, step: Step) -> None:
    """Migrate Airflow's database and make its admin user, unless just that was done before."""
    environment = {**context.environment(), **airflow_environment(context)}
    stamp = context.layout.data("airflow") / "initialised"
    script = PROJECT / "scripts" / "entrypoint.sh"
    told = {name: value for name, value in environment.items() if name.startswith("AIRFLOW_ADMIN")}
    code = PROJECT / "plugins" / "penstock"
    made_of = (script, PROJECT / "requirements.lock", code / "core" / "pools.py", *(code / "airflow").glob("*.py"))
    parts = [json.dumps(told, sort_keys=True).encode(), *(path.read_bytes() for path in sorted(made_of))]
    wanted = hashlib.sha256(b"".join(parts)).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    step.say("migrating its database")
    stamp.parent.mkdir(parents=True, exist_ok=True)
    log = context.layout.log("airflow-init")
    with log.open("w") as output:
        done = subprocess.run(
            ["/bin/bash", str(script), "init"], env=environment, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        raise Fatal(f"Airflow could not be initialised (exit code {done.returncode}); the end of {log}:\n{tail(log)}")
    stamp.write_text(wanted)


def _provision(context: Context, step: Step) -> None:
    """Make what the pipelines write to."""
    from penstock.stack.provision import ADMIN_SECRETS, provision

    provision({**context.environment(), **{name: context.secret(name) for name in ADMIN_SECRETS}}, step.say)


def _prepare_spark(context: Context, step: Step) -> None:
    """Write Spark's properties, and make its class archive where there is none."""
    from penstock.stack.spark import prepare

    prepare(context, step.say)


TASKS = (
    Task("airflow-init", _init_airflow, needs=("postgres",)),
    Task(
        "provision",
        _provision,
        needs=("postgres", "kafka", "registry", "cassandra", "influxdb", "hdfs-namenode", "hdfs-datanode"),
    ),
    Task("spark", _prepare_spark, needs=("provision",)),
)


def tail(log: Path, lines: int = 25) -> str:
    """The last lines of a log."""
    if not log.exists():
        return "(no log)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def fetch(context: Context, report: Report) -> None:
    """Bring every server and library that is not in the cache yet."""
    for artifact in declared.artifacts(context):
        if not artifact.is_there(context.layout.cache):
            step = report.step(f"fetch {artifact.name}")
            step.say("starting")
            artifact.ensure(context.layout.cache, step.say)
            step.done("is there")


def up(context: Context, report: Report) -> None:
    """Start every server of this instance and wait until all are ready.

    Safe to repeat, also after an interrupted start. Raises Fatal, with the log's tail, where one does not come up.
    """
    for folder in (context.layout.logs, context.layout.run):
        folder.mkdir(parents=True, exist_ok=True)
    servers = declared.wanted(context)
    for broken in DATA_SETS.broken:
        report.line(str(broken))
    fetch(context, report)
    for server in servers:
        render(server, context)
    context.supervisor.write([server.program(context) for server in servers])
    context.supervisor.start()
    nodes: dict[str, Server | Task] = {server.name: server for server in servers}
    nodes |= {task.name: task for task in TASKS}
    stop = threading.Event()

    def work(node: Server | Task) -> None:
        _start(context, node, report, stop)

    run_in_order(nodes, work, stop)


def run_in_order(nodes: Mapping[str, Server | Task], work: Callable[..., None], stop: threading.Event) -> None:
    """Call `work` for every node once what it needs is done, side by side where possible; the first error ends it."""
    done: set[str] = set()
    running: dict[Future[None], str] = {}
    with ThreadPoolExecutor(_WORKERS) as pool:
        try:
            while len(done) < len(nodes):
                for name, node in nodes.items():
                    if name not in done and name not in running.values() and done >= set(node.needs) & nodes.keys():
                        running[pool.submit(work, node)] = name
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    done.add(running.pop(future))
                    future.result()
        except BaseException:
            stop.set()
            raise


def _start(context: Context, node: Server | Task, report: Report, stop: threading.Event) -> None:
    step = report.step(node.name)
    if isinstance(node, Task):
        node.run(context, step)
        step.done("done")
        return
    if by := _held_by(context, node):
        node.prepare(context)
        step.done(f"stopped by {by}: `penstock service start {node.name}` starts it")
        return
    if context.supervisor.states()[node.name]["statename"] != "RUNNING":
        step.say("preparing")
        node.prepare(context)
        context.supervisor.start_program(node.name)
    wait_ready(context, node, step, stop)
    node.provision(context)
    step.done("ready")


def _held_by(context: Context, server: Server) -> str | None:
    """Who wants a service to stay stopped, if anybody does. It needs `provision`, so that the ledger can be asked."""
    if server.name not in SERVICES:
        return None
    from penstock.ledger.services import Services

    with closing(Services(context.ledger_url)) as ledger:
        return next((row.desired_by for row in ledger.rows([server.name]) if row.desired is Desired.STOPPED), None)


def start_one(context: Context, server: Server, report: Report) -> None:
    """Start one server of a running stack and wait until it is ready."""
    _start(context, server, report, threading.Event())


def wait_ready(context: Context, server: Server, step: Step, stop: threading.Event) -> None:
    """Wait until the server can be used. Raises Fatal where it dies or takes too long."""
    deadline = time.monotonic() + server.ready_seconds
    while (lacking := server.ready(context)) is not None:
        state = context.supervisor.states().get(server.name, {}).get("statename", "gone")
        log = context.layout.log(server.name)
        if state in {"FATAL", "EXITED", "STOPPED", "gone"}:
            raise Fatal(f"{server.title} did not start ({state}); the end of {log}:\n{tail(log)}")
        if time.monotonic() > deadline:
            waited = f"was not ready within {server.ready_seconds} s ({lacking})"
            raise Fatal(f"{server.title} {waited}; the end of {log}:\n{tail(log)}")
        if stop.is_set():
            raise _Abandoned
        step.say(f"waiting: {lacking}")
        time.sleep(_POLL_SECONDS)


def down(context: Context) -> None:
    """Stop everything, those that need others first, and leave no process."""
    order = list(reversed(start_order(declared.SERVERS)))
    context.supervisor.shutdown(order)


def start_order(servers: tuple[Server, ...]) -> list[str]:
    """The servers' names, each after those it needs."""
    names: list[str] = []
    needs = {server.name: set(server.needs) for server in servers} | {task.name: set(task.needs) for task in TASKS}
    while needs:
        free = [name for name, needed in needs.items() if not needed & needs.keys()]
        if not free:
            raise Fatal(f"these servers need each other in a circle: {', '.join(needs)}")
        for name in free:
            del needs[name]
        names += free
    return [name for name in names if name in {server.name for server in servers}]
