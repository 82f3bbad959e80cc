from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from penstock.airflow.errors import TryAgain
from penstock.airflow.operators import produce as module
from penstock.airflow.operators.produce import ReliableProduceToTopicOperator
from penstock.core.batch import Batch, Interval
from penstock.core.contract import Contract
from penstock.core.counts import OffsetRange, Produced
from penstock.core.errors import Fatal, Retry
from penstock.core.record import Record
from penstock.core.settings import Kafka
from penstock.pipelines.weather import WEATHER_HOURLY
from tests.unit.airflow.conftest import HOUR, FakeLedger


class Numbers:
    """A source of three records that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Interval, Mapping[str, Any]]] = []
        self.error: Exception | None = None

    def resolve(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        if options.get("variables") == "nonsense":
            raise Fatal("unknown variables: nonsense. The 2 known ones are one, two")
        return {"variables": "default"} | {name: value for name, value in options.items() if value}

    def fetch(self, interval: Interval, options: Mapping[str, Any]) -> Iterator[Record]:
        self.asked.append((interval, options))
        if self.error:
            raise self.error
        yield from ({"n": number} for number in range(3))


class Broker:
    """In the place of the registry and the transactional producer."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.registered: list[tuple[str, str]] = []
        self.error: Exception | None = None

    def register(self, subject: str, contract: Contract) -> int:
        self.registered.append((subject, contract.name))
        return 7

    def produce(self, batch: Batch, contract: Contract, *, records: Iterator[Record], **given: Any) -> Produced:
        if self.error:
            raise self.error
        count = len(list(records))
        self.calls.append({"batch": batch, "contract": contract} | given)
        return Produced(
            batch_id=batch.id,
            topic=given["topic"],
            schema_id=given["schema_id"],
            as_of=given["as_of"],
            fetched=count,
            acked=count,
            rejected=0,
            ranges=(OffsetRange(0, 0, count),),
        )


@pytest.fixture
def source() -> Numbers:
    return Numbers()


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    monkeypatch.setattr("penstock.kafka.produce.produce", broker.produce)
    monkeypatch.setattr("penstock.kafka.registry.Registry.register", lambda _, *given: broker.register(*given))
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9")
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", "http://127.0.0.1:9/apis/ccompat/v7")
    extra = {"bootstrap.servers": "127.0.0.1:10", "group.id": "unused", "linger.ms": "5"}
    monkeypatch.setenv("AIRFLOW_CONN_KAFKA_DEFAULT", json.dumps({"conn_type": "kafka", "extra": extra}))
    return broker


def operator(source: Numbers, **more: Any) -> ReliableProduceToTopicOperator:
    pipeline = replace(WEATHER_HOURLY, source=source)
    return ReliableProduceToTopicOperator(task_id="produce", pipeline=pipeline, **more)


def test_a_run_produces_the_batch_of_its_data_interval(
    source: Numbers, broker: Broker, fake_ledger: FakeLedger, context: dict[str, Any]
) -> None:
    before = datetime.now(UTC)
    result = operator(source, options={"variables": "one", "latitudes": ""}).execute(context)
    (call,) = broker.calls
    assert call["batch"] == Batch("weather_hourly", HOUR)
    assert source.asked == [(HOUR, {"variables": "one"})]
    assert (call["topic"], call["dead_letter_topic"], call["schema_id"]) == ("hourlymetrics", "hourlymetrics.dlq", 7)
    assert broker.registered == [("hourlymetrics-value", WEATHER_HOURLY.contract.name)]
    assert before <= call["as_of"] <= datetime.now(UTC)
    assert (result["acked"], result["interval"], result["options"]) == (3, str(HOUR), {})
    assert len(json.dumps(result)) < 1000


def test_the_ledger_is_told_before_and_after(
    source: Numbers, broker: Broker, fake_ledger: FakeLedger, context: dict[str, Any]
) -> None:
    operator(source).execute(context)
    assert fake_ledger.methods() == ["started", "produced"]
    hop, run, try_number, as_of = fake_ledger.told[0][2]
    assert (hop, run, try_number) == ("produce", "weather_hourly/scheduled__2026-03-01T10:00:00+00:00", 2)
    assert as_of == broker.calls[0]["as_of"]


def test_a_chunk_is_a_batch_of_its_own(
    source: Numbers, broker: Broker, fake_ledger: FakeLedger, context: dict[str, Any]
) -> None:
    interval, options = "2020-01-01T00:00:00Z/2020-02-01T00:00:00Z", {"variables": ["one"]}
    result = operator(source, chunk={"interval": interval, "options": options}).execute(context)
    assert source.asked == [(Interval.parse(interval), options)]
    assert broker.calls[0]["batch"].options == options
    assert result["batch_id"].startswith(f"weather_hourly:{interval}:")


def test_the_connection_configures_the_producer(
    source: Numbers, broker: Broker, fake_ledger: FakeLedger, context: dict[str, Any]
) -> None:
    operator(source).execute(context)
    assert broker.calls[0]["kafka"] == Kafka("127.0.0.1:10", "http://127.0.0.1:9/apis/ccompat/v7")
    assert broker.calls[0]["config"] == {"linger.ms": "5"}


def test_a_missing_connection_is_named(
    source: Numbers,
    broker: Broker,
    fake_ledger: FakeLedger,
    context: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_KAFKA_DEFAULT")
    with pytest.raises(AirflowFailException, match="kafka_default does not exist: set AIRFLOW_CONN_KAFKA_DEFAULT"):
        operator(source).execute(context)


def test_the_deadline_comes_before_airflow_interrupts_the_task(
    source: Numbers, broker: Broker, fake_ledger: FakeLedger, context: dict[str, Any]
) -> None:
    before = time.monotonic()
    operator(source, execution_timeout=timedelta(seconds=100)).execute(context)
    assert before + 90 <= broker.calls[0]["deadline"] <= time.monotonic() + 90


def test_a_broker_that_is_away_is_tried_again_later(
    source: Numbers, broker: Broker, fake_ledger: FakeLedger, context: dict[str, Any]
) -> None:
    broker.error = Retry("the broker is away")
    with pytest.raises(TryAgain, match="the broker is away"):
        operator(source).execute(context)
    assert fake_ledger.told[-1] == ("failed", Batch("weather_hourly", HOUR).id, ("produce", "the broker is away"))


def test_the_wait_that_a_source_asks_for_is_passed_on(
    source: Numbers, broker: Broker, fake_ledger: FakeLedger, context: dict[str, Any]
) -> None:
    source.error = Retry("Hourly API request limit exceeded", retry_after=1800)
    with pytest.raises(TryAgain) as caught:
        operator(source).execute(context)
    assert caught.value.retry_after == 1800


def test_wrong_options_are_refused_before_anything_is_fetched(
    source: Numbers, broker: Broker, fake_ledger: FakeLedger, context: dict[str, Any]
) -> None:
    with pytest.raises(AirflowFailException, match="The 2 known ones are one, two"):
        operator(source, options={"variables": "nonsense"}).execute(context)
    assert source.asked == []
    assert broker.registered == []


def test_an_error_of_unknown_origin_does_not_put_its_text_into_the_ledger(
    source: Numbers, broker: Broker, fake_ledger: FakeLedger, context: dict[str, Any]
) -> None:
    broker.error = RuntimeError("password=s3cr3t")
    with pytest.raises(RuntimeError):
        operator(source).execute(context)
    assert fake_ledger.told[-1][2] == ("produce", "RuntimeError, see the task's log")


def test_nothing_is_fetched_while_the_ledger_is_away(
    source: Numbers, broker: Broker, fake_ledger: FakeLedger, context: dict[str, Any]
) -> None:
    fake_ledger.away.add("started")
    with pytest.raises(TryAgain, match="the ledger is away"):
        operator(source).execute(context)
    assert source.asked == []


def test_a_ledger_that_is_away_does_not_hide_the_failure(
    source: Numbers, broker: Broker, fake_ledger: FakeLedger, context: dict[str, Any]
) -> None:
    fake_ledger.away.add("failed")
    broker.error = Fatal("the topic hourlymetrics does not exist")
    with pytest.raises(AirflowFailException, match="the topic hourlymetrics does not exist"):
        operator(source).execute(context)


def test_open_meteo_is_called_within_the_budget_of_all_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    from penstock.ledger.limits import CallBudget

    monkeypatch.setenv("LEDGER_URL", "postgresql://penstock:secret@127.0.0.1:9/penstock")
    limited = module._within_budget(WEATHER_HOURLY.source)
    assert isinstance(limited.budget, CallBudget)  # type: ignore[attr-defined]
