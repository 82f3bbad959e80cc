"""The log files: whole lines only, bounded in all, and nothing deleted that Flume has not taken."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from apps.web_event_producer.counts import MinuteCounts
from penstock.core.errors import Fatal, Retry
from penstock.core.settings import WebEventLogs
from penstock.services import tail

LOG = logging.getLogger(__name__)

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


class Full(Exception):
    """Nothing can be written now; the message says why, in one sentence."""


@contextmanager
def only_producer(folder: Path) -> Iterator[None]:
    """Keep other producers out of the folder. Raises Fatal where one is in it, or where it can't be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".producer.lock").open("w")
    except OSError as error:
        raise Fatal(f"the folder of the log files, {folder}, can't be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Fatal(f"another producer writes to {folder}: stop it, or set WEB_LOGS to another folder") from None
        yield


class LogFiles:
    """Writes lines to one file at a time, and deletes the oldest that were taken when room is needed."""

    def __init__(self, settings: WebEventLogs, counts: MinuteCounts) -> None:
        """Take up what a producer before this one has left. To be called within `only_producer`."""
        self._settings = settings
        self._counts = counts
        self._file: Path | None = None
        self._handle = -1
        self._size = 0
        self._begun = 0.0
        self.deleted = 0
        """Files deleted since the start."""
        self._take_up()
        self.total = self._measure()
        """Bytes of all log files."""

    def write(self, lines: bytes) -> int:
        """Write whole lines to the file, and return how many bytes of them were written: also whole lines.

        They are visible to readers at once. Raises Full where none can be written.
        """
        self.finish_if_due()
        self._make_room(len(lines))
        if self._file is None:
            self._open()
        try:
            written = os.write(self._handle, lines)
        except OSError as error:
            raise self._explained(error) from error
        whole = lines.rfind(b"\n", 0, written) + 1
        if whole < written:
            os.ftruncate(self._handle, self._size + whole)
        self._size += whole
        self.total += whole
        return whole

    def finish_if_due(self) -> None:
        """End the file that is large or old enough; the next line begins another."""
        if self._file and (
            self._size >= self._settings.file_bytes or time.monotonic() - self._begun >= self._settings.file_seconds
        ):
            self.finish()

    def finish(self) -> None:
        """End the file that is being written, if there is one."""
        if self._file is None:
            return
        os.fsync(self._handle)
        os.close(self._handle)
        self._counts.finish(self._file)
        self._file = None
        self._save()

    def _take_up(self) -> None:
        known = self._positions()
        for file in tail.log_files(self._settings.folder):
            _cut_unfinished_line(file, tail.taken(file, known))
            self._counts.add_file(file)
        self._save()

    def _save(self) -> None:
        """Where the disk is full, the counts are in the files still, which are not deleted then."""
        try:
            self._counts.save()
        except OSError as error:
            if error.errno not in _NO_SPACE:
                raise
            LOG.warning("the counts could not be written down, and are tried again: %s", error)

    def _open(self) -> None:
        """Begin a file under a name that was never used before: Flume would take it for the other one's rest."""
        now = datetime.now(UTC)
        file = self._settings.folder / f"events-{now:%Y%m%dT%H%M%S.%fZ}-{os.getpid()}.log"
        try:
            self._handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        except OSError as error:
            raise self._explained(error) from error
        self._file, self._size, self._begun = file, 0, time.monotonic()

    def _explained(self, error: OSError) -> Exception:
        """What to raise: where it is the disk that is full, what was taken is deleted for the next attempt."""
        if error.errno not in _NO_SPACE:
            return error
        self._delete_taken(self._settings.total_bytes)
        return Full(f"{self._settings.folder} can't take another line: {error.strerror}; free some space on its disk")

    def _make_room(self, size: int) -> None:
        excess = self.total + size - self._settings.total_bytes
        if excess <= 0:
            return
        self._delete_taken(excess)
        if self.total + size > self._settings.total_bytes:
            raise Full(
                f"the log files in {self._settings.folder} have {self.total} of {self._settings.total_bytes} bytes "
                "(WEB_LOGS_BYTES), and Flume has not taken them: look at its agent events-tail"
            )

    def _delete_taken(self, size: int) -> None:
        """Delete finished files that were wholly taken, the oldest first, until so many bytes are free."""
        if not self._counts.are_saved:
            self._save()
        self.total = self._measure()
        known = self._positions()
        for file in tail.log_files(self._settings.folder):
            if size <= 0:
                return
            if file != self._file and self._counts.is_saved(file) and tail.unread(file, known) == 0:
                length = file.stat().st_size
                file.unlink()
                self.deleted += 1
                self.total -= length
                size -= length

    def _positions(self) -> tail.Positions:
        """Nothing is known to be taken while Flume writes its position file."""
        try:
            return tail.positions(self._settings.positions)
        except Retry:
            return {}

    def _measure(self) -> int:
        return sum(file.stat().st_size for file in tail.log_files(self._settings.folder))


def _cut_unfinished_line(file: Path, taken: int) -> None:
    """A killed producer may leave one. Nobody has counted it; where Flume has taken it, the file stays as it is."""
    whole = tail.whole_bytes(file)
    if taken <= whole < file.stat().st_size:
        LOG.warning("%s ended in the middle of a line, which is cut off", file)
        os.truncate(file, whole)
