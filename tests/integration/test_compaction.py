"""Merging the files of minute counts on a real HDFS, with a reader that looks all the time."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.core.errors import Retry
from penstock.core.settings import Hdfs
from penstock.pipelines.wiki import WIKI
from penstock.sinks import aggregates
from penstock.sinks.aggregates import batch_name, files, write
from penstock.sinks.checkpoint import Checkpoint
from penstock.sinks.compaction import Compaction, compact
from penstock.sinks.webhdfs import Missing, WebHdfs
from penstock.stack import hdfs_admin
from tests.stream_job import until

pytestmark = pytest.mark.integration

QUERY = "5f0c7a10-7b52-4d50-9d3b-0d6f2b2a9d11"
MIDNIGHT = datetime(2026, 11, 22, tzinfo=UTC)
CONTRACT = WIKI.aggregate.contract
WIKIS = 50


class Minutes:
    """A folder of minute counts, written as the driver does, and the checkpoint that says what is committed."""

    def __init__(self, hdfs: Hdfs, name: str) -> None:
        self.hdfs = hdfs
        self.folder = f"/test/{name}/minutes"
        self.checkpoint = Checkpoint(hdfs, f"/test/{name}/checkpoint")
        self.client = WebHdfs(hdfs)
        hdfs_admin.provision(hdfs, [f"/test/{name}"])
        self.client.create(f"{self.checkpoint.folder}/metadata", json.dumps({"id": QUERY}).encode())

    def write(self, batch: int, minute: datetime) -> None:
        """The file of a micro-batch that closes one minute."""
        stamp = int(minute.timestamp() * 1000)
        count = {"edits": batch, "categorizations": 1, "log_entries": 2, "others": 3}
        rows = [{"minute": stamp, "wiki": f"wiki{number}", **count} for number in range(WIKIS)]
        write(self.hdfs, self.folder, pa.RecordBatch.from_pylist(rows), CONTRACT, QUERY, batch)

    def commit(self, batch: int, watermark: datetime) -> None:
        head = {"batchWatermarkMs": int(watermark.timestamp() * 1000), "batchTimestampMs": 0, "conf": {}}
        plan = f'v1\n{json.dumps(head)}\n{{"t":{{"0":1}}}}'
        self.client.create(f"{self.checkpoint.folder}/offsets/{batch}", plan.encode())
        self.client.create(f"{self.checkpoint.folder}/commits/{batch}", b"v1\n{}")

    def compact(self) -> Compaction:
        return compact(self.hdfs, self.folder, CONTRACT, self.checkpoint)

    def names(self, date: str) -> list[str]:
        """All that is in a date's folder, hidden files as well."""
        return [entry.name for entry in self.client.entries(f"{self.folder}/date={date}")]

    def rows(self) -> list[tuple[datetime, str]]:
        """What a reader sees that lists the folders and then opens one file after the other. Raises Missing."""
        found = []
        for _, in_date in files(self.client, self.folder):
            for file in in_date:
                table = pq.read_table(io.BytesIO(b"".join(self.client.read(file.entry.path))))
                found += list(zip(table["minute"].to_pylist(), table["wiki"].to_pylist(), strict=True))
        return found


@pytest.fixture
def minutes(hdfs_settings: Hdfs, unique: str) -> Minutes:
    return Minutes(hdfs_settings, unique)


def test_committed_files_of_a_date_become_one_and_a_date_that_is_over_is_left_without_dead_bytes(
    minutes: Minutes,
) -> None:
    for batch in range(6):
        minutes.write(batch, MIDNIGHT + timedelta(minutes=batch - 3))
    minutes.commit(4, MIDNIGHT - timedelta(minutes=1))
    before = sorted(minutes.rows())
    assert minutes.compact() == Compaction(merged=5, merged_dates=2, merged_rows=5 * WIKIS)
    assert len(minutes.names("2026-11-21")) == 1
    assert len(minutes.names("2026-11-22")) == 2
    assert batch_name(QUERY, 5) in minutes.names("2026-11-22"), "the micro-batch could be repeated"
    assert sorted(minutes.rows()) == before

    minutes.write(6, MIDNIGHT + timedelta(minutes=3))
    minutes.commit(6, MIDNIGHT + timedelta(minutes=5))
    before = sorted(minutes.rows())
    dirty = sum(entry.length for entry in minutes.client.entries(f"{minutes.folder}/date=2026-11-21"))
    found = minutes.compact()
    assert found == Compaction(merged=3, merged_dates=1, merged_rows=4 * WIKIS, cleaned=1)
    assert sum(entry.length for entry in minutes.client.entries(f"{minutes.folder}/date=2026-11-21")) < dirty
    assert sorted(minutes.rows()) == before == sorted(set(before))
    assert minutes.compact() == Compaction()


def test_a_reader_that_looks_all_the_time_sees_each_row_once_or_fails(minutes: Minutes) -> None:
    over = threading.Event()
    seen: list[int] = []
    misses: list[str] = []

    def look() -> None:
        while not over.is_set():
            try:
                rows = minutes.rows()
            except (Missing, Retry) as error:  # a file was merged away after it was listed
                misses.append(str(error))
                continue
            assert len(rows) == len(set(rows))
            seen.append(len(rows))

    for batch in range(8):
        minutes.write(batch, MIDNIGHT - timedelta(minutes=40 - batch))
    minutes.commit(7, MIDNIGHT - timedelta(hours=1))
    reader = threading.Thread(target=look)
    reader.start()
    try:
        until(lambda: len(seen) >= 2)
        minutes.compact()
        for batch in range(8, 16):  # nothing to see changes but by these
            minutes.write(batch, MIDNIGHT - timedelta(minutes=40 - batch))
            minutes.commit(batch, MIDNIGHT - timedelta(hours=1) if batch < 15 else MIDNIGHT)
            minutes.compact()
        until(lambda: seen[-1] == 16 * WIKIS)
    finally:
        over.set()
        reader.join()
    assert seen[0] == 8 * WIKIS
    assert seen == sorted(seen), "a row that was there is always there"
    assert all(count % WIKIS == 0 for count in seen)


@pytest.mark.parametrize("killed_before", ["create", "concat", "replace"])
def test_whatever_is_killed_is_taken_up_by_the_next_run(
    minutes: Minutes, monkeypatch: pytest.MonkeyPatch, killed_before: str
) -> None:
    for batch in range(4):
        minutes.write(batch, MIDNIGHT - timedelta(minutes=9 - batch))
    minutes.commit(3, MIDNIGHT)
    before = sorted(minutes.rows())
    real: Callable[..., Any] = getattr(WebHdfs, killed_before)
    for survived in range(3):
        calls = 0

        def dying(*args: Any, limit: int = survived, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > limit:
                raise KeyboardInterrupt
            return real(*args, **more)

        monkeypatch.setattr(WebHdfs, killed_before, dying)
        with suppress(KeyboardInterrupt):
            minutes.compact()
        monkeypatch.setattr(WebHdfs, killed_before, real)
        assert sorted(minutes.rows()) == before
    minutes.compact()
    assert sorted(minutes.rows()) == before
    assert [name for name in minutes.names("2026-11-21") if not name.startswith(".")] == minutes.names("2026-11-21")
    assert len(minutes.names("2026-11-21")) == 1


def test_writing_a_micro_batch_again_gives_the_same_files(minutes: Minutes) -> None:
    minutes.write(0, MIDNIGHT)
    (path,) = [file.entry.path for _, found in files(minutes.client, minutes.folder) for file in found]
    first = b"".join(minutes.client.read(path))
    minutes.write(0, MIDNIGHT)
    assert b"".join(minutes.client.read(path)) == first
    assert minutes.names("2026-11-22") == [aggregates.batch_name(QUERY, 0)]
