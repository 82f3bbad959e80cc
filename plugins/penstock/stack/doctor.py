"""What could keep the local stack from starting, found before anything is started."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from penstock.core.errors import Fatal
from penstock.core.settings import data_sets_folder
from penstock.pipelines import DATA_SETS
from penstock.stack import servers
from penstock.stack.artifacts import java_home
from penstock.stack.context import Context
from penstock.stack.layout import port_is_free

_MEMORY_NEEDED = 7 * 2**30
"""Bytes: the stack takes 6 GB with both streams, a Spark job comes on top."""

_DISK_FOR_DATA = 5 * 2**30
_DISK_FOR_SERVERS = 2 * 2**30


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what was found, and where it is wrong, what to do."""

    what: str
    problem: str | None = None


def examine(context: Context) -> list[Finding]:
    """Look at everything; nothing is changed."""
    checks: tuple[Callable[[Context], Iterator[Finding]], ...] = (
        _platform, _python, _java, _tools, _user, _memory, _disk, _ports,
    )  # fmt: skip
    return [finding for check in checks for finding in check(context)]


def data_sets() -> list[Finding]:
    """The user's data sets. A broken one keeps nothing from starting."""
    found = Finding(f"data sets of your own in {data_sets_folder()}: {', '.join(DATA_SETS.users()) or 'none'}")
    return [found, *(Finding(each.name, str(each)) for each in DATA_SETS.broken)]


def require(context: Context) -> None:
    """Raise Fatal with every problem, one sentence each."""
    if problems := [finding.problem for finding in examine(context) if finding.problem]:
        raise Fatal("\n".join(problems))


def _platform(_: Context) -> Iterator[Finding]:
    yield Finding("platform", servers.supported_platform())


def _python(_: Context) -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    known = (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield Finding(f"Python {version}", None if known else f"Python {version} is not 3.11 to 3.13: install one of those")


def _java(_: Context) -> Iterator[Finding]:
    try:
        yield Finding(f"Java 17 in {java_home()}")
    except Fatal as error:
        yield Finding("Java 17", str(error))


def _tools(context: Context) -> Iterator[Finding]:
    missing = [each for each in servers.artifacts(context) if not each.is_there(context.layout.cache)]
    problems = {problem for each in missing if (problem := each.lacking())}
    yield from (Finding("tools", problem) for problem in sorted(problems))
    yield Finding(f"servers to fetch or build: {', '.join(each.name for each in missing) or 'none'}")


def _user(_: Context) -> Iterator[Finding]:
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        yield Finding(
            "root", "PostgreSQL does not run as root, and `setpriv` is missing: install util-linux, or use another user"
        )
    else:
        yield Finding(f"user {os.geteuid()}")


def _memory(context: Context) -> Iterator[Finding]:
    available = psutil.virtual_memory().available
    found = f"{available / 2**30:.1f} GiB of memory free"
    running = any(state["statename"] == "RUNNING" for state in context.supervisor.states().values())
    short = available < _MEMORY_NEEDED and not running
    yield Finding(
        found, f"only {found}; the stack needs {_MEMORY_NEEDED / 2**30:.0f}: close something" if short else None
    )


def _disk(context: Context) -> Iterator[Finding]:
    for folder, needed in ((context.layout.var, _DISK_FOR_DATA), (context.layout.cache, _DISK_FOR_SERVERS)):
        free = shutil.disk_usage(_existing(folder)).free
        found = f"{free / 2**30:.1f} GiB free for {folder}"
        problem = (
            f"only {found}; {needed / 2**30:.0f} are needed: make room, or move it (see PENSTOCK_VAR, PENSTOCK_CACHE)"
        )
        yield Finding(found, problem if free < needed else None)
        if not os.access(_existing(folder), os.W_OK):
            yield Finding(f"{folder}", f"{_existing(folder)} is not writable for you: choose another folder or user")


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.exists())


def _ports(context: Context) -> Iterator[Finding]:
    states = context.supervisor.states()
    owners = {"supervisor": bool(states)}
    for server in servers.wanted(context):
        running = states.get(server.name, {}).get("statename") in {"RUNNING", "STARTING", "STOPPING"}
        owners |= dict.fromkeys(server.listens(context), running)
    for name, is_ours in owners.items():
        port = context.ports[name]
        taken = not is_ours and not port_is_free(port)
        remedy = f"end what listens there, set PENSTOCK_PORT_{name.upper()} in .env, or PENSTOCK_PORTS=free"
        yield Finding(f"port {port} for {name}", f"port {port} ({name}) is in use: {remedy}" if taken else None)
