"""A client of supervisord, which is the parent of every service."""

from __future__ import annotations

import base64
import http.client
import os
import re
import xmlrpc.client
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from penstock.core import settings
from penstock.core.errors import Fatal, Retry

_TIMEOUT_SECONDS = 10.0
_TAIL_BYTES = 16 << 10

_SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN|_KEY$")
_SHORTEST_SECRET = 6
_LOGIN_IN_URL = re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)")


@dataclass(frozen=True)
class Process:
    """What supervisord knows of a program (http://supervisord.org/subprocess.html#process-states).

    `began` is when it was last started, in seconds since the epoch, 0 where it never was: with the pid it tells one
    life of the process from the next.
    """

    name: str
    state: str
    pid: int | None
    began: int
    exit_status: int
    explanation: str

    @property
    def runs(self) -> bool:
        """Whether there is a process that has stayed up so far."""
        return self.state == "RUNNING"

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself, or could not be started, and supervisord leaves it at that."""
        return self.state in {"EXITED", "FATAL"}

    @property
    def life(self) -> tuple[int | None, int]:
        """Differs between any two starts of the program."""
        return self.pid, self.began

    def __str__(self) -> str:
        match self.state:
            case "EXITED":
                return f"it has ended ({self.explanation or f'exit code {self.exit_status}'})"
            case "FATAL":
                return f"it could not be started ({self.explanation})"
            case _:
                return f"it is {self.state.lower()}"


class Supervisor:
    """The programs of one supervisord. Not to be shared by threads.

    All methods raise Retry where it does not answer, Fatal where it refuses the password or knows no such program.
    """

    def __init__(self, at: settings.Supervisor, timeout: float | None = _TIMEOUT_SECONDS) -> None:
        """`timeout` is that of each call in seconds, None for no limit."""
        self._at = at
        self._rpc = rpc(at, timeout)

    def __repr__(self) -> str:
        return f"Supervisor({self._at!r})"

    def process(self, name: str) -> Process:
        """What it knows of the program."""
        return _process(self._ask("getProcessInfo", name))

    def processes(self) -> dict[str, Process]:
        """{program: what it knows of it}."""
        return {each["name"]: _process(each) for each in self._ask("getAllProcessInfo")}

    def start(self, name: str) -> None:
        """Start the program unless it runs already; returns before it is ready."""
        try:
            self._ask("startProcess", name, False)  # noqa: FBT003 - XML-RPC has no keywords: do not wait
        except _Refused as refusal:
            if "ALREADY_STARTED" not in refusal.reason:
                raise Fatal(f"supervisord could not start {name}: {refusal.reason}") from refusal

    def stop(self, name: str, *, wait: bool = False) -> None:
        """Have the program stop, and with `wait` return once it has; nothing to do where it does not run."""
        try:
            self._ask("stopProcess", name, wait)
        except _Refused as refusal:
            if "NOT_RUNNING" not in refusal.reason:
                raise Fatal(f"supervisord could not stop {name}: {refusal.reason}") from refusal

    def kill(self, name: str) -> None:
        """Send SIGKILL to the program's process; nothing to do where there is none."""
        try:
            self._ask("signalProcess", name, "KILL")
        except _Refused as refusal:
            if "NOT_RUNNING" not in refusal.reason:
                raise Fatal(f"supervisord could not kill {name}: {refusal.reason}") from refusal

    def log_tail(self, name: str, lines: int = 40) -> list[str]:
        """The last lines of the program's log, without anything that this process knows to be secret."""
        try:
            text = self._ask("readProcessStdoutLog", name, -_TAIL_BYTES, 0)
        except _Refused as refusal:
            return [f"(its log can't be read: {refusal.reason})"]
        return without_secrets(text).splitlines()[-lines:]

    def _ask(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self._rpc, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if "BAD_NAME" in fault.faultString:
                raise Fatal(f"supervisord at {self._at.url} has no program {arguments[0]}") from fault
            raise _Refused(fault.faultString) from fault
        except xmlrpc.client.ProtocolError as error:
            if error.errcode == HTTPStatus.UNAUTHORIZED:
                raise Fatal(
                    f"supervisord at {self._at.url} refuses the user {self._at.user}: check SUPERVISOR_PASSWORD"
                ) from None
            raise Retry(f"supervisord at {self._at.url} answered HTTP {error.errcode}") from None
        except (OSError, http.client.HTTPException) as error:
            raise Retry(f"supervisord at {self._at.url} does not answer ({type(error).__name__})") from error


class _Refused(Exception):
    """supervisord's own refusal of a call, e.g. `ALREADY_STARTED: name`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def rpc(at: settings.Supervisor, timeout: float | None = None) -> Any:
    """The `supervisor` namespace of the XML-RPC interface (http://supervisord.org/api.html)."""
    # In a header and not in the address, which errors quote.
    login = base64.b64encode(f"{at.user}:{at.password}".encode()).decode()
    transport = _Transport(timeout, [("Authorization", f"Basic {login}")])
    return xmlrpc.client.ServerProxy(at.url, transport=transport).supervisor


class _Transport(xmlrpc.client.Transport):
    """The standard one, with a time-out for each call."""

    def __init__(self, timeout: float | None, headers: list[tuple[str, str]]) -> None:
        super().__init__(headers=headers)
        self._timeout = timeout

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = super().make_connection(host)
        connection.timeout = self._timeout
        return connection


def _process(info: Mapping[str, Any]) -> Process:
    return Process(
        name=info["name"],
        state=info["statename"],
        pid=info["pid"] or None,
        began=info["start"],
        exit_status=info["exitstatus"],
        explanation=info["spawnerr"],
    )


def without_secrets(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """`text` without the values of secrets in the environment, and without logins in addresses."""
    secrets = {
        value for name, value in environment.items() if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET
    }
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return _LOGIN_IN_URL.sub("***", text)
