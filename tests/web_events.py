"""A web event producer of a test's own, whose log files an agent of the test's tails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from penstock.core.settings import PROJECT
from penstock.stack.layout import free_ports
from tests.flume_agent import Agent, until


@dataclass
class WebEvents:
    """A running producer. `url` is that of its status port."""

    url: str
    folder: Path
    _process: subprocess.Popen[bytes]

    @property
    def files(self) -> set[str]:
        """Names of the log files that exist."""
        return {file.name for file in self.folder.glob("events-*.log")}

    def is_up(self) -> bool:
        """Whether it answers."""
        try:
            self.health()
        except requests.ConnectionError:
            return False
        return True

    def outlive_its_files(self) -> None:
        """Return once all files that there are now were deleted."""
        now = self.files
        until(lambda: now.isdisjoint(self.files), "the deletion of all files")

    def health(self) -> int:
        """The HTTP status of its own word."""
        return requests.get(f"{self.url}/healthz", timeout=10).status_code

    def kill(self) -> None:
        """SIGKILL: its file is not finished."""
        self._process.kill()
        self._process.wait()

    def end(self) -> Mapping[str, int]:
        """Stop it, and return how many events were created in each minute, by the counts that it leaves."""
        self._process.terminate()
        assert self._process.wait(30) == 0
        state = json.loads((self.folder / ".counts.json").read_text(encoding="utf-8"))
        return dict(state["minutes"])


@contextmanager
def web_events(agent: Agent, **settings: object) -> Iterator[WebEvents]:
    """Run one; `settings` are its environment's, such as PRODUCE_RATE_PER_SEC."""
    (port,) = free_ports(1)
    environment = {**os.environ, "PYTHONPATH": f"{PROJECT / 'plugins'}:{PROJECT}"}
    environment |= {"WEB_LOGS": str(agent.web_logs), "FLUME_STATE": str(agent.state)}
    environment |= {name: str(value) for name, value in settings.items()}
    command = [sys.executable, "-m", "apps.web_event_producer", "--port", str(port)]
    with subprocess.Popen(command, env=environment) as process:
        producer = WebEvents(f"http://127.0.0.1:{port}", agent.web_logs, process)
        try:
            until(producer.is_up, "the answer of its status port")
            yield producer
        finally:
            process.terminate()
