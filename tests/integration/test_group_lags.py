"""The lags of all consumer groups, and the program that exports them, against the real broker."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import requests
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from penstock.core.errors import Retry
from penstock.core.settings import PROJECT, Kafka
from penstock.kafka.group_lags import GroupLags, PartitionLag
from penstock.kafka.progress import Progress
from penstock.kafka.topics import Topic, ensure
from penstock.stack.layout import free_ports
from tests.services import eventually

pytestmark = pytest.mark.integration


@pytest.fixture
def servers(kafka_settings: Kafka) -> str:
    return kafka_settings.bootstrap_servers


@pytest.fixture
def topic(servers: str, unique: str) -> str:
    """Two partitions, the first with five records."""
    ensure(servers, [Topic(unique, 2)])
    producer = Producer({"bootstrap.servers": servers})
    for number in range(5):
        producer.produce(unique, str(number), partition=0)
    assert producer.flush(30) == 0
    return unique


def commit(servers: str, group: str, *offsets: TopicPartition) -> None:
    consumer = Consumer({"bootstrap.servers": servers, "group.id": group})
    consumer.commit(offsets=list(offsets), asynchronous=False)
    consumer.close()


def delete(servers: str, group: str) -> None:
    admin = AdminClient({"bootstrap.servers": servers})
    admin.delete_consumer_groups([group])[group].result()


def of_group(servers: str, group: str) -> list[PartitionLag]:
    return [each for each in GroupLags(servers).measure().partitions if each.group == group]


def test_a_group_is_behind_by_what_it_has_not_committed(servers: str, topic: str) -> None:
    commit(servers, topic, TopicPartition(topic, 0, 2), TopicPartition(topic, 1, 0))
    assert of_group(servers, topic) == [PartitionLag(topic, topic, 0, 2, 5), PartitionLag(topic, topic, 1, 0, 0)]
    assert [each.lag for each in of_group(servers, topic)] == [3, 0]
    delete(servers, topic)
    assert of_group(servers, topic) == []


def test_a_group_that_tells_how_far_it_has_come_is_measured_by_that(servers: str, topic: str) -> None:
    """It starts anew from its oldest open minute, but has taken more than that."""
    commit(servers, topic, TopicPartition(topic, 0, 1, Progress(1, 4).metadata()))
    assert [each.lag for each in of_group(servers, topic)] == [1]
    delete(servers, topic)


def test_a_group_of_a_topic_that_is_gone_hides_no_other(servers: str, topic: str) -> None:
    gone, other = f"{topic}-gone", f"{topic}-other"
    ensure(servers, [Topic(gone, 1)])
    commit(servers, gone, TopicPartition(gone, 0, 0))
    commit(servers, other, TopicPartition(topic, 0, 5))
    admin = AdminClient({"bootstrap.servers": servers})
    admin.delete_topics([gone], operation_timeout=30)[gone].result()
    assert [each.lag for each in of_group(servers, other)] == [0]
    delete(servers, other)


def test_a_broker_that_is_away_is_to_be_tried_again() -> None:
    with pytest.raises(Retry):
        GroupLags("127.0.0.1:1", timeout=0.5).measure()


@pytest.fixture
def exporter(servers: str) -> Iterator[Callable[[], str]]:
    """The program, measuring once a second; gives its metrics, nothing while it does not answer."""
    (port,) = free_ports(1)
    environment = os.environ | {"LAG_SECONDS": "1", "PYTHONPATH": f"{PROJECT}/plugins:{PROJECT}"}
    command = [sys.executable, "-m", "apps.kafka_lag_exporter", "--port", str(port)]
    child = subprocess.Popen(command, env=environment, cwd=PROJECT)

    def ask() -> str:
        try:
            return requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
        except requests.ConnectionError:
            return ""

    yield ask
    child.terminate()
    assert child.wait(30) == 0


def test_the_program_tells_a_groups_lag_until_the_group_vanishes(
    servers: str, topic: str, exporter: Callable[[], str]
) -> None:
    commit(servers, topic, TopicPartition(topic, 0, 2))
    line = f'kafka_consumergroup_lag_sum{{group="{topic}",topic="{topic}"}} 3.0'
    eventually(lambda: line in exporter())
    delete(servers, topic)
    eventually(lambda: (text := exporter()) and "kafka_lag_exporter_kafka_up 1.0" in text and topic not in text)
