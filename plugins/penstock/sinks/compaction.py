"""Merges the small Parquet files of minute counts, so that a reader never sees a row twice or not at all.

HDFS can append files to another one, and remove them, in one step of its NameNode: CONCAT. So of the small files
S1..Sn of a date and a file C that nobody sees, one file T is made: T|S1|..|Sn|C. C has all rows and a footer whose
offsets count from the beginning of T; a reader of Parquet begins at the end, and so finds the rows of C, and not the
dead bytes before it.

T is there before, without rows, under a name that comes before the others'. So whoever lists the folder, at whatever
time, and then opens the files in the order of their names sees each row once, or misses a file that he has listed and
fails: he lists it anew. The same holds in any order for readers that keep to the length they have listed, as Spark
does. That is also why a merged file is merged into a new one and never appended to.

When a date is over, its one file is replaced, again in one step, by one without dead bytes. Whatever is killed on the
way leaves files that are hidden or without rows, for the next run to take up.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq

from penstock.core import settings
from penstock.core.contract import Contract
from penstock.core.errors import Fatal, Retry
from penstock.sinks.aggregates import File, files, in_order, merged_name, parquet, put, short_id
from penstock.sinks.checkpoint import Checkpoint
from penstock.sinks.webhdfs import Missing, WebHdfs

log = logging.getLogger(__name__)

_FEWEST = 2
_HIDDEN = ".merging"
_FIRST = 999_999_999_999
_CHUNK_BYTES = 1 << 20
_DATE = re.compile(r"date=(\d{4}-\d{2}-\d{2})")
_MAGIC_BYTES = 4


@dataclass
class Compaction:
    """What was done, as numbers of files, dates and rows. `merged` files became one a date, of `merged_dates`."""

    merged: int = 0
    merged_dates: int = 0
    merged_rows: int = 0
    cleaned: int = 0

    def to_json(self) -> dict[str, int]:
        """{name: number}."""
        return asdict(self)


def compact(hdfs: settings.Hdfs, folder: str, contract: Contract, checkpoint: Checkpoint) -> Compaction:
    """Merge the files of each date whose micro-batches will never be repeated, of this checkpoint's query.

    Only one at a time may do this in a folder: its caller holds a lock. Raises Retry where HDFS is away or another has
    been at work, Fatal where it refuses.
    """
    done = Compaction()
    query_id, committed = checkpoint.query_id(), checkpoint.committed()
    if query_id is None or committed is None:
        return done
    watermark = checkpoint.planned(committed).watermark
    with WebHdfs(hdfs) as client:
        for date, found in files(client, folder):
            _Date(client, date, contract, short_id(query_id), done).compact(found, committed, watermark)
    return done


class _Date:
    """The files of one date."""

    def __init__(self, client: WebHdfs, folder: str, contract: Contract, query: str, done: Compaction) -> None:
        self._client = client
        self._folder = folder
        self._contract = contract
        self._query = query
        self._done = done

    def compact(self, found: Sequence[File], committed: int, watermark: datetime) -> None:
        """Merge what is more than one file; where the date is over, leave no dead bytes."""
        mine = [file for file in found if file.query == self._query and (file.batch is None or file.batch <= committed)]
        try:
            merged = next((file.entry.path for file in mine if file.batch is None), None)
            if len(mine) >= _FEWEST:
                merged = self._merge(mine)
            if merged and len(mine) == len(found) and self._is_over(watermark):
                self._clean(merged)
        except Missing as error:
            raise Retry(f"another has been merging in {self._folder}: {error}") from error

    def _merge(self, mine: Sequence[File]) -> str:
        """Make one file of them, and return its path."""
        target = f"{self._folder}/{merged_name(self._query, self._remaining(mine))}"
        contents = [self._read(file) for file in mine]
        rows = in_order(pa.concat_tables(_table(content) for content in contents), self._contract)
        nothing = parquet(rows.slice(0, 0))
        put(self._client, nothing, target)
        hidden = f"{self._folder}/{_HIDDEN}"
        before = len(nothing) + sum(map(len, contents))
        self._client.create(hidden, footed(rows, before), overwrite=True)
        self._client.concat(target, [*(file.entry.path for file in mine), hidden])
        self._done.merged += len(mine)
        self._done.merged_dates += 1
        self._done.merged_rows += rows.num_rows
        log.info("%s has the %d rows of %d files", target, rows.num_rows, len(mine))
        return target

    def _remaining(self, mine: Sequence[File]) -> int:
        """One less than that of the merged file before: its name then comes first."""
        numbers = [int(file.entry.name.rpartition("-")[2].partition(".")[0]) for file in mine if file.batch is None]
        return min(numbers, default=_FIRST + 1) - 1

    def _is_over(self, watermark: datetime) -> bool:
        """Whether all minutes of the date are closed."""
        date = _DATE.search(self._folder)
        if date is None:
            return False
        begin = datetime.fromisoformat(date[1]).replace(tzinfo=UTC)
        return watermark >= begin + timedelta(days=1)

    def _clean(self, path: str) -> None:
        content = b"".join(self._client.read(path))
        if dead_bytes(content):
            put(self._client, parquet(_table(content)), path)
            self._done.cleaned += 1

    def _read(self, file: File) -> bytes:
        content = b"".join(self._client.read(file.entry.path))
        if len(content) != self._client.length(file.entry.path):
            raise Retry(f"{file.entry.path} has changed while it was read")
        return content


def footed(rows: pa.Table, before: int) -> bytes:
    """What makes a Parquet file of the rows when it is put behind `before` bytes that begin as one.

    The offsets in its footer count from the beginning of those.
    """
    kept = _Behind(before)
    sink = pa.PythonFile(kept, mode="w")
    with pq.ParquetWriter(sink, rows.schema, compression="snappy") as writer:  # writes the magic bytes
        for length in _lengths(before - _MAGIC_BYTES):
            sink.write(bytes(length))
        writer.write_table(rows)
    return kept.content.getvalue()


def dead_bytes(content: bytes) -> int:
    """How many bytes of a Parquet file lie before its first rows and belong to none."""
    metadata = pq.read_metadata(io.BytesIO(content))
    if not metadata.num_row_groups:
        return 0
    column = metadata.row_group(0).column(0)
    first = column.dictionary_page_offset or column.data_page_offset
    if first < _MAGIC_BYTES:
        raise Fatal(f"a Parquet file has rows at its byte {first}: it is not whole")
    return int(first) - _MAGIC_BYTES


class _Behind(io.RawIOBase):
    """A file that keeps what is written after its first `before` bytes."""

    def __init__(self, before: int) -> None:
        super().__init__()
        self.content = io.BytesIO()
        self._left = before

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # what pyarrow hands over
        skipped = min(self._left, len(data))
        self._left -= skipped
        self.content.write(data[skipped:])
        return len(data)


def _lengths(total: int) -> Iterator[int]:
    while total > 0:
        yield min(total, _CHUNK_BYTES)
        total -= _CHUNK_BYTES


def _table(content: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(content))
