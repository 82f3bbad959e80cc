"""Where events of lineage are left: a line each in files of bounded size, and with a server of OpenLineage's HTTP API.

Nothing that moves data may fail or wait for its lineage. So nothing here raises, the server gets little time, and once
it has not answered it is left alone for a while, by all programs that share the folder. The files have every event.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from penstock.core.errors import Fatal
from penstock.core.settings import Lineage

log = logging.getLogger(__name__)

NEWEST = "events.jsonl"
"""The file that is written; `events.jsonl.1` and so on are older ones."""

FILES = 4
"""How many files there are at most, each with an equal part of the bytes."""

_CONNECT_SECONDS, _ANSWER_SECONDS = 0.5, 1.0
_LEFT_ALONE_SECONDS = 60.0
_SILENT = "server-silent"
_ENDPOINT = "api/v1/lineage"


class Outlet:
    """Takes events as lines of JSON."""

    def __init__(self, settings: Lineage) -> None:
        self._settings = settings

    def send(self, event: str) -> None:
        """Write the event down, and pass it on. Whatever is in the way is logged, and the event is left out there."""
        try:
            self._write(event)
        except OSError as error:
            log.warning("an event of lineage could not be written to %s: %s", self._settings.folder, error.strerror)
        if self._settings.url and not self._is_left_alone():
            self._post(self._settings.url, event)

    def _write(self, event: str) -> None:
        """Append in one call, so that lines of different programs do not mix."""
        newest = self._settings.folder / NEWEST
        newest.parent.mkdir(parents=True, exist_ok=True)
        line = f"{event}\n".encode()
        handle = os.open(newest, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line)
            full = os.fstat(handle).st_size >= self._settings.total_bytes // FILES
        finally:
            os.close(handle)
        if full:
            self._make_room(newest)

    def _make_room(self, newest: Path) -> None:
        """Give each file the next number, unless another program is doing so, or has just done it."""
        with newest.with_name(".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            if newest.stat().st_size < self._settings.total_bytes // FILES:
                return
            for number in range(FILES - 1, 0, -1):
                younger = newest if number == 1 else newest.with_name(f"{NEWEST}.{number - 1}")
                with suppress(FileNotFoundError):
                    younger.replace(newest.with_name(f"{NEWEST}.{number}"))

    def _is_left_alone(self) -> bool:
        with suppress(OSError):
            return time.time() - self._mark.stat().st_mtime < _LEFT_ALONE_SECONDS
        return False

    def _post(self, url: str, event: str) -> None:
        import requests

        key = self._settings.api_key
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        try:
            answer = requests.post(
                f"{url}/{_ENDPOINT}",
                data=event.encode(),
                headers=headers,
                timeout=(_CONNECT_SECONDS, _ANSWER_SECONDS),
                allow_redirects=False,
            )
            answer.raise_for_status()
        except requests.RequestException as error:
            status = getattr(error.response, "status_code", None)
            self._leave_alone(url, f"answers {status}" if status else f"does not answer ({type(error).__name__})")

    def _leave_alone(self, url: str, why: str) -> None:
        log.warning(
            "the lineage server %s %s: events are written to %s only, and it is asked again in %.0f s",
            url.rpartition("@")[2],
            why,
            self._settings.folder,
            _LEFT_ALONE_SECONDS,
        )
        with suppress(OSError):
            self._mark.touch()

    @property
    def _mark(self) -> Path:
        return self._settings.folder / _SILENT


@cache
def outlet() -> Outlet | None:
    """That of this process's environment, or None where lineage is off, or set wrongly, which is logged."""
    try:
        settings = Lineage.from_env()
    except Fatal as error:
        log.warning("there will be no lineage: %s", error)
        return None
    return Outlet(settings) if settings else None


def send(event: str) -> None:
    """Leave an event where the environment says, if anywhere."""
    if found := outlet():
        found.send(event)
