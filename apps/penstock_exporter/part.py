"""A part of the exporter: what it looks at in the background, and what it found last."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from penstock.core.errors import PenstockError
from penstock.observe.metrics import Metric

_log = logging.getLogger(__name__)

_ROUNDS_KEPT = 3
_PATIENCE_SECONDS = 15.0

Value: TypeAlias = tuple[Metric, dict[str, str], float]
"""A metric, its labels and its value."""


@dataclass(frozen=True)
class Found:
    """What a look has found, up to its `problem`. `at` is in seconds of the monotonic clock."""

    at: float
    values: tuple[Value, ...] = ()
    problem: str | None = None


class Part:
    """Calls `look` every `seconds`.

    A look that hangs holds up nobody: what was found before it is soon too old to be told.
    """

    def __init__(self, name: str, look: Callable[[], Iterable[Value]], seconds: float) -> None:
        self.name = name
        self._look = look
        self._seconds = seconds
        self._found: Found | None = None

    def run(self, stopping: threading.Event) -> None:
        """Look until `stopping` is set."""
        while not stopping.is_set():
            self.refresh()
            stopping.wait(self._seconds)

    def refresh(self) -> None:
        """Look once."""
        values: list[Value] = []
        problem = None
        try:
            values.extend(self._look())
        except PenstockError as error:
            problem = str(error)
            if problem != self.problem:
                _log.warning("%s: %s", self.name, problem)
        except Exception as error:  # noqa: BLE001 - or what it looks at would be unknown until the program starts anew
            problem = f"it failed with {type(error).__name__}: {error}"
            if problem != self.problem:
                _log.exception("%s: %s", self.name, problem)
        self._found = Found(time.monotonic(), tuple(values), problem)

    @property
    def values(self) -> tuple[Value, ...]:
        """What was found last; nothing where that is too old."""
        found = self._found
        return found.values if found is not None and not self._is_old(found) else ()

    @property
    def problem(self) -> str | None:
        """Why nothing is known at present, or None."""
        found = self._found
        if found is None:
            return "nothing has been found out yet"
        return f"it has not answered for {time.monotonic() - found.at:.0f} s" if self._is_old(found) else found.problem

    def _is_old(self, found: Found) -> bool:
        return time.monotonic() - found.at > _ROUNDS_KEPT * self._seconds + _PATIENCE_SECONDS
