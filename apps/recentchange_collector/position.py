"""Where the collector is in the feed, and what it has handed on: all that a restart must know."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import msgspec

from penstock.core.errors import Fatal

OVERLAP_MS = 5_000
"""How far before the last change a resume begins: neighbours are out of order by ms, and some share one."""

WINDOW_MS = 2 * OVERLAP_MS
"""How far back the ids of changes are known."""

MOST_IDS = 500_000
"""Ids that are known at most: enough for the window at 50,000 changes a second."""

COUNTED_MINUTES = 24 * 60
_MOST_GAPS = 100
_MS = 1000
_AHEAD_MS = 3_600_000
"""How far a time may be ahead of this machine's clock: one further on is none."""


class Gap(msgspec.Struct, frozen=True):
    """A time whose changes the feed no longer had: from the last one taken until the resume, in ISO 8601."""

    start: str
    end: str
    seconds: float


class _Stored(msgspec.Struct, omit_defaults=True):
    file: str | None = None
    files: int = 0
    last_id: str | None = None
    newest_ms: int = 0
    recent: list[tuple[int, str]] = []
    minutes: dict[int, int] = {}
    gaps: list[Gap] = []


class _Entry(msgspec.Struct):
    """One data centre's part of an event's id: the active one has a time, in ms since the epoch."""

    timestamp: int = 0


_ENTRIES = msgspec.json.Decoder(list[_Entry])


class Position:
    """Where the collector is: the id to resume by, the changes known to be taken, and their counts by minute."""

    def __init__(self, stored: _Stored | None = None, clock: Callable[[], float] = time.time) -> None:
        stored = stored or _Stored()
        self._clock = clock
        self.files = stored.files
        self.last_id = stored.last_id
        self.newest_ms = stored.newest_ms
        self.minutes = Counter(stored.minutes)
        """{minutes since the epoch: changes}, by meta.dt."""
        self.gaps = stored.gaps
        self._recent = deque(stored.recent)
        self._known = {identity for _, identity in stored.recent}

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises Fatal for a file that is none."""
        return cls(_read(path))

    @staticmethod
    def file_of(path: Path) -> str | None:
        """The name of the file that belongs to the position in `path`. Raises Fatal as `read` does."""
        return _read(path).file

    def encoded(self, file: str | None) -> bytes:
        """As it is stored with `file`, which then counts as handed on."""
        self._forget_old_minutes()
        return msgspec.json.encode(
            _Stored(
                file=file,
                files=self.files + bool(file),
                last_id=self.last_id,
                newest_ms=self.newest_ms,
                recent=list(self._recent),
                minutes=self.minutes,
                gaps=self.gaps,
            )
        )

    def advance(self, event_id: str) -> None:
        """Go on to an event's id, if it is newer and one that can be read. The position never goes back."""
        ms = _time(event_id)
        if self.newest_ms <= ms <= self._clock() * _MS + _AHEAD_MS:
            self.newest_ms, self.last_id = ms, event_id

    def resume_id(self) -> str | None:
        """The Last-Event-ID of the next request: the last one, OVERLAP_MS earlier; None where there is none yet."""
        if self.last_id is None:
            return None
        entries = msgspec.json.decode(self.last_id)
        for entry in entries:
            if "timestamp" in entry:
                entry["timestamp"] -= OVERLAP_MS
        return msgspec.json.encode(entries).decode()

    def lose(self) -> Gap:
        """Give up what the feed no longer has, from the last change on, and note it. The next request is for now on."""
        start, end = self.newest_ms / _MS, self._clock()
        gap = Gap(_iso(start), _iso(end), round(end - start, 3))
        self.gaps = [*self.gaps, gap][-_MOST_GAPS:]
        self.last_id = None
        return gap

    def knows(self, identity: str) -> bool:
        """Whether a change was taken a short while ago."""
        return identity in self._known

    def take(self, identity: str, made: float | None) -> None:
        """Note a change that is made at `made` seconds since the epoch; one without a time is in no minute."""
        self._known.add(identity)
        self._recent.append((self.newest_ms or round(self._clock() * _MS), identity))
        while self._recent[0][0] < self.newest_ms - WINDOW_MS or len(self._recent) > MOST_IDS:
            self._known.discard(self._recent.popleft()[1])
        if made is not None and made < self._clock() + _AHEAD_MS / _MS:
            self.minutes[int(made // 60)] += 1

    def _forget_old_minutes(self) -> None:
        oldest = self._clock() // 60 - COUNTED_MINUTES
        for minute in [each for each in self.minutes if each < oldest]:
            del self.minutes[minute]


def _read(path: Path) -> _Stored:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Stored)
    except (OSError, msgspec.DecodeError) as error:
        raise Fatal(
            f"the position in {path} cannot be read ({error}): restore it, or delete it to go on from now"
        ) from None


def _time(event_id: str) -> int:
    """Ms since the epoch, -1 where the id has none."""
    try:
        return max((entry.timestamp for entry in _ENTRIES.decode(event_id)), default=-1)
    except msgspec.DecodeError:
        return -1


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
