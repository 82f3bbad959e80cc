"""The price consumer's processes against real servers: every event counted once, whatever happens to them."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from penstock.core.settings import Influx, Kafka
from penstock.kafka import dead_letters
from tests.price_consumers import Consumers, consumers
from tests.price_events import Visitors, web_event
from tests.services import eventually

pytestmark = pytest.mark.integration


@pytest.fixture
def shop(kafka_settings: Kafka, influx_settings: Influx, unique: str, tmp_path: Path) -> Iterator[Consumers]:
    with consumers(kafka_settings.bootstrap_servers, influx_settings, unique, tmp_path) as found:
        yield found


def visitors(shop: Consumers) -> Visitors:
    return Visitors(shop.servers, shop.name)


def test_counts_are_exact_while_consumers_come_are_killed_and_go(shop: Consumers) -> None:
    with visitors(shop):
        (first,) = shop.start()
        shop.share(first)
        second, third = shop.start(2)
        shop.share(first, second, third)
        first.kill()
        shop.share(second, third)
        (fourth,) = shop.start()
        shop.share(second, third, fourth)
        assert third.end() == 0
        second.kill()
        (fifth,) = shop.start()
        shop.share(fourth, fifth)
    shop.come_to_the_right_counts()
    assert fourth.end() == 0
    assert fifth.end() == 0
    shop.come_to_the_right_counts()
    (last,) = shop.start()
    shop.share(last)
    eventually(lambda: not any(last.lags().values()))
    shop.come_to_the_right_counts()


def test_a_consumer_that_wakes_after_others_took_over_changes_no_count(shop: Consumers) -> None:
    with visitors(shop):
        sleeper, other = shop.start(2)
        shop.share(sleeper, other)
        for _ in range(2):
            eventually(lambda: all(value < 5_000 for value in sleeper.lags().values()))
            sleeper.send(signal.SIGSTOP)
            shop.share(other)
            before = other.metrics()["price_consumer_newest_event_seconds", "0"]
            # Until the minutes that the sleeper had open are closed by the other.
            eventually(lambda past=before: other.metrics()["price_consumer_newest_event_seconds", "0"] > past + 240)
            sleeper.send(signal.SIGCONT)
            shop.share(sleeper, other)
    shop.come_to_the_right_counts()
    assert sleeper.status() == other.status() == 200


def test_what_is_no_event_is_set_aside_with_the_reason_and_closes_no_minute(
    shop: Consumers, kafka_settings: Kafka
) -> None:
    draw, now = random.Random(1), round(time.time() * 1000)
    future = web_event(now + 3_600_000, draw)
    values = [
        json.dumps(web_event(now - 1_000, draw)).encode(),
        json.dumps(future).encode(),
        b'{"event_id": "cut o',
        json.dumps(web_event(now, draw) | {"price": -1}).encode(),
        json.dumps(web_event(now, draw) | {"category": "two\nlines"}).encode(),
        json.dumps(web_event(now - 61_000, draw)).encode(),
    ]
    producer = Producer({"bootstrap.servers": shop.servers})
    for value in values:
        producer.produce(shop.name, value, partition=0)
    assert producer.flush(30) == 0
    (consumer,) = shop.start()
    eventually(lambda: sum(events for events, _ in shop.stored().values()) == 2)
    letters = eventually(lambda: list(dead_letters.read(kafka_settings, f"{shop.name}.dlq")))
    assert [letter.value for letter in letters] == values[1:5]
    reasons = " | ".join(letter.reason for letter in letters)
    for said in ("a wrong clock", "truncated", ">= 0", "control character"):
        assert said in reasons
    assert consumer.metrics()["price_consumer_events_total", "rejected"] == 4
    assert consumer.end() == 0
    (again,) = shop.start()
    shop.share(again)
    eventually(lambda: again.lags() == dict.fromkeys(range(4), 0.0))
    assert again.metrics()["price_consumer_events_total", "rejected"] == 0
    assert len(list(dead_letters.read(kafka_settings, f"{shop.name}.dlq"))) == 4


def test_an_influxdb_that_is_away_is_said_and_waited_for(shop: Consumers) -> None:
    with visitors(shop):
        (consumer,) = shop.start(INFLUXDB_URL="http://127.0.0.1:1")
        eventually(lambda: consumer.metrics().get(("price_consumer_influxdb_up", "")) == 0)
        assert consumer.status() == 503
        assert consumer.end() == 0
        (consumer,) = shop.start()
        shop.share(consumer)
    shop.come_to_the_right_counts()
    assert consumer.status() == 200
