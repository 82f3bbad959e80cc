"""How many events were created in each minute: exact at every moment, also after a kill, because the files say it."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from apps.minutes import from_text, minute_of, to_text
from penstock.core.errors import Fatal

LOG = logging.getLogger(__name__)

_KEPT_MS = 7 * 24 * 3_600_000
"""For how long counts are remembered, counted back from the newest."""


class _Line(msgspec.Struct):
    time: int


_decode = msgspec.json.Decoder(_Line).decode


class MinuteCounts:
    """{minute: events}, both of finished files and of the one that is being written.

    Those of finished files are in `state`, beside the files' names: a file that is not named there is counted from its
    lines at the next start. So a file may be deleted once it is named.
    """

    def __init__(self, state: Path) -> None:
        """Raises Fatal where the state can't be read."""
        self._state = state
        self._finished, self._named = _load(state)
        self._saved = set(self._named)
        self._all = Counter(self._finished)
        self._open: Counter[int] = Counter()
        self._lock = threading.Lock()

    def add(self, times: Iterable[int]) -> None:
        """Count events of the file that is being written, by their times in ms since the epoch."""
        counts = Counter(minute_of(time) for time in times)
        with self._lock:
            self._open.update(counts)
            self._all.update(counts)

    def finish(self, file: Path) -> None:
        """The file that was being written is finished."""
        self._finished.update(self._open)
        self._open.clear()
        self._named.add(file.name)

    def add_file(self, file: Path) -> None:
        """Count the lines of a finished file, unless it was counted before."""
        if file.name in self._named:
            return
        self.add(_times(file))
        self.finish(file)

    def save(self) -> None:
        """Write the counts of finished files down. Raises OSError, and what was written before stands."""
        self._forget()
        content = {
            "minutes": {to_text(minute): count for minute, count in sorted(self._finished.items())},
            "files": sorted(self._named),
        }
        partial = self._state.with_suffix(".tmp")
        with partial.open("w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._state)
        self._saved = set(self._named)

    @property
    def are_saved(self) -> bool:
        """Whether those of all finished files are written down."""
        return self._saved == self._named

    def is_saved(self, file: Path) -> bool:
        """Whether the counts of a finished file outlast it."""
        return file.name in self._saved

    def by_minute(self) -> Mapping[int, int]:
        """{minute in ms since the epoch: events}. For any thread."""
        with self._lock:
            return dict(self._all)

    def _forget(self) -> None:
        """Names of files that are gone, and counts of long ago."""
        self._named = {name for name in self._named if self._state.with_name(name).exists()}
        oldest = max(self._all, default=0) - _KEPT_MS
        with self._lock:
            for counts in (self._all, self._finished):
                for minute in [each for each in counts if each < oldest]:
                    del counts[minute]


def _load(state: Path) -> tuple[Counter[int], set[str]]:
    try:
        content = json.loads(state.read_text(encoding="utf-8"))
        return Counter({from_text(minute): count for minute, count in content["minutes"].items()}), set(
            content["files"]
        )
    except FileNotFoundError:
        return Counter(), set()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Fatal(
            f"the counts in {state} can't be read ({error}): move the file away, and the log files are counted anew"
        ) from error


def _times(file: Path) -> list[int]:
    """Of every whole line that is an event."""
    times, others = [], 0
    with file.open("rb") as lines:
        for line in lines:
            try:
                times.append(_decode(line).time)
            except msgspec.DecodeError:
                others += 1
    if others:
        LOG.warning("%s has %d lines that are no events: they are not counted", file, others)
    return times
