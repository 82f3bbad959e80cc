"""Tells a person what is being done: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

console = Console(soft_wrap=True)

_SECONDS_BETWEEN_LINES = 15.0


class Step:
    """One piece of work under way."""

    def __init__(self, report: Report, name: str) -> None:
        self._report = report
        self.name = name
        self.began = time.monotonic()
        self._told = ("", 0.0)
        self.bar = report.progress.add_task(name, total=None, what="") if report.progress else None

    def say(self, what: str) -> None:
        """Say what is happening now; without a terminal at most every 15 s unless it is new."""
        if self._report.progress and self.bar is not None:
            self._report.progress.update(self.bar, what=what)
            return
        now = time.monotonic()
        before, at = self._told
        if now - at >= _SECONDS_BETWEEN_LINES or not before:
            self._told = (what, now)
            self._report.line(f"{self.name}: {what} ({now - self.began:.0f} s)")

    def done(self, what: str) -> None:
        """Say how it ended."""
        if self._report.progress and self.bar is not None:
            self._report.progress.remove_task(self.bar)
        self._report.line(f"{self.name}: {what} ({time.monotonic() - self.began:.1f} s)")


class Report:
    """Lines and, on a terminal, live bars; safe to use from several threads."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self._lock = threading.Lock()

    def line(self, text: str) -> None:
        """Print one line above the bars."""
        with self._lock:
            (self.progress.console if self.progress else console).print(text, highlight=False, markup=False)

    def step(self, name: str) -> Step:
        """Begin a piece of work."""
        return Step(self, name)


@contextmanager
def report() -> Iterator[Report]:
    """A report for as long as the block runs."""
    if not console.is_terminal:
        yield Report(None)
        return
    columns = (SpinnerColumn(), TextColumn("[bold]{task.description}"), TextColumn("{task.fields[what]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        yield Report(progress)
