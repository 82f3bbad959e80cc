"""Finishes files of the raw copies that their writer left behind.

A Flume agent that is killed leaves its open files as `.tmp`, with records whose offsets are committed: they are not
written again, and nobody else ever closes these files.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count

from penstock.core import settings
from penstock.core.errors import Retry
from penstock.sinks.hdfs import IN_PROGRESS, final_name, hour_folders
from penstock.sinks.patience import outlast
from penstock.sinks.webhdfs import Entry, LeaseHeld, Missing, RecoveryUnderWay, WebHdfs

log = logging.getLogger(__name__)

_SETTLED_SECONDS = 30.0
"""How long a file must have been closed before it is renamed: an agent that lives does so itself, at once.

Should it still come, it finds nothing to rename, and goes on."""

_OVERDUE_SECONDS = 900.0
"""How old a file in progress can be: the agents begin a new one every 5 minutes, and close it within seconds."""

_RECOVERY_SECONDS = 60.0
"""A DataNode hears of a recovery with its next heartbeat, 3 s by default, and needs about as long for it."""

_TAIL_BYTES = 1 << 20


@dataclass
class Recovery:
    """What became of the files in progress, as numbers of files, and of bytes where the name says so.

    `finished` got their final name; `deleted` held no whole line; `in_use` have a writer that lives, or died a moment
    ago; `pending` could not be closed yet. `cut_bytes` are those of unfinished last lines, whose records Flume writes
    again.
    """

    finished: int = 0
    finished_bytes: int = 0
    deleted: int = 0
    cut_bytes: int = 0
    in_use: int = 0
    pending: int = 0

    def to_json(self) -> dict[str, int]:
        """{name: number}."""
        return asdict(self)


def recover(hdfs: settings.Hdfs, folders: Iterable[str], *, recovery_seconds: float = _RECOVERY_SECONDS) -> Recovery:
    """Close and rename what is in progress below `folders` and has no writer any more. Nothing is overwritten.

    Whether a writer lives is the NameNode's judgement. Every living client renews its lease; a client that has been
    silent for `dfs.namenode.lease-hard-limit-sec` loses it, and the NameNode recovers and closes all its files: those
    are finished here. What stays open for longer than any file of Flume's does is asked for by an append, which the
    NameNode refuses where the writer lives, and which recovers the lease otherwise. (Not earlier, since that renews
    the lease of the dead writer's other files.) So it does no harm to run this at any time, or twice at once.

    Raises Retry where HDFS is away, Fatal where it refuses.
    """
    recovery = Recovery()
    with WebHdfs(hdfs) as client:
        abandoned = [file for file in _in_progress(client, folders) if _is_abandoned(client, file, recovery)]
        for file in abandoned:
            try:
                outlast(recovery_seconds, partial(_wait_until_closed, client, file.path))
                _finish(client, file.path, recovery, recovery_seconds)
            except Missing:
                log.info("%s was finished by another", file.path)
            except _StillOpen as error:
                recovery.pending += 1
                log.warning("%s", error)
    return recovery


class _StillOpen(Retry):
    """The file's last block is not recovered yet."""


def _in_progress(client: WebHdfs, folders: Iterable[str]) -> Iterator[Entry]:
    for folder in folders:
        for hour in hour_folders(client, folder):
            for file in client.entries(hour):
                if not file.is_folder and file.name.endswith(IN_PROGRESS):
                    yield file


def _is_abandoned(client: WebHdfs, file: Entry, recovery: Recovery) -> bool:
    """Whether the file has no writer. Where it has long been left open, this begins to close it."""
    age = time.time() - file.modified_ms / 1000
    try:
        if not client.being_written(file.path):
            return age > _SETTLED_SECONDS
        if age < _OVERDUE_SECONDS:
            recovery.in_use += 1
            return False
        client.append(file.path)
    except Missing:
        return False
    except LeaseHeld:
        recovery.in_use += 1
        return False
    except RecoveryUnderWay:
        return True
    return True


def _wait_until_closed(client: WebHdfs, path: str) -> None:
    if client.being_written(path):
        raise _StillOpen(f"{path} is not closed yet: its last block is on no DataNode that answers")


def _finish(client: WebHdfs, path: str, recovery: Recovery, recovery_seconds: float) -> None:
    length = client.length(path)
    whole = _whole_lines(client, path, length)
    recovery.cut_bytes += length - whole
    if not whole:
        client.delete(path)
        recovery.deleted += 1
        return
    if whole < length:
        client.truncate(path, whole)
        outlast(recovery_seconds, partial(_wait_until_closed, client, path))
    target = _rename(client, path)
    recovery.finished += 1
    recovery.finished_bytes += whole
    log.info("%s is finished, %d bytes", target, whole)


def _whole_lines(client: WebHdfs, path: str, length: int) -> int:
    """The bytes up to the end of the last finished line."""
    end = length
    while end > 0:
        start = max(0, end - _TAIL_BYTES)
        tail = b"".join(client.read(path, start))[: end - start]
        if newline := tail.rfind(b"\n") + 1:
            return start + newline
        end = start
    return 0


def _rename(client: WebHdfs, path: str) -> str:
    """Give the file its final name, or a similar one where that is taken."""
    final = final_name(path)
    stem, _, suffix = final.rpartition(".")
    for number in count():
        target = f"{stem}-{number}.{suffix}" if number else final
        if client.rename(path, target):
            return target
        client.length(path)  # raises Missing where the file, not the name, is the reason
    raise AssertionError  # count() does not end
