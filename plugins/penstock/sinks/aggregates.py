"""Minute counts as Parquet files on HDFS: `FOLDER/date=YYYY-MM-DD/QUERY-BATCH.parquet`, by the minute's date, UTC.

A file is made under a hidden name, which readers of such folders pass over, and then renamed. A micro-batch that is
repeated makes the same files. `maintenance` merges them, see compaction.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from penstock.core import settings
from penstock.core.contract import Contract
from penstock.sinks.columns import physical_rows
from penstock.sinks.stream_records import spark_rows
from penstock.sinks.webhdfs import Entry, WebHdfs

_ID_CHARACTERS = 8
_FILE = re.compile(rf"(?P<query>[0-9a-f]{{{_ID_CHARACTERS}}})-(?P<batch>\d{{12}})\.parquet")
_MERGED = re.compile(rf"0-(?P<query>[0-9a-f]{{{_ID_CHARACTERS}}})-\d{{12}}\.parquet")


@dataclass(frozen=True)
class File:
    """A file of minute counts: of one micro-batch, or merged of several where `batch` is None."""

    entry: Entry
    query: str
    batch: int | None


def short_id(query_id: str) -> str:
    """The part of a query's id that is in the names of its files."""
    return query_id[:_ID_CHARACTERS]


def batch_name(query_id: str, batch: int) -> str:
    """The name of a micro-batch's file."""
    return f"{short_id(query_id)}-{batch:012d}.parquet"


def merged_name(query: str, remaining: int) -> str:
    """The name of a merged file. It comes before those of micro-batches, and of merged files that have more remaining.

    See compaction.py for what `remaining` is good for.
    """
    return f"0-{query}-{remaining:012d}.parquet"


def files(client: WebHdfs, folder: str) -> Iterator[tuple[str, list[File]]]:
    """(date folder, its files by name), the oldest date first. What is hidden, or not named like ours, is left out."""
    for date in client.entries(folder):
        if date.is_folder and date.name.startswith("date="):
            found = (_file(entry) for entry in client.entries(date.path) if not entry.is_folder)
            yield date.path, [each for each in found if each]


def _file(entry: Entry) -> File | None:
    if match := _FILE.fullmatch(entry.name):
        return File(entry, match["query"], int(match["batch"]))
    if match := _MERGED.fullmatch(entry.name):
        return File(entry, match["query"], None)
    return None


def write(
    hdfs: settings.Hdfs, folder: str, rows: pa.RecordBatch, contract: Contract, query_id: str, batch: int
) -> list[str]:
    """Write a micro-batch's rows, a file a date, and return their paths. Writing them again changes nothing.

    Raises Retry where HDFS is away, Fatal where it refuses.
    """
    ordered = in_order(pa.Table.from_batches([spark_rows(physical_rows(rows, contract), contract)]), contract)
    written = []
    with WebHdfs(hdfs) as client:
        dates = pc.strftime(ordered.column(contract.event_time), "%Y-%m-%d")
        for date in pc.unique(dates).to_pylist():
            name = batch_name(query_id, batch)
            target = f"{folder}/date={date}/{name}"
            put(client, parquet(ordered.filter(pc.equal(dates, date))), target)
            written.append(target)
    return written


def put(client: WebHdfs, content: bytes, target: str) -> None:
    """Make the file, or put it in the place of the one that is there, in one step for who reads it."""
    parent, _, name = target.rpartition("/")
    hidden = f"{parent}/.{name}.tmp"
    client.create(hidden, content, overwrite=True)
    client.replace(hidden, target)


def in_order(rows: pa.Table, contract: Contract) -> pa.Table:
    """Sorted by time, then by the rest of the key."""
    keys = [contract.event_time, *(name for name in contract.key if name != contract.event_time)]
    return rows.sort_by([(name, "ascending") for name in keys])


def parquet(rows: pa.Table) -> bytes:
    """One Parquet file of the rows."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="snappy")
    return bytes(sink.getvalue())
