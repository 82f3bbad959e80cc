"""The raw copies that Flume keeps on HDFS: JSON lines in `<folder>/YYYY-MM-DD/HH/`, by the records' event time, UTC.

A file that is being written has the suffix `.tmp`, and loses it when it is closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from penstock.core import settings
from penstock.core.errors import Fatal
from penstock.sinks.webhdfs import Entry, Missing, WebHdfs

IN_PROGRESS = ".tmp"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_lines(hdfs: settings.Hdfs, folder: str, first_ms: int, last_ms: int) -> Iterator[bytes]:
    """Yield the lines, without their ends, of every file of the hours from `first_ms` to `last_ms`, both included.

    Both are event times in ms since the epoch. Whole hours are read, so some lines are of other times, and a record
    may come more than once: Flume delivers at least once. Files in progress are read up to what is flushed. An
    unfinished last line is left out: Flume commits its offset only after the line was flushed whole, and so writes the
    record again. Memory is bounded by a chunk and the longest line.

    Raises Retry where HDFS is away, Fatal where it refuses or the range is reversed.
    """
    if last_ms < first_ms:
        raise Fatal(f"the range of event times from {first_ms} to {last_ms} ms is reversed")
    with WebHdfs(hdfs) as client:
        for hour in hour_folders(client, folder, _hour(first_ms), _hour(last_ms)):
            yield from _lines_of_folder(client, hour)


def final_name(name: str) -> str:
    """The name of a file once it is closed."""
    return name.removesuffix(IN_PROGRESS)


def hour_folders(
    client: WebHdfs, folder: str, first: str = "0000-00-00/00", last: str = "9999-12-31/23"
) -> Iterator[str]:
    """The folders of a raw copy's hours, oldest first, from `first` to `last`, both included and like 2026-11-22/07.

    Only those that exist are looked at: a range can span decades of which the copy has a few hours.
    """
    for date in _folders(client, folder):
        if first[:10] <= date.name <= last[:10]:
            for hour in _folders(client, date.path):
                if first <= f"{date.name}/{hour.name}" <= last:
                    yield hour.path


def _hour(at_ms: int) -> str:
    return (_EPOCH + timedelta(milliseconds=at_ms)).strftime("%Y-%m-%d/%H")


def _folders(client: WebHdfs, folder: str) -> Iterable[Entry]:
    return (entry for entry in client.entries(folder) if entry.is_folder)


def _lines_of_folder(client: WebHdfs, folder: str) -> Iterator[bytes]:
    """The lines of a folder's files. One that gets its final name just before it is opened is looked for again."""
    done: set[str] = set()
    looking = True
    while looking:
        looking = False
        for file in client.entries(folder):
            if file.is_folder or final_name(file.name) in done:
                continue
            try:
                yield from _lines(client.read(file.path))
            except Missing:
                looking = True
            else:
                done.add(final_name(file.name))


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    unfinished = b""
    for chunk in chunks:
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = unfinished + lines[0]
            unfinished = rest
            yield from (line for line in lines if line)
        else:
            unfinished += rest
