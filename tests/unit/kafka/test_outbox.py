"""Counting acknowledgements, with a producer whose broker does what a test wants."""

import time
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException

from penstock.core.counts import OffsetRange
from penstock.core.errors import Fatal, Reject, Retry
from penstock.kafka.client import Connection
from penstock.kafka.outbox import Outbox


class Delivered:
    def __init__(self, partition, offset):
        self.partition = lambda: partition
        self.offset = lambda: offset


class FakeProducer:
    """Keeps what is produced until `poll`, which reports it with the next of `reports`."""

    def __init__(self, room=1000):
        self.room = room
        self.queue = []
        self.reports = []
        self.offset = 0
        self.refuse = None

    def __len__(self):
        return len(self.queue)

    def list_topics(self, topic, _seconds):
        return SimpleNamespace(topics={topic: SimpleNamespace(error=None, partitions={0: None})})

    def produce(self, _topic, value, _key, _partition=-1, callback=None, on_delivery=None, timestamp=0, headers=None):
        if self.refuse and value == self.refuse[0]:
            raise KafkaException(KafkaError(self.refuse[1]))
        if len(self.queue) == self.room:
            raise BufferError
        self.queue.append(callback or on_delivery)

    def poll(self, _seconds):
        for report in self.queue:
            error, message = self.reports.pop(0) if self.reports else (None, Delivered(0, self.offset))
            self.offset += 1
            if report and message != "lost":
                report(error, message)
        self.queue.clear()


@pytest.fixture
def producer():
    return FakeProducer()


@pytest.fixture
def outbox(producer):
    return Outbox(Connection("broker.example:9092", None, time.monotonic() + 10), producer, "topic")


def send_all(outbox, *values):
    return outbox.send_all(values, [b"key"] * len(values), [1] * len(values), [])


def test_each_acknowledgement_is_counted(outbox):
    assert send_all(outbox, b"a", b"b", b"c") == {}
    outbox.send(b"d", b"key", 1, [])
    outbox.settle()
    assert (outbox.sent, outbox.acked) == (4, 4)
    assert outbox.ranges() == (OffsetRange(0, 0, 4),)


def test_ranges_span_what_was_acknowledged_in_each_partition(outbox, producer):
    producer.reports = [(None, Delivered(*where)) for where in [(2, 7), (0, 100), (2, 9), (0, 101)]]
    send_all(outbox, b"a", b"b", b"c", b"d")
    assert outbox.ranges() == (OffsetRange(0, 100, 102), OffsetRange(2, 7, 10))


def test_a_full_queue_is_waited_for(outbox, producer):
    producer.room = 2
    send_all(outbox, *[b"a"] * 9)
    outbox.settle()
    assert (outbox.sent, outbox.acked) == (9, 9)


def test_a_report_that_never_comes_is_not_taken_for_an_acknowledgement(outbox, producer):
    producer.reports = [(None, Delivered(0, 0)), (None, "lost")]
    send_all(outbox, b"a", b"b")
    with pytest.raises(Retry, match="acknowledged 1 of 2 records of topic"):
        outbox.settle()


def test_a_delivery_that_failed_is_raised(outbox, producer):
    producer.reports = [(KafkaError(KafkaError._MSG_TIMED_OUT), Delivered(0, -1))]
    with pytest.raises(Retry, match="is it running"):
        send_all(outbox, b"a", b"b")


def test_the_cause_is_raised_not_what_follows_from_it(outbox, producer):
    codes = (KafkaError._INVALID_DIFFERENT_RECORD, KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError._PURGE_QUEUE)
    producer.reports = [(KafkaError(code), Delivered(0, -1)) for code in codes]
    with pytest.raises(Fatal, match="does not allow this user"):
        send_all(outbox, b"a", b"b", b"c")


def test_an_acknowledgement_without_an_offset_is_no_range(outbox, producer):
    producer.reports = [(None, Delivered(0, -1001))]
    send_all(outbox, b"a", b"b")
    with pytest.raises(Retry, match="without offsets"):
        outbox.ranges()


def test_a_record_too_large_is_refused_alone(outbox, producer):
    producer.refuse = (b"huge", KafkaError.MSG_SIZE_TOO_LARGE)
    refused = send_all(outbox, b"a", b"huge", b"b")
    assert {position: str(reject) for position, reject in refused.items()} == {
        1: "its 4 bytes are more than message.max.bytes lets through"
    }
    outbox.settle()
    assert (outbox.sent, outbox.acked) == (2, 2)
    with pytest.raises(Reject):
        outbox.send(b"huge", b"key", 1, [])


def test_a_producer_that_broke_is_explained(outbox, producer):
    producer.refuse = (b"any", KafkaError._STATE)
    with pytest.raises(Fatal, match="writing to topic"):
        send_all(outbox, b"any")
