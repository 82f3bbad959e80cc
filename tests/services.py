"""Services for tests: small programs under a supervisord of the tests' own, and the real ones of the shared stack."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from penstock.core import settings
from penstock.core.service import Desired
from penstock.core.settings import PROJECT
from penstock.ledger.services import ServiceRow, Services
from penstock.services import SERVICES
from penstock.services.backlog import Files
from penstock.services.flume_health import FlumeProbe
from penstock.services.service import Budget, Service
from penstock.services.supervisor import Supervisor
from penstock.stack.airflow_api import Airflow
from penstock.stack.layout import free_ports
from penstock.stack.supervisor import Program
from penstock.stack.supervisor import Supervisor as PrivateSupervisor

STATE_KEY = "state"
_PASSWORD = "for-this-test-only"
_PATIENCE = 180.0


@dataclass
class Agents:
    """The programs of a private supervisord, by name."""

    at: settings.Supervisor
    folder: Path
    ports: Mapping[str, int] = field(default_factory=dict)

    def client(self) -> Supervisor:
        """A client of its own for each thread."""
        return Supervisor(self.at)

    def spool(self, name: str) -> Path:
        """The folder whose files the agent drains."""
        return self.folder / "spool" / name

    def service(self, name: str, **more: Any) -> Service:
        """The agent as a service, with limits that suit a test."""
        url = f"http://127.0.0.1:{self.ports[name]}/metrics"
        defaults: dict[str, Any] = {"stall_limit": 60.0, "budget": Budget(base=0.1, longest=0.2)}
        probe = FlumeProbe(lambda: url, Files(lambda: self.spool(name)))
        return Service(name, f"agent {name}", probe, "Look at its log.", **defaults | more)


@contextmanager
def agents(
    folder: Path, names: Sequence[str], commands: Mapping[str, Sequence[str]] | None = None, stop_seconds: int = 2
) -> Iterator[Agents]:
    """Run fake agents, not started yet; `commands` gives some of them another Python program."""
    supervisor_port, *ports = free_ports(1 + len(names))
    at = settings.Supervisor(f"http://127.0.0.1:{supervisor_port}/RPC2", "penstock", _PASSWORD)
    found = Agents(at, folder, dict(zip(names, ports, strict=True)))
    logs = folder / "logs"
    logs.mkdir(parents=True)
    programs = []
    for name, port in found.ports.items():
        found.spool(name).mkdir(parents=True)
        default = (str(PROJECT / "tests" / "fake_agent.py"), str(port), str(found.spool(name)))
        command = (sys.executable, *(commands or {}).get(name, default))
        programs.append(
            Program(name, command, {}, logs / f"{name}.log", folder, stop_seconds=stop_seconds, restart=False)
        )
    supervisor = PrivateSupervisor(folder / "conf", supervisor_port, _PASSWORD, logs, instance=str(folder))
    supervisor.write(programs)
    supervisor.start()
    try:
        yield found
    finally:
        supervisor.shutdown(list(names))


def eventually(found: Callable[[], Any]) -> Any:
    """Wait for something that is not empty, and return it."""
    deadline = time.monotonic() + _PATIENCE
    while not (value := found()):
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        time.sleep(0.05)
    return value


class Watching:
    """One service of the shared stack, and the run of its DAG that watches it."""

    def __init__(self, stack: Any, airflow: Airflow, name: str) -> None:
        self.service = SERVICES[name]
        self._stack, self._airflow = stack, airflow
        self._ledger = Services(stack.context.ledger_url)
        self.run_id = ""

    @property
    def row(self) -> ServiceRow:
        """What the ledger says of it."""
        return self._ledger.rows([self.service.name])[0]

    @property
    def pid(self) -> int:
        """That of its process, 0 where there is none."""
        return int(self._stack.context.supervisor.states()[self.service.name]["pid"])

    def kill(self) -> int:
        """Kill its process with SIGKILL and return the id that it had."""
        pid = self.pid
        assert pid, f"{self.service} does not run"  # 0 would be the tests' own process group
        os.kill(pid, signal.SIGKILL)
        return pid

    def begin(self, action: str = "watch") -> None:
        """Start a run that watches, and wait until it does and the service is healthy."""
        began = self.run(action)
        eventually(lambda: self.task(began)["state"] == "deferred")
        self.run_id = began
        eventually(lambda: (self.state() or {}).get("state") == "healthy")

    def run(self, action: str) -> str:
        """Start a run of the DAG."""
        return self._airflow.trigger(self.service.dag_id, {"action": action})

    def end(self, run_id: str) -> str:
        """Wait for the end of a run, and return its state."""
        return self._airflow.wait(self.service.dag_id, run_id)

    def task(self, run_id: str) -> Mapping[str, Any]:
        """The one task of a run."""
        (task,) = self._airflow.tasks(self.service.dag_id, run_id)
        return task

    def state(self) -> Mapping[str, Any] | None:
        """What the UI shows beside the watching task."""
        shown: Mapping[str, Any] | None = self._airflow.xcom(self.service.dag_id, self.run_id, "watch", STATE_KEY)
        return shown

    def log(self) -> str:
        """What the watching task has said."""
        return self._airflow.task_log(self.service.dag_id, self.run_id, "watch", self.task(self.run_id)["try_number"])

    def clear(self) -> None:
        """Clear the watching run, as a person may in the UI."""
        self._airflow.clear(self.service.dag_id, self.run_id)

    def processes(self) -> list[int]:
        """Every process of the program, whoever its parent is: those with its command line."""
        command = psutil.Process(self.pid).cmdline()
        return [each.pid for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"] == command]

    def is_seen_anew(self) -> bool:
        """Wait until a watch has looked at it again and written it down."""
        before = self.row.seen
        return bool(eventually(lambda: self.row.seen != before))

    def close(self) -> None:
        """Leave the service as a person wants it: started."""
        self._ledger.desire(self.service.name, Desired.STARTED, "a test")
        self._ledger.close()
