"""Reads offset ranges of a topic once and stops: what verification and tests trust, apart from Spark."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from penstock.core import settings
from penstock.core.counts import OffsetRange
from penstock.core.errors import Fatal, Retry
from penstock.kafka import headers
from penstock.kafka.client import Connection, explain

_POLL_SECONDS = 0.1
_POLL_RECORDS = 500

_DEFAULTS = {
    "group.id": "penstock-reader",  # required by the client; nothing is ever committed to it
    "queued.max.messages.kbytes": 16 << 10,
    "fetch.queue.backoff.ms": 50,  # how long it pauses once that much is queued
    "fetch.wait.max.ms": 50,  # how long the broker waits for more before it says that this was the end
}
_REQUIRED = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
}


@dataclass(frozen=True, slots=True)
class Message:
    """One record of a topic as it lies there. `timestamp` is in ms since the epoch."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes]

    @property
    def batch_id(self) -> str | None:
        """The batch it belongs to, or None where another program wrote it."""
        return headers.text(self.headers, headers.BATCH_ID)


def read(
    kafka: settings.Kafka,
    topic: str,
    ranges: Iterable[OffsetRange],
    batch_id: str | None = None,
    *,
    timeout: float = 30.0,
    config: Mapping[str, str] | None = None,
) -> Iterator[Message]:
    """Yield the committed records of `ranges`, one range after the other, only those of `batch_id` where it is given.

    `config` holds further settings of the consumer. Raises Retry where nothing comes for `timeout` seconds before a
    range ends, Fatal where offsets of it are no longer kept or the broker refuses.
    """
    wanted = list(ranges)
    if not wanted:
        return
    connection = Connection(kafka.bootstrap_servers, config, time.monotonic() + timeout)
    consumer = connection.open(Consumer, _DEFAULTS, _REQUIRED)
    try:
        for each in wanted:
            for message in _committed(consumer, connection, topic, each, timeout):
                if batch_id is None or message.batch_id == batch_id:
                    yield message
    finally:
        consumer.close()


def extent(
    kafka: settings.Kafka, topic: str, *, timeout: float = 30.0, config: Mapping[str, str] | None = None
) -> tuple[OffsetRange, ...]:
    """What can be read of the topic now, partition by partition: up to the first unfinished transaction.

    Raises as `read` does.
    """
    connection = Connection(kafka.bootstrap_servers, config, time.monotonic() + timeout)
    consumer = connection.open(Consumer, _DEFAULTS, _REQUIRED)
    doing, poll = f"looking up the offsets of {topic}", consumer.poll
    try:
        found = connection.topic(consumer, topic).partitions
        partitions = [TopicPartition(topic, partition) for partition in sorted(found)]
        return tuple(
            OffsetRange(each.partition, *connection.wait(doing, partial(consumer.get_watermark_offsets, each), poll))
            for each in partitions
        )
    finally:
        consumer.close()


def since(kafka: settings.Kafka, topic: str, at: datetime, *, timeout: float = 30.0) -> tuple[OffsetRange, ...]:
    """The ranges from the first record with a timestamp at or after `at` to what can be read now, by partition.

    Raises as `read` does.
    """
    whole = extent(kafka, topic, timeout=timeout)
    connection = Connection(kafka.bootstrap_servers, None, time.monotonic() + timeout)
    consumer = connection.open(Consumer, _DEFAULTS, _REQUIRED)
    try:
        asked = [TopicPartition(topic, each.partition, int(at.timestamp() * 1000)) for each in whole]
        doing = f"looking up the offsets of {topic} at {at:%Y-%m-%dT%H:%M:%SZ}"
        found = connection.wait(doing, partial(consumer.offsets_for_times, asked), consumer.poll)
    finally:
        consumer.close()
    begins = {each.partition: each.offset for each in found}
    # A negative offset stands for the end: there is no record that late.
    return tuple(
        OffsetRange(each.partition, begins[each.partition] if begins[each.partition] >= 0 else each.end, each.end)
        for each in whole
    )


def _committed(
    consumer: Consumer, connection: Connection, topic: str, wanted: OffsetRange, timeout: float
) -> Iterator[Message]:
    """The range's records. Its end may hold none (aborted ones, a marker): the partition's end then tells."""
    if wanted.end <= wanted.start:
        return
    consumer.assign([TopicPartition(topic, wanted.partition, wanted.start)])
    connection.deadline = time.monotonic() + timeout
    readable = wanted.start
    while True:
        messages: list[Any] = consumer.consume(_POLL_RECORDS, _POLL_SECONDS)
        for message in messages:
            if error := message.error():
                readable = _partition_end(message, error, connection, wanted)
            else:
                readable = message.offset() + 1
                if message.offset() < wanted.end:
                    yield message_of(message)
            if readable >= wanted.end:
                return
        if messages:
            connection.deadline = time.monotonic() + timeout
        elif not connection.left:
            raise Retry(
                f"{topic}-{wanted.partition} is readable up to offset {readable}, not {wanted.end}: Kafka at "
                f"{connection.address} is away, or an unfinished transaction holds the rest back"
            )
        else:
            connection.check(f"reading {topic}")


def _partition_end(message: Any, error: KafkaError, connection: Connection, wanted: OffsetRange) -> int:
    """The offset up to which the partition is readable now, where that is what `error` says."""
    topic, partition = message.topic(), message.partition()
    if error.name() == "_PARTITION_EOF":
        return int(message.offset())
    if error.name() == "_AUTO_OFFSET_RESET":
        raise Fatal(
            f"{topic}-{partition} does not hold offset {wanted.start} any more: the records expired, or the topic was "
            "made anew; run the batch again"
        )
    raise explain(error, connection.address, f"reading {topic}")


def message_of(raw: Any) -> Message:
    """A record as the client gave it, which must be no error."""
    return Message(
        topic=raw.topic(),
        partition=raw.partition(),
        offset=raw.offset(),
        timestamp=raw.timestamp()[1],
        key=raw.key(),
        value=raw.value(),
        headers=dict(raw.headers() or ()),
    )
