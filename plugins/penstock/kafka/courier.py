"""Sending for a server: its threads share one producer, and each waits for its own records."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaError, KafkaException, Producer

from penstock.core.errors import Fatal, Retry
from penstock.kafka.client import explain, may_pass

_log = logging.getLogger(__name__)

_ANY_PARTITION = -1
_NOW = 0
"""The timestamp that librdkafka replaces by the clock's."""

_POLL_SECONDS = 0.2
_ROOM_SECONDS = 0.05
_CRITICAL = 2
_GRACE = 2.0
"""Seconds after which a report that should have come by now will not come."""

LARGEST_VALUE = 900_000
"""Bytes of a value: a message may have 1,000,000 by librdkafka's default, key and headers included."""


class Courier:
    """Sends values to `topic`, each acknowledged by all replicas. Use it as a context manager, from any thread.

    `patience` is the time in seconds for which a broker that is away is waited for.
    """

    def __init__(self, bootstrap_servers: str, topic: str, *, patience: float = 10.0) -> None:
        """Kafka need not be there yet. Raises Fatal where librdkafka does not take the address."""
        self.address = bootstrap_servers
        self.topic = topic
        self.patience = patience
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._given_up = False
        self._producer = self._open()
        self._poller = threading.Thread(target=self._poll, name=f"deliveries to {topic}", daemon=True)

    def __enter__(self) -> Self:
        self._poller.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Wait for what is under way."""
        self._producer.flush(self.patience)
        self._stopping.set()
        self._poller.join()

    def send(self, values: Sequence[bytes], keys: Iterable[bytes]) -> None:
        """Send each value under its key, with the present time, and wait until all are acknowledged.

        Raises Retry where Kafka is away for longer than the patience lasts, Fatal where it refuses. Some of the values
        may be on the topic then.
        """
        if not values:
            return
        deadline = time.monotonic() + self.patience
        delivery = _Delivery(len(values))
        producer = self._usable()
        try:
            for value, key in zip(values, keys, strict=True):
                self._hand_over(producer, value, key, delivery, deadline)
        except KafkaException as error:
            raise explain(error.args[0], self.address, self._doing) from error
        delivery.wait(deadline + _GRACE - time.monotonic())
        if delivery.error is not None:
            if delivery.error.name() == "_MSG_TIMED_OUT":
                self.check()  # where the topic is missing, librdkafka waits for it longer than we do
            raise explain(delivery.error, self.address, self._doing)
        if missing := delivery.missing:
            raise Retry(f"Kafka at {self.address} has not acknowledged {missing} of {len(values)} records in time")

    def check(self, timeout: float = 2.0) -> None:
        """Raise Retry where Kafka does not answer within `timeout` seconds, Fatal where it does not have the topic."""
        doing = f"looking up the topic {self.topic}"
        try:
            found = self._producer.list_topics(self.topic, timeout).topics[self.topic]
        except KafkaException as error:
            raise explain(error.args[0], self.address, doing) from error
        if found.error is not None and not may_pass(found.error):
            raise explain(found.error, self.address, doing)

    @property
    def _doing(self) -> str:
        return f"writing to {self.topic}"

    def _open(self) -> Producer:
        """An idempotent producer: a value that it sends again is not there twice, and the order stays."""
        try:
            return Producer(
                {
                    "bootstrap.servers": self.address,
                    "enable.idempotence": True,
                    "acks": "all",
                    "allow.auto.create.topics": False,
                    "compression.type": "lz4",
                    "linger.ms": 5,
                    "partitioner": "murmur2_random",  # as everybody here, so that a key has one partition
                    "message.timeout.ms": int(self.patience * 1000),
                    "queue.buffering.max.messages": 500_000,
                    "queue.buffering.max.kbytes": 128 << 10,
                    "logger": _log,
                    "log_level": _CRITICAL,
                    "error_cb": self._noted,
                }
            )
        except KafkaException as error:
            raise Fatal(f"the settings of the Kafka client are wrong: {error.args[0].str()}") from error

    def _usable(self) -> Producer:
        """The producer, or a new one in the place of one that librdkafka has given up."""
        with self._lock:
            if self._given_up:
                self._producer, self._given_up = self._open(), False
            return self._producer

    def _hand_over(self, producer: Producer, value: bytes, key: bytes, delivery: _Delivery, deadline: float) -> None:
        while True:
            try:
                producer.produce(self.topic, value, key, _ANY_PARTITION, delivery.report, None, _NOW)
            except BufferError:
                if time.monotonic() > deadline:
                    raise Retry(f"Kafka at {self.address} takes records more slowly than they come") from None
                producer.poll(_ROOM_SECONDS)
            else:
                return

    def _poll(self) -> None:
        """Have delivery reports delivered, until the courier is closed."""
        while not self._stopping.is_set():
            try:
                self._producer.poll(_POLL_SECONDS)
            except KafkaException as error:
                _log.error("the producer failed: %s", error)

    def _noted(self, error: KafkaError) -> None:
        if error.fatal():
            self._given_up = True
        _log.warning("Kafka at %s: %s", self.address, error.str())


class _Delivery:
    """The values of one call that are not acknowledged yet, and the first error. Reports may come in any thread."""

    def __init__(self, values: int) -> None:
        self.missing = values
        self.error: KafkaError | None = None
        self._unreported = values
        self._lock = threading.Lock()
        self._done = threading.Event()

    def report(self, error: KafkaError | None, _message: object) -> None:
        """Note what became of one value."""
        with self._lock:
            if error is None:
                self.missing -= 1
            else:
                self.error = self.error or error
            self._unreported -= 1
            if not self._unreported:
                self._done.set()

    def wait(self, seconds: float) -> None:
        """Return once every value is reported, or after `seconds`."""
        self._done.wait(max(0.0, seconds))
