from __future__ import annotations

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from penstock.core.errors import Retry
from penstock.core.settings import Kafka
from penstock.kafka.lag import Lag
from penstock.kafka.reader import extent
from penstock.kafka.topics import Topic, ensure
from tests.services import eventually

pytestmark = pytest.mark.integration


class Written:
    """A topic with transactions on it."""

    def __init__(self, kafka: Kafka, topic: str) -> None:
        self.kafka, self.topic = kafka, topic
        self._producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": topic})
        self._producer.init_transactions(30)

    def transaction(self, records: int, *, abort: bool = False, partition: int = 0) -> None:
        end = self._end(partition) + records + 1
        self.open(records, partition)
        self._producer.abort_transaction(30) if abort else self._producer.commit_transaction(30)
        eventually(lambda: self._end(partition) >= end)  # Kafka writes the marker a little later

    def _end(self, partition: int) -> int:
        return extent(self.kafka, self.topic)[partition].end

    def open(self, records: int, partition: int = 0) -> None:
        """A transaction that is not finished."""
        self._producer.begin_transaction()
        for _ in range(records):
            self._producer.produce(self.topic, b"{}", partition=partition)
        self._producer.flush(30)

    def take(self, offset: int, partition: int = 0) -> None:
        """Commit as the group."""
        consumer = Consumer({"bootstrap.servers": self.kafka.bootstrap_servers, "group.id": self.topic})
        consumer.commit(offsets=[TopicPartition(self.topic, partition, offset)], asynchronous=False)
        consumer.close()


@pytest.fixture
def written(kafka_settings: Kafka, unique: str) -> Written:
    ensure(kafka_settings.bootstrap_servers, [Topic(unique, 2)])
    return Written(kafka_settings, unique)


@pytest.fixture
def lag(kafka_settings: Kafka) -> Lag:
    return Lag(kafka_settings)


def test_an_empty_topic_has_no_lag(written: Written, lag: Lag) -> None:
    assert lag.of(written.topic, written.topic) == 0


def test_a_group_that_has_taken_nothing_is_behind_by_everything(written: Written, lag: Lag) -> None:
    written.transaction(3)
    assert lag.of(written.topic, written.topic) == 4, "three records and the end of their transaction"


def test_markers_and_aborted_records_are_no_lag(written: Written, lag: Lag) -> None:
    written.transaction(3)
    written.take(3)
    assert lag.of(written.topic, written.topic) == 0
    written.transaction(5, abort=True)
    assert lag.of(written.topic, written.topic) == 0
    written.transaction(1)
    assert lag.of(written.topic, written.topic) > 0


def test_a_transaction_that_is_not_finished_is_no_lag(written: Written, lag: Lag) -> None:
    written.open(3)
    assert lag.of(written.topic, written.topic) == 0


def test_every_partition_counts(written: Written, lag: Lag) -> None:
    written.transaction(3)
    written.take(3)
    written.transaction(2, partition=1)
    assert lag.of(written.topic, written.topic) >= 2


def test_a_topic_that_does_not_exist_yet_is_waited_for(lag: Lag, unique: str) -> None:
    with pytest.raises(Retry, match=f"has no topic {unique} yet"):
        lag.of(unique, unique)


def test_a_broker_that_is_away_is_waited_for() -> None:
    with pytest.raises(Retry, match="did not answer in time"):
        Lag(Kafka("127.0.0.1:1", "http://127.0.0.1:1")).of("group", "topic")
