"""Sending to one topic, with every record's acknowledgement counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from penstock.core.counts import OffsetRange
from penstock.core.errors import Reject, Retry
from penstock.kafka.client import Connection, explain

_ANY_PARTITION = -1
_ROOM_SECONDS = 0.1
_POLL_SECONDS = 1.0

_CONSEQUENCES = {"_INVALID_DIFFERENT_RECORD", "_PURGE_INFLIGHT", "_PURGE_QUEUE"}
"""Errors of records that another record's error took along."""

Headers = list[tuple[str, str | bytes | None]]


class Outbox:
    """What is sent to `topic`: how many records, how many of them acknowledged, and at which offsets.

    The producer must be idempotent: then a partition's delivery reports come in the order of its offsets.
    """

    def __init__(self, connection: Connection, producer: Producer, topic: str) -> None:
        """Raises Fatal where the topic does not exist."""
        connection.topic(producer, topic)
        self.sent = 0
        self.acked = 0
        self._connection = connection
        self._producer = producer
        self._topic = topic
        self._doing = f"writing to {topic}"
        self._error: KafkaError | None = None
        self._first: dict[int, int] = {}
        self._last: dict[int, int] = {}

    def send(self, value: bytes, key: bytes, timestamp: int, headers: Headers) -> None:
        """Hand one record over, waiting for room. Raises Reject where it is larger than the producer may send."""
        while True:
            try:
                self._producer.produce(
                    self._topic, value, key, on_delivery=self._report, timestamp=timestamp, headers=headers
                )
            except BufferError:
                self._serve(_ROOM_SECONDS)
            except KafkaException as error:
                reason: KafkaError = error.args[0]
                if reason.name() == "MSG_SIZE_TOO_LARGE":
                    raise Reject(f"its {len(value)} bytes are more than message.max.bytes lets through") from error
                self._serve()  # a fatal error waits there with its cause, which this one does not tell
                raise explain(reason, self._connection.address, self._doing) from error
            else:
                self.sent += 1
                return

    def send_all(
        self, values: Sequence[bytes], keys: Iterable[bytes], timestamps: Iterable[int], headers: Headers
    ) -> dict[int, Reject]:
        """`send` each value with its key and timestamp. Returns the Reject of those refused, by their position."""
        refused = {}
        produce, topic, report = self._producer.produce, self._topic, self._report
        for position, (value, key, timestamp) in enumerate(zip(values, keys, timestamps, strict=True)):
            try:
                # Positional: naming the arguments makes the call half as long again.
                produce(topic, value, key, _ANY_PARTITION, report, None, timestamp, headers)
            except (BufferError, KafkaException):
                try:
                    self.send(value, key, timestamp, headers)
                except Reject as reject:
                    refused[position] = reject
            else:
                self.sent += 1
        self._serve()
        return refused

    def settle(self) -> None:
        """Wait until every record is acknowledged. Raises Retry or Fatal where one is not."""
        while len(self._producer):
            self._serve(_POLL_SECONDS)
        self._serve()
        if self.acked != self.sent:
            raise Retry(
                f"Kafka at {self._connection.address} acknowledged {self.acked} of {self.sent} records of {self._topic}"
            )

    def ranges(self) -> tuple[OffsetRange, ...]:
        """Where the acknowledged records lie.

        Raises Retry where the broker acknowledged a repeated record without its offset, which it may after a failover.
        """
        if any(offset < 0 for offset in (*self._first.values(), *self._last.values())):
            raise Retry(f"Kafka at {self._connection.address} acknowledged records of {self._topic} without offsets")
        return tuple(
            OffsetRange(partition, first, self._last[partition] + 1) for partition, first in sorted(self._first.items())
        )

    def _serve(self, seconds: float = 0.0) -> None:
        self._connection.serve(self._doing, self._producer.poll, seconds)
        if self._error is not None:
            raise explain(self._error, self._connection.address, self._doing)

    def _report(self, error: KafkaError | None, message: Any) -> None:
        if error is not None:
            if self._error is None or self._error.name() in _CONSEQUENCES:
                self._error = error
            return
        partition, offset = message.partition(), message.offset()
        self._first.setdefault(partition, offset)
        self._last[partition] = offset
        self.acked += 1
