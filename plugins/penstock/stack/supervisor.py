"""supervisord: the parent of every server of the local stack."""

from __future__ import annotations

import http.client
import os
import shlex
import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from penstock.core import settings
from penstock.core.errors import Fatal
from penstock.services import supervisor as client
from penstock.stack.private_file import write_private

USER = "penstock"
"""Who may use supervisord's interface, with SUPERVISOR_PASSWORD."""

INSTANCE = "PENSTOCK_INSTANCE"
"""Set in the environment of every process of an instance, so that none can be overlooked when it stops."""


@dataclass(frozen=True)
class Program:
    """One supervised process."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    folder: Path
    stop_seconds: int = 30
    restart: bool = True

    def section(self) -> str:
        """This program's part of supervisord.conf."""
        environment = ",".join(f"{name}={_quoted(value)}" for name, value in sorted(self.environment.items()))
        command = _escaped(shlex.join(self.command))
        return "\n".join(
            (
                f"[program:{self.name}]",
                f"command={command}",
                f"directory={_escaped(str(self.folder))}",
                f"environment={environment}",
                f"stdout_logfile={_escaped(str(self.log))}",
                "redirect_stderr=true",
                "stdout_logfile_maxbytes=20MB",
                "stdout_logfile_backups=2",
                # `penstock up` starts programs in the order of their needs.
                "autostart=false",
                f"autorestart={'true' if self.restart else 'false'}",
                "startsecs=1",
                "startretries=3",
                f"stopwaitsecs={self.stop_seconds}",
                "stopasgroup=true",
                "killasgroup=true",
                "",
            )
        )


def _escaped(value: str) -> str:
    return value.replace("%", "%%")


def _quoted(value: str) -> str:
    """Quote an environment value for supervisord, which knows quotes but no escapes, and expands %(...)s."""
    quote = "'" if '"' in value else '"'
    if quote in value or "\n" in value or " ;" in value or " #" in value:
        raise Fatal(
            "a setting has a line break, both kinds of quotes, or a ; or # after a space in its value, which"
            " supervisord cannot carry: change it in .env"
        )
    return quote + _escaped(value) + quote


class Supervisor:
    """The supervisord of one instance: its config file, its process and its XML-RPC interface."""

    def __init__(self, folder: Path, port: int, password: str, logs: Path, instance: str) -> None:
        self.conf = folder / "supervisord.conf"
        self._pid_file = folder / "supervisord.pid"
        self._port = port
        self._password = password
        self._at = settings.Supervisor(f"http://127.0.0.1:{port}/RPC2", USER, password)
        self._logs = logs
        self._instance = instance

    def __repr__(self) -> str:
        return f"Supervisor(127.0.0.1:{self._port})"

    @property
    def rpc(self) -> Any:
        """The `supervisor` namespace of the XML-RPC interface (http://supervisord.org/api.html)."""
        return client.rpc(self._at)

    def write(self, programs: list[Program]) -> None:
        """Write the config file, readable by its owner only: it holds the programs' secrets."""
        head = f"""[supervisord]
pidfile={_escaped(str(self._pid_file))}
logfile={_escaped(str(self._logs / "supervisord.log"))}
logfile_maxbytes=5MB
logfile_backups=1
loglevel=info
minfds=4096
{"user=root" if os.geteuid() == 0 else ""}

[inet_http_server]
port=127.0.0.1:{self._port}
username={USER}
password={_escaped(self._password)}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

"""
        write_private(self.conf, head + "\n".join(program.section() for program in programs))

    def is_running(self) -> bool:
        """Whether this instance's supervisord answers."""
        try:
            self.rpc.getState()
        except xmlrpc.client.ProtocolError as error:
            raise Fatal(
                f"something on port {self._port} refuses this instance's password ({error.errcode}): it belongs to"
                " another instance; stop that one, or set PENSTOCK_PORTS=free"
            ) from None
        except (OSError, http.client.HTTPException):
            return False
        return True

    def start(self) -> None:
        """Start supervisord, or let a running one take up the config file as it is now."""
        if not self.is_running():
            environment = {**os.environ, INSTANCE: self._instance}
            command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.conf)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            if done.returncode:
                raise Fatal(f"supervisord did not start: {(done.stderr or done.stdout).strip()}")
            _wait_until(
                self.is_running, 10, "supervisord does not answer: see its log with `penstock logs supervisord`"
            )
            return
        rpc = self.rpc
        added, changed, removed = rpc.reloadConfig()[0]
        for name in [*changed, *removed]:
            rpc.stopProcessGroup(name)
            rpc.removeProcessGroup(name)
        for name in [*added, *changed]:
            rpc.addProcessGroup(name)

    def states(self) -> dict[str, dict[str, Any]]:
        """{program: what supervisord knows of it}; empty where it is not running."""
        if not self.is_running():
            return {}
        return {each["name"]: each for each in self.rpc.getAllProcessInfo()}

    @property
    def client(self) -> client.Supervisor:
        """A client of it, which waits for as long as a program takes to stop."""
        return client.Supervisor(self._at, timeout=None)

    def start_program(self, name: str) -> None:
        """Start `name` unless it runs already; returns before it is ready."""
        self.client.start(name)

    def stop_program(self, name: str) -> None:
        """Stop `name` and wait until it has ended; nothing to do where it does not run."""
        self.client.stop(name, wait=True)

    def shutdown(self, order: list[str]) -> None:
        """Stop the programs in `order`, then supervisord, then whatever the instance may have left behind."""
        if self.is_running():
            for name in order:
                if name in self.states():
                    self.stop_program(name)
            self.rpc.shutdown()
            _wait_until(lambda: not self._pid_file.exists(), 60, "supervisord did not stop within 60 s")
        for process in self.leftovers():
            process.send_signal(signal.SIGKILL)
        psutil.wait_procs(self.leftovers(), timeout=10)

    def leftovers(self) -> list[psutil.Process]:
        """Every process of this instance that runs, whoever its parent is."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and process.environ().get(INSTANCE) == self._instance:
                    found.append(process)
            except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
                continue  # another user's, or gone by now: neither is ours
        return found


def _wait_until(condition: Any, seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Fatal(otherwise)
        time.sleep(0.1)
