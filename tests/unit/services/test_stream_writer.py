"""What the driver does with a micro-batch: all is safe before Spark may commit it, and it writes only while it may."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from penstock.core.errors import Fatal, PenstockError, Retry
from penstock.core.settings import Hdfs, Influx, Kafka
from penstock.core.stream import Fates, MicroBatch
from penstock.pipelines.wiki import WIKI
from penstock.services.stream_driver import Servers, _Writer
from penstock.sinks import aggregates, catalogue, stream_fates
from penstock.sinks.checkpoint import Plan

AT = datetime(2026, 11, 22, tzinfo=UTC)
COUNTS = {"edits": 1, "categorizations": 2, "log_entries": 3, "others": 4}
ROWS = pa.Table.from_pylist([{"minute": 1_795_359_660_000, "wiki": wiki, **COUNTS} for wiki in ("enwiki", "dewiki")])
SERVERS = Servers(
    Kafka("localhost:1", "http://localhost:1"),
    Hdfs("hdfs://localhost:1", "http://localhost:1", "tester"),
    Influx("http://localhost:1", "org", "bucket", "token"),
    "postgresql://localhost:1",
)


class Places:
    """Where a micro-batch is written to, in the order in which it was; `broken` refuses."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.broken = ""
        self.owned = True
        self.batch: MicroBatch | None = None

    def take(self, place: str) -> None:
        if place == self.broken:
            raise Fatal(f"{place} refuses")
        self.written.append(place)

    def check(self) -> None:
        if not self.owned:
            raise Retry("the lock was lost")

    def write_points(self, rows: pa.RecordBatch, as_of: datetime) -> Any:
        self.take("influxdb")
        return SimpleNamespace(rejects=[])

    def write_ledger(self, stream: str, batch: MicroBatch) -> None:
        self.take("ledger")
        self.batch = batch


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Places:
    found = Places()
    monkeypatch.setattr(aggregates, "write", lambda *_: found.take("parquet"))
    monkeypatch.setattr(
        catalogue, "open_sink", lambda *_, **__: SimpleNamespace(write=found.write_points, close=lambda: None)
    )
    monkeypatch.setattr(stream_fates, "fates_of_running_batch", lambda _: Fates(read=20))
    return found


@pytest.fixture
def writer(places: Places) -> _Writer:
    checkpoint: Any = SimpleNamespace(
        folder="/check", query_id=lambda: "query", planned=lambda number: Plan(AT, ({0: 10 * number},))
    )
    ledger: Any = SimpleNamespace(written=places.write_ledger)
    alone: Any = places  # its check() is all that is asked
    return _Writer(WIKI, checkpoint, SERVERS, ledger, alone, patience=0, tell=lambda _: None)


def write(writer: _Writer, rows: pa.Table = ROWS) -> None:
    spark: Any = None
    closed: Any = SimpleNamespace(toArrow=lambda: rows)
    writer(spark, closed, 7)


def test_files_points_and_ledger_have_a_micro_batch_before_spark_does(writer: _Writer, places: Places) -> None:
    write(writer)
    assert places.written == ["parquet", "influxdb", "ledger"]
    assert places.batch is not None
    assert (places.batch.start, places.batch.end) == ({0: 60}, {0: 70})
    assert (places.batch.rows, places.batch.events) == (2, 20)
    assert writer.written == 7


def test_a_micro_batch_that_closes_no_minute_is_in_the_ledger(writer: _Writer, places: Places) -> None:
    write(writer, ROWS.slice(0, 0))
    assert places.written == ["ledger"]


@pytest.mark.parametrize(
    ("broken", "written"), [("parquet", []), ("influxdb", ["parquet"]), ("ledger", ["parquet", "influxdb"])]
)
def test_what_is_not_safe_everywhere_is_not_committed(
    writer: _Writer, places: Places, broken: str, written: list[str]
) -> None:
    places.broken = broken
    with pytest.raises(Fatal, match=f"{broken} refuses"):
        write(writer)
    assert places.written == written
    assert isinstance(writer.error, Fatal)
    assert writer.written is None


@pytest.mark.parametrize("ended", ["lost", "stopping"])
def test_a_driver_that_may_not_write_any_more_writes_nothing(writer: _Writer, places: Places, ended: str) -> None:
    if ended == "lost":
        places.owned = False
    else:
        writer.end()
    with pytest.raises(PenstockError, match=r"lost|stopping"):
        write(writer)
    assert places.written == []


def test_a_lock_that_is_lost_in_the_middle_of_a_micro_batch_ends_it(
    writer: _Writer, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: object) -> None:
        places.take("parquet")
        places.owned = False

    monkeypatch.setattr(aggregates, "write", lose)
    with pytest.raises(PenstockError, match="is lost"):
        write(writer)
    assert places.written == ["parquet"]
