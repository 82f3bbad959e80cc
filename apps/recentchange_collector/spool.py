"""The spool: complete files for Flume, and the position in the feed that belongs to them.

A file and its position are handed on together, in the way of a prepared transaction: the lines are written to a hidden
file, the position is prepared, the file gets its name, the position takes effect. A crash before the position is
prepared leaves nothing of the file; after one later, the next start completes what is missing.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from apps.recentchange_collector.position import Position
from penstock.core.errors import Fatal, PenstockError

STATE_FOLDER = ".collector"

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class Full(PenstockError):
    """There is no room for another file; nothing was handed on, and nothing is lost."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Spool:
    """The folder of finished files, of at most `limit` bytes together. Use it as a context manager: one at a time."""

    def __init__(self, folder: Path, limit: int, now: Callable[[], datetime] = _utc_now) -> None:
        self._folder = folder
        self._limit = limit
        self._now = now
        self._state = folder / STATE_FOLDER
        self._open, self._draft = self._state / "file", self._state / "draft"
        self._prepared, self._stored = self._state / "prepared.json", self._state / "position.json"
        self._lock = -1
        self._failure: Fatal | None = None
        self.bytes = 0
        """Bytes of the finished files when they were last looked at."""

    def __enter__(self) -> Self:
        """Raises Fatal where another collector has the folder, or it cannot be written."""
        try:
            self._state.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise Fatal(
                f"another collector writes to {self._folder}: stop it, or set PENSTOCK_SPOOL to another"
            ) from None
        except OSError as error:
            raise Fatal(f"the spool {self._folder} cannot be used: {error.strerror}") from None
        try:
            self._recover()
            self.bytes = self._used()
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._lock)

    def position(self) -> Position:
        """The position that the last file left, or a new one. Raises Fatal where it cannot be read."""
        return Position.read(self._stored) if self._stored.exists() else Position()

    def hand_on(self, lines: Sequence[bytes], position: Position) -> None:
        """Make a file of `lines`, if any, and store `position` with it.

        Raises Full; then the same may be tried again. Raises Fatal where the disk fails; then only a new start helps.
        """
        if self._failure:
            raise self._failure
        size = sum(map(len, lines)) + len(lines)
        self.bytes = self._used()
        if self.bytes + size > self._limit:
            raise Full(f"the spool is full: Flume has {self.bytes:,} bytes in {self._folder} to take up")
        try:
            self._complete(self._prepare(lines, position))
        except OSError as error:
            self._failure = Fatal(f"the spool {self._folder} cannot be written: {error.strerror}")
            raise self._failure from error
        self.bytes += size
        position.files += bool(lines)

    def _prepare(self, lines: Sequence[bytes], position: Position) -> str | None:
        """All that needs room on the disk. The name of the file to come, or None where it has no lines."""
        name = self._name(position) if lines else None
        try:
            if name:
                _write(self._open, b"\n".join([*lines, b""]))
            _write(self._draft, position.encoded(name))
            _sync(self._state)  # the file has its place on the disk before the position that says so
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            for each in (self._open, self._draft):
                each.unlink(missing_ok=True)
            raise Full(f"the spool is full: there is no room on the disk of {self._folder}") from None
        self._draft.rename(self._prepared)
        return name

    def _complete(self, name: str | None) -> None:
        """What is left to do once a position is prepared; doing it again does no harm."""
        _sync(self._state)
        if name and self._open.exists():
            self._open.rename(self._folder / name)
            _sync(self._folder)
        self._prepared.rename(self._stored)
        _sync(self._state)

    def _recover(self) -> None:
        self._draft.unlink(missing_ok=True)
        if self._prepared.exists():
            self._complete(Position.file_of(self._prepared))
        self._open.unlink(missing_ok=True)

    def _name(self, position: Position) -> str:
        """Never one that was before: Flume refuses a name that it knows."""
        return f"changes-{self._now():%Y%m%dT%H%M%S%f}-{position.files:09}.jsonl"

    def _used(self) -> int:
        with os.scandir(self._folder) as entries:
            return sum(_size(entry) for entry in entries)


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size if entry.is_file(follow_symlinks=False) else 0
    except FileNotFoundError:  # Flume has just deleted it
        return 0


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
