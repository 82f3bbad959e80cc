from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pytest

from penstock.airflow import lateness
from penstock.core.counts import OffsetRange
from penstock.core.settings import Kafka
from penstock.kafka.reader import Message
from penstock.pipelines.web_events import WEB_EVENTS

NOWHERE = Kafka("nowhere:1", "http://nowhere")
NOON = int(datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp()) * 1000
MINUTE = 60_000


def event(time: int) -> dict[str, object]:
    names = ("event_id", "event_type", "product", "category")
    return {**dict.fromkeys(names, "a"), "time": time, "user_id": 1, "product_id": 1, "price": 1.0}


def topic(monkeypatch: pytest.MonkeyPatch, partitions: Mapping[int, Sequence[int]]) -> None:
    """Partitions whose records have these event times."""
    held = tuple(OffsetRange(partition, 0, len(times)) for partition, times in partitions.items())

    def read(_: Kafka, name: str, ranges: Sequence[OffsetRange]) -> list[Message]:
        (asked,) = ranges
        values = [json.dumps(event(time)).encode() for time in partitions[asked.partition]]
        return [Message(name, asked.partition, at, 0, None, value, {}) for at, value in enumerate([*values, b"junk"])]

    monkeypatch.setattr(lateness, "extent", lambda *_: held)
    monkeypatch.setattr(lateness, "read_messages", read)


def test_a_record_is_late_once_its_minute_is_closed_on_every_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = NOON + MINUTE + 2 * MINUTE
    topic(monkeypatch, {0: [closed, NOON], 1: [closed + 1], 2: []})
    said = lateness.late(WEB_EVENTS, event(NOON + 59_999), NOWHERE)  # type: ignore[arg-type]
    assert said == "its minute, 2026-11-01 12:00 UTC, is closed: it is counted as late, and not in that minute"
    assert lateness.late(WEB_EVENTS, event(NOON + MINUTE), NOWHERE) is None  # type: ignore[arg-type]


def test_a_record_is_in_time_while_a_partition_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    topic(monkeypatch, {0: [NOON + 60 * MINUTE], 1: [NOON]})
    assert lateness.late(WEB_EVENTS, event(NOON), NOWHERE) is None  # type: ignore[arg-type]


def test_an_empty_topic_has_closed_no_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    topic(monkeypatch, {0: [], 1: []})
    assert lateness.late(WEB_EVENTS, event(NOON), NOWHERE) is None  # type: ignore[arg-type]
