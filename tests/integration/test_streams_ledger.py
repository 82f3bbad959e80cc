"""Micro-batches in the ledger, and the lock of the one driver, against the real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from penstock.core.errors import Fatal, Retry
from penstock.core.stream import Fates, MicroBatch
from penstock.ledger.locks import Occupied, held_lock, lock_key
from penstock.ledger.store import Ledger
from penstock.ledger.streams import Streams
from penstock.services.stream_driver import only_driver

pytestmark = pytest.mark.integration

QUERY = "5f0c7a10-7b52-4d50-9d3b-0d6f2b2a9d11"
AT = datetime(2026, 11, 22, 15, 1, tzinfo=UTC)


@pytest.fixture
def streams(ledger_url: str) -> Iterator[Streams]:
    Ledger(ledger_url).migrate()
    with closing(Streams(ledger_url)) as opened:
        yield opened


def batch(number: int, **changes: object) -> MicroBatch:
    fates = Fates(read=100, rejected=1, late=2, duplicates=3)
    made = MicroBatch(QUERY, number, AT, {0: number}, {0: number + 1, 10: 7}, fates, AT, rows=4, events=80)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_repeated_micro_batch_takes_its_own_place(streams: Streams) -> None:
    streams.written("wiki", batch(0))
    streams.written("wiki", batch(1))
    streams.written("wiki", batch(1, watermark=AT + timedelta(minutes=1)))
    streams.written("other", batch(9))
    totals, newest = streams.totals("wiki"), streams.latest("wiki")
    assert totals is not None
    assert newest is not None
    assert (totals.batches, totals.rows, totals.events) == (2, 8, 160)
    assert totals.fates == Fates(200, 2, 4, 6)
    assert totals.open == totals.fates.counted - totals.events == 188 - 160
    assert (newest.batch, newest.end, newest.watermark) == (1, {0: 2, 10: 7}, AT + timedelta(minutes=1))
    assert newest.committed is None


def test_what_is_committed_is_so_with_all_before_it(streams: Streams) -> None:
    for number in range(3):
        streams.written("wiki", batch(number))
    streams.committed("wiki", QUERY, 1, 50)
    newest = streams.latest("wiki")
    assert newest is not None
    assert (newest.batch, newest.committed, newest.lag) == (2, None, None)
    streams.committed("wiki", QUERY, 2, 7)
    newest = streams.latest("wiki")
    assert newest is not None
    assert newest.committed is not None
    assert newest.lag == 7


def test_old_micro_batches_become_one_a_day_with_the_same_sums(streams: Streams, ledger_url: str) -> None:
    for number in range(6):
        streams.written("wiki", batch(number))
    streams.committed("wiki", QUERY, 4, 0)
    with psycopg.connect(ledger_url) as other:  # 0 to 2 the day before yesterday, 3 and 4 yesterday
        other.execute("UPDATE stream_batches SET written = written - interval '2 days' WHERE batch < 3")
        other.execute("UPDATE stream_batches SET written = written - interval '1 day' WHERE batch IN (3, 4)")
    before = streams.totals("wiki")
    assert streams.fold("wiki", datetime.now(UTC)) == 2 + 1
    assert streams.fold("wiki", datetime.now(UTC)) == 0
    assert streams.totals("wiki") == before
    with psycopg.connect(ledger_url) as other:
        rows = other.execute("SELECT batch, start_offsets, end_offsets FROM stream_batches ORDER BY batch").fetchall()
    assert rows[0] == (2, {"0": 0}, {"0": 3, "10": 7})
    assert [row[0] for row in rows] == [2, 4, 5]


def test_records_without_a_fate_are_refused(streams: Streams) -> None:
    with pytest.raises(Fatal, match="breaks its rule"):
        streams.written("wiki", batch(0, fates=Fates(read=1, rejected=2)))


def test_a_stream_without_micro_batches_has_none(streams: Streams) -> None:
    assert streams.latest("wiki") is None
    assert streams.totals("wiki") is None


def test_a_second_driver_is_told_to_leave_the_checkpoint_alone(ledger_url: str, unique: str) -> None:
    with (
        only_driver(ledger_url, f"/{unique}"),
        pytest.raises(Fatal, match=f"another driver counts with the checkpoint /{unique}"),
        only_driver(ledger_url, f"/{unique}", patience=0.5),
    ):
        pass
    with only_driver(ledger_url, f"/{unique}", patience=0.5):
        pass


def test_a_lock_that_is_lost_is_noticed(ledger_url: str, unique: str) -> None:
    key = lock_key(unique)
    holder = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s"
    holding = held_lock(ledger_url, unique, 1)
    lock = holding.__enter__()
    lock.check()
    with pytest.raises(Occupied), held_lock(ledger_url, unique, 0.2):
        pass
    with psycopg.connect(ledger_url) as other:
        other.execute(holder, (key & 0xFFFFFFFF,))
    with pytest.raises(Retry):
        lock.check()
    with pytest.raises(Retry):
        holding.__exit__(None, None, None)
