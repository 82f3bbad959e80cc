"""What `POST /api/logs` promises, against the real broker."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from confluent_kafka import Producer

from apps.car_api.sales import sale
from penstock.core.errors import Fatal, Retry
from penstock.core.settings import Kafka
from penstock.kafka import reader
from penstock.kafka.courier import Courier
from penstock.kafka.encoder import Identity
from penstock.kafka.topics import Topic, ensure
from tests.car_api import CONTRACT, serve

pytestmark = pytest.mark.integration


class Api:
    """A car API that writes to a topic of its own."""

    def __init__(self, url: str, kafka: Kafka, topic: str) -> None:
        self.url = url
        self.kafka = kafka
        self.topic = topic

    def post(self, records: object) -> requests.Response:
        return requests.post(f"{self.url}/api/logs", data=json.dumps(records).encode(), timeout=120)

    def messages(self) -> list[reader.Message]:
        return list(reader.read(self.kafka, self.topic, reader.extent(self.kafka, self.topic)))


@pytest.fixture
def api(kafka_settings: Kafka, unique: str) -> Iterator[Api]:
    ensure(kafka_settings.bootstrap_servers, [Topic(unique, 3)])
    with serve(Courier(kafka_settings.bootstrap_servers, unique, patience=60.0)) as url:
        yield Api(url, kafka_settings, unique)


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def sales(first: int, count: int) -> list[dict]:
    return [dict(sale(tick)) for tick in range(first, first + count)]


def test_what_was_accepted_is_on_the_topic_with_key_and_present_time(api: Api) -> None:
    before = time.time_ns() // 1_000_000
    answer = api.post(sales(0, 500))
    after = time.time_ns() // 1_000_000

    assert (answer.status_code, answer.json()) == (202, {"accepted": 500})
    messages = api.messages()
    found = {json.loads(message.value)["transaction_id"]: message for message in messages}
    assert len(messages) == len(found) == 500
    for record in sales(0, 500):
        message = found[record["transaction_id"]]
        assert json.loads(message.value) == record
        assert [message.key] == list(Identity(CONTRACT).keys([record]))
        assert before <= message.timestamp <= after
        assert message.headers == {}


def test_a_transaction_has_one_partition_whoever_writes_it(api: Api) -> None:
    api.post(sales(0, 50))
    posted = {message.key: message.partition for message in api.messages()}
    other = Producer({"bootstrap.servers": api.kafka.bootstrap_servers, "partitioner": "murmur2_random"})
    written: dict[bytes, int] = {}
    for key in posted:
        other.produce(api.topic, b"{}", key, on_delivery=lambda _, sent: written.update({sent.key(): sent.partition()}))
    assert other.flush(60) == 0

    assert written == posted
    assert len(set(posted.values())) == 3


def test_many_clients_share_one_producer_and_lose_nothing(api: Api) -> None:
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(api.post(sales(n * 1_000, 1_000)).status_code))
        for n in range(12)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert answers == [202] * 12
    assert {json.loads(message.value)["transaction_id"] for message in api.messages()} == set(range(12_000))


def test_of_a_refused_post_nothing_is_on_the_topic(api: Api) -> None:
    records = sales(0, 200)
    records[150]["year"] = 1
    assert api.post(records).status_code == 400
    assert api.post(sales(0, 1)).status_code == 202

    assert [json.loads(message.value)["transaction_id"] for message in api.messages()] == [0]


def test_without_kafka_a_post_is_answered_in_bounded_time(nobody: str) -> None:
    with serve(Courier(nobody, "cars", patience=1.0)) as url:
        answer = requests.post(f"{url}/api/logs", data=json.dumps(sales(0, 3)), timeout=60)
        health = requests.get(f"{url}/healthz", timeout=60)
        live = requests.get(f"{url}/livez", timeout=60)

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json()["detail"].startswith(f"Kafka at {nobody} did not answer in time")
    assert (health.status_code, health.json()["status"]) == (503, "degraded")
    assert live.status_code == 200


def test_a_topic_that_does_not_exist_is_for_a_person_to_mend(kafka_settings: Kafka, unique: str) -> None:
    with Courier(kafka_settings.bootstrap_servers, unique, patience=5.0) as courier:
        with pytest.raises(Fatal, match="has no such topic while looking up"):
            courier.check(30.0)
        with pytest.raises(Fatal, match="has no such topic while looking up"):
            courier.send([b"{}"], [b"key"])


def test_a_post_that_is_under_way_when_kafka_stops_is_acknowledged_once_it_is_back(api: Api, stack: Any) -> None:
    assert api.post(sales(0, 10)).status_code == 202
    stack.stop("kafka")
    restart = threading.Timer(3.0, stack.start, ["kafka"])
    restart.start()
    try:
        answer = api.post(sales(10, 10))
    finally:
        restart.join()

    assert answer.status_code == 202
    assert sorted(json.loads(message.value)["transaction_id"] for message in api.messages()) == list(range(20))


def test_nothing_to_send_needs_no_kafka(nobody: str) -> None:
    with Courier(nobody, "cars", patience=1.0) as courier:
        courier.send([], [])
        with pytest.raises(Retry):
            courier.send([b"{}"], [b"key"])
