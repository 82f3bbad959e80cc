"""Dead letters onto their topic again: each once, however often it is tried and wherever a try was killed.

A transactional id fences an attempt that still runs somewhere. Whoever repeats an attempt looks for what it may have
committed: each record carries its letter's name, and the caller has noted where the topic ended before it was sent.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from confluent_kafka import IsolationLevel, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from penstock.core import settings
from penstock.core.counts import OffsetRange
from penstock.kafka import headers
from penstock.kafka.client import Connection
from penstock.kafka.outbox import Headers, Outbox
from penstock.kafka.produce import transaction
from penstock.kafka.reader import Message, extent, read

_LATEST: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Resent:
    """A record that goes on its topic again for the dead letter `letter`; `timestamp` is in ms since the epoch.

    One that no batch claims has neither `batch_id` nor `as_of`.
    """

    letter: str
    value: bytes
    key: bytes
    timestamp: int
    batch_id: str | None = None
    as_of: datetime | None = None

    def headers(self) -> Headers:
        """Its batch's, and the letter's name."""
        attempt = headers.attempt(self.batch_id, self.as_of) if self.batch_id and self.as_of else []
        return [*attempt, (headers.REPLAY_OF, self.letter.encode(errors="backslashreplace"))]


class Sender(AbstractContextManager["Sender"]):
    """One transaction onto one topic; entering it ends every other attempt under the same `name`.

    `deadline` is an instant of time.monotonic(). All raise Retry where the broker is away, Fatal where it refuses or
    another attempt took over; up to `commit`, nothing is visible then.
    """

    def __init__(self, kafka: settings.Kafka, topic: str, name: str, deadline: float) -> None:
        self._kafka = kafka
        self._topic = topic
        self._connection = Connection(kafka.bootstrap_servers, None, deadline)
        self._transaction = transaction(self._connection, f"penstock.replay.{name}")
        self._producer: Producer | None = None
        self._open = False

    def __enter__(self) -> Self:
        self._producer = self._transaction.__enter__()
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self._open = False
            self._transaction.__exit__(kind, error, trace)

    def ends(self) -> dict[int, int]:
        """{partition: one past the last offset}, what is not committed included."""
        partitions = self._connection.topic(self._producer_of(), self._topic).partitions
        admin = self._connection.open(AdminClient)
        asked = {TopicPartition(self._topic, each): _LATEST for each in partitions}

        def ask(seconds: float) -> dict[int, int]:
            found = admin.list_offsets(
                asked, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=max(seconds, 1.0)
            )
            return {each.partition: future.result().offset for each, future in found.items()}

        return self._connection.wait(f"looking up the offsets of {self._topic}", ask, admin.poll)

    def send(self, records: Iterable[Resent]) -> None:
        """Hand the records over, and wait until all are acknowledged."""
        outbox = Outbox(self._connection, self._producer_of(), self._topic)
        for each in records:
            outbox.send(each.value, each.key, each.timestamp, each.headers())
        outbox.settle()

    def commit(self) -> None:
        """Make what was sent visible. After an error, it may be or not: `find` tells."""
        self._open = False
        self._transaction.__exit__(None, None, None)

    def _producer_of(self) -> Producer:
        if self._producer is None:
            raise RuntimeError("enter it first")
        return self._producer

    def find(self, letters: Mapping[str, Mapping[int, int]], ends: Mapping[int, int]) -> dict[str, Message]:
        """{letter: its record}, of those that are on the topic.

        `letters` is {letter: {partition: where the topic ended before it was sent}}, `ends` where it ends now. Raises
        Retry where somebody's unfinished transaction hides a part of that.
        """
        found: dict[str, Message] = {}
        if not letters:
            return found
        for message in self._since(list(letters.values()), ends):
            name = headers.text(message.headers, headers.REPLAY_OF)
            before = letters.get(name or "")
            if name and before is not None and message.offset >= before.get(message.partition, 0):
                found.setdefault(name, message)
        return found

    def _since(self, begins: Sequence[Mapping[int, int]], ends: Mapping[int, int]) -> Iterator[Message]:
        left = max(1.0, self._connection.deadline - time.monotonic())
        ranges = []
        for each in extent(self._kafka, self._topic, timeout=left):
            first = min(begin.get(each.partition, 0) for begin in begins)
            ranges.append(OffsetRange(each.partition, max(first, each.start), ends.get(each.partition, each.end)))
        return read(self._kafka, self._topic, [each for each in ranges if each.start < each.end], timeout=left)
