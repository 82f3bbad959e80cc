"""Batches judged key by key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

import tests.airflow_home  # noqa: F401 - before anything imports Airflow
from penstock.airflow import judging
from penstock.airflow.handover import ProducedBatch
from penstock.airflow.judging import judged_by_keys
from penstock.core.counts import Landed
from penstock.core.errors import Retry
from penstock.ledger.evidence import Found
from penstock.pipelines import PIPELINES
from tests.unit.airflow.conftest import produced

CARS = PIPELINES["car_transactions"]


class Place:
    """A sink or a raw copy that lacks some keys, ever fewer of them."""

    def __init__(self, name: str, *missing: set[int]) -> None:
        self.name = name
        self.missing = list(missing)

    def key(self, record: Any) -> Any:
        return record

    def lacking(self, keys: Mapping[int, int]) -> Iterator[int]:
        missing = self.missing.pop(0) if self.missing else set()
        return iter(sorted(missing & keys.keys()))

    def named(self, key: int) -> str:
        return f"(transaction_id {key})"


class Topic:
    """A topic with records of the keys 0 to 5."""

    keys = 6

    def __init__(self, *_: Any) -> None:
        pass

    def by_partition(self, produced: Any, witnesses: Any) -> Iterator[Found]:
        yield Found(
            self.keys, {(n,) for n in range(self.keys)}, tuple(dict.fromkeys(range(self.keys), 0) for _ in witnesses)
        )


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Any:
    def judge(sink: Place, copy: Place, landed: int = 6, keys: int = 6) -> Any:
        @contextmanager
        def places(_: Any) -> Iterator[list[Place]]:
            yield [sink, copy]

        monkeypatch.setattr("penstock.ledger.witnesses.witnesses", places)
        monkeypatch.setattr("penstock.ledger.evidence.TopicRecords", type("Records", (Topic,), {"keys": keys}))
        monkeypatch.setattr(judging, "_RAW_COPY_PAUSE_SECONDS", 0)
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "k:1")
        monkeypatch.setenv("SCHEMA_REGISTRY_URL", "http://r")
        batch = ProducedBatch.from_json(produced(acked=6), "car_transactions")
        counts = Landed(batch.produced.batch_id, 6, landed, 6 - landed)
        (verdict,) = judged_by_keys(CARS, [batch], {batch.produced.batch_id: counts})
        return verdict

    return judge


def sink(*missing: set[int]) -> Place:
    return Place("car_transaction_data", *missing)


def test_a_batch_is_whole_where_sink_and_raw_copy_have_every_key(judge: Any) -> None:
    verdict = judge(sink(), Place("hdfs:/Cars"))
    assert (verdict.text, verdict.raw_copied) == ("whole", 6)


def test_a_key_that_the_sink_lacks_is_missing(judge: Any) -> None:
    assert "1 missing in car_transaction_data" in judge(sink({3}), Place("hdfs:/Cars")).text


def test_a_raw_copy_that_fills_up_is_waited_for(judge: Any) -> None:
    copy = Place("hdfs:/Cars", {1, 2, 5}, {5})
    assert judge(sink(), copy).whole
    assert copy.missing == []


def test_a_raw_copy_that_stays_behind_is_asked_again_later(judge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "_RAW_COPY_PATIENCE_SECONDS", -1)
    with pytest.raises(
        Retry, match=r"1 of 6 records are not in the raw copy hdfs:/Cars.*\(transaction_id 4\).*flume-cars-hdfs"
    ):
        judge(sink(), Place("hdfs:/Cars", {4}, {4}))


def test_records_that_the_landing_never_saw_are_found_on_the_topic(judge: Any) -> None:
    assert "hourlymetrics has 7 valid keys of it" in judge(sink(), Place("hdfs:/Cars"), keys=7).text
