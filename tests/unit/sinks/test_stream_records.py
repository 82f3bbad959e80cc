"""What Spark's Python workers make of a stream's messages."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from penstock.core.errors import Reject
from penstock.core.settings import Kafka
from penstock.kafka.dead_letters import Rejected
from penstock.pipelines.wiki import WIKI
from penstock.sinks import stream_records
from penstock.sinks.columns import physical_rows
from penstock.sinks.stream_records import Judge, spark_rows
from penstock.sources.recentchange import normalise

GOOD = {"meta": {"id": "a", "dt": "2026-11-22T15:01:02.345Z"}, "wiki": "enwiki", "type": "edit", "bot": False}
VALUES: list[bytes | None] = [
    json.dumps(GOOD).encode(),
    b"no json",
    None,
    b"[]",
    json.dumps(GOOD | {"wiki": None}).encode(),
    json.dumps(GOOD | {"type": "147", "log_params": []}).encode(),
    json.dumps(GOOD | {"meta": {"id": "b", "dt": "2019-01-01T00:00:00+00:00"}}).encode(),
    json.dumps(GOOD | {"meta": {"id": "b", "dt": "2026-11-22T15:01:02"}}).encode(),
    b'{"meta": {"id": "\\ud800"}, "wiki": "enwiki", "type": "edit"}',
    json.dumps(GOOD | {"title": "Kategòrëjô"}, ensure_ascii=False).encode("latin-1"),
]


@pytest.fixture
def forwarded(monkeypatch: pytest.MonkeyPatch) -> list[Rejected]:
    """What the judge sets aside."""
    letters: list[Rejected] = []

    def forward(kafka: object, topic: str, rejects: Iterable[Rejected], *, deadline: float) -> int:
        assert topic == WIKI.dead_letter_topic
        letters.extend(rejects)
        return len(letters)

    monkeypatch.setattr(stream_records, "forward", forward)
    return letters


def judged(values: list[bytes | None]) -> list[dict[str, Any]]:
    window = pa.RecordBatch.from_pydict(
        {
            "partition": pa.array([2] * len(values), pa.int32()),
            "offset": pa.array(range(100, 100 + len(values)), pa.int64()),
            "value": pa.array(values, pa.binary()),
        }
    )
    judge = Judge(
        WIKI.contract, WIKI.topic, WIKI.dead_letter_topic, Kafka("localhost:1", "http://localhost:1"), WIKI.normaliser
    )
    return [row for rows in judge([window]) for row in rows.to_pylist()]


def expected(value: bytes | None) -> dict[str, Any] | None:
    """What the normaliser makes of a message, or None where it has no record in it."""
    try:
        record = normalise(json.loads((value or b"").decode()))
    except (ValueError, Reject):
        return None
    return {**record, "time": datetime.fromtimestamp(record["time"] / 1000, UTC)}  # type: ignore[operator]  # an int


def test_messages_become_the_rows_that_the_normaliser_makes(forwarded: list[Rejected]) -> None:
    assert judged(VALUES) == [record for value in VALUES if (record := expected(value))]


def test_each_message_without_a_row_is_set_aside_with_its_place_and_reason(forwarded: list[Rejected]) -> None:
    judged(VALUES)
    bad = [100 + at for at, value in enumerate(VALUES) if expected(value) is None]
    assert [(each.topic, each.partition, each.offset) for each in forwarded] == [(WIKI.topic, 2, at) for at in bad]
    reasons = {each.offset: each.reason for each in forwarded}
    assert reasons[102] == "the record has no value"
    assert reasons[104] == "wiki is missing"
    assert all(reasons.values())


def test_rows_for_spark_come_back_as_the_same_physical_rows() -> None:
    contract = WIKI.aggregate.contract
    counts = {"edits": 1, "categorizations": 2, "log_entries": 3, "others": 4}
    rows = pa.RecordBatch.from_pylist([{"minute": 1_795_359_660_000, "wiki": "enwiki", **counts}])
    physical = physical_rows(rows, contract)
    assert spark_rows(physical, contract).column("minute").type == pa.timestamp("us", "UTC")
    assert physical_rows(spark_rows(physical, contract), contract).equals(physical)
