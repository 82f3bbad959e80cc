from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from apps.kafka_lag_exporter.exporter import Exporter
from apps.kafka_lag_exporter.minutes import note
from penstock.core.errors import Fatal, Retry
from penstock.core.settings import lag_seconds
from penstock.kafka.group_lags import Lags, PartitionLag


class Measures:
    """Gives what it was told to, one after the other."""

    def __init__(self, *answers: Lags | Retry) -> None:
        self._answers = list(answers)

    def measure(self) -> Lags:
        answer = self._answers.pop(0)
        if isinstance(answer, Retry):
            raise answer
        return answer


def lags(*groups: str, **failed: str) -> Lags:
    found = [PartitionLag(group, "events", number, 10, 10 + number) for group in groups for number in (1, 2)]
    return Lags(tuple(found), failed)


def told(exporter: Any) -> set[str]:
    registry = CollectorRegistry()
    registry.register(exporter)
    return {line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")}


def test_every_group_has_its_lag_by_partition_and_in_sum() -> None:
    exporter = Exporter(Measures(lags("one", "two")), 15)
    assert exporter.health().status == 503
    exporter.refresh()
    found = told(exporter)
    for group in ("one", "two"):
        assert f'kafka_consumergroup_lag{{group="{group}",partition="2",topic="events"}} 2.0' in found
        assert f'kafka_consumergroup_current_offset{{group="{group}",partition="2",topic="events"}} 10.0' in found
        assert f'kafka_consumergroup_end_offset{{group="{group}",partition="2",topic="events"}} 12.0' in found
        assert f'kafka_consumergroup_lag_sum{{group="{group}",topic="events"}} 3.0' in found
    assert "kafka_lag_exporter_kafka_up 1.0" in found
    assert exporter.health().status == 200
    assert exporter.health().detail == {"groups": ["one", "two"]}


def test_a_group_that_is_gone_has_no_series() -> None:
    exporter = Exporter(Measures(lags("one", "two"), lags("two")), 15)
    exporter.refresh()
    exporter.refresh()
    assert not any("one" in line for line in told(exporter))


def test_a_group_that_fails_hides_no_other() -> None:
    exporter = Exporter(Measures(lags("one", broken="it is moving")), 15)
    exporter.refresh()
    assert any('group="one"' in line for line in told(exporter))
    assert "kafka_lag_exporter_failed_groups 1.0" in told(exporter)
    assert exporter.health().status == 200


def test_while_kafka_is_away_there_are_no_old_lags() -> None:
    exporter = Exporter(Measures(lags("one"), Retry("Kafka is away"), lags("one")), 15)
    exporter.refresh()
    exporter.refresh()
    assert told(exporter) == {"kafka_lag_exporter_kafka_up 0.0", "kafka_lag_exporter_failed_groups 0.0"}
    assert (exporter.health().status, exporter.health().detail) == (503, {"detail": "Kafka is away"})
    exporter.refresh()
    assert exporter.health().status == 200


@pytest.mark.parametrize("text", ["0", "soon", "-1", "1.5"])
def test_how_often_is_a_positive_number_of_seconds(text: str) -> None:
    assert lag_seconds({}) == 15
    with pytest.raises(Fatal, match=r"LAG_SECONDS is .*whole number"):
        lag_seconds({"LAG_SECONDS": text})


def test_a_stream_s_minutes_are_out_where_its_slowest_partition_has_closed_them() -> None:
    minute = datetime(2026, 11, 22, 18, 30, tzinfo=UTC)
    closed = [int(minute.timestamp() * 1000) + each * 60_000 for each in (2, 0, 1)]
    partitions = [PartitionLag("counters", "events", number, 0, 0, each) for number, each in enumerate(closed)]
    # One that has had no records yet, and another group.
    partitions += [PartitionLag("counters", "events", 3, 0, 0), PartitionLag("others", "events", 0, 0, 0, 60_000)]
    noted: list[tuple[str, datetime]] = []
    ledger = SimpleNamespace(closed=lambda stream, before: noted.append((stream, before)))
    streams = [SimpleNamespace(name=name, counted_by=name, topic="events") for name in ("counters", "silent")]
    note(ledger, streams, Lags(tuple(partitions), {}))  # type: ignore[arg-type]
    assert noted == [("counters", minute)]


def test_lags_are_told_also_while_nobody_takes_note_of_them() -> None:
    def away(_: Lags) -> None:
        raise Retry("the ledger is away")

    exporter = Exporter(Measures(lags("one")), 15, away)
    exporter.refresh()
    assert "kafka_lag_exporter_kafka_up 1.0" in told(exporter)
    assert exporter.health().status == 200
