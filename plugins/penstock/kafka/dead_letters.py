"""Records that broke their contract, kept with the reason, to be listed, mended and replayed."""

from __future__ import annotations

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from confluent_kafka import Producer

from penstock.core import settings
from penstock.core.counts import OffsetRange
from penstock.core.errors import Fatal
from penstock.kafka import headers
from penstock.kafka.client import Connection
from penstock.kafka.outbox import Headers, Outbox
from penstock.kafka.reader import Message, extent
from penstock.kafka.reader import read as read_messages

_VALUE_LIMIT = 900_000
"""Bytes of a value that are kept: a message may have 1,000,000 by librdkafka's default, headers included."""

_REASON_LIMIT = 1_000
"""Characters of a reason: it may quote the value that was wrong."""

_NOW = 0
"""The timestamp that librdkafka replaces by the clock's: a letter's age counts from when it was written."""

_NEAR = 1_000
"""Offsets this close are read in one go: skipping what lies between costs less than another fetch."""


@dataclass(frozen=True, order=True)
class Origin:
    """Where a record lies on its topic."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}@{self.offset}"


@dataclass(frozen=True)
class DeadLetter:
    """One record that was set aside.

    `value` is the bytes as they lie on the topic, or the record as JSON where it never got there: `origin` is None
    then. A record that no batch claims has no `batch_id` and no `as_of`.
    """

    reason: str
    value: bytes
    batch_id: str | None
    as_of: datetime | None
    origin: Origin | None = None

    @classmethod
    def of_record(cls, record: Any, reason: str, batch_id: str, as_of: datetime) -> DeadLetter:
        """A record, or what should be one, that never reached its topic.

        NaN stays NaN, so that `json.loads` gives it back.
        """
        value = json.dumps(record, default=str, separators=(",", ":"), sort_keys=True)
        return cls(reason, value.encode(), batch_id, as_of)

    @classmethod
    def of_message(cls, message: Message, reason: str) -> DeadLetter:
        """A record that lies on its topic, of whatever batch its headers name."""
        return cls(
            reason=reason,
            value=message.value or b"",
            batch_id=message.batch_id,
            as_of=_readable_time(message.headers),
            origin=Origin(message.topic, message.partition, message.offset),
        )

    @classmethod
    def parse(cls, message: Message) -> DeadLetter:
        """Read what lies on a dead-letter topic. Raises Fatal where that is no dead letter."""
        reason = headers.text(message.headers, headers.REASON)
        if reason is None:
            where = Origin(message.topic, message.partition, message.offset)
            raise Fatal(f"{where} has no header {headers.REASON}: only Penstock may write to a dead-letter topic")
        return cls(
            reason=reason,
            value=message.value or b"",
            batch_id=message.batch_id,
            as_of=headers.time(message.headers),
            origin=_origin(message.headers),
        )

    @property
    def id(self) -> str:
        """What names this record for good: set aside twice, by a repeated attempt or landing, it has the same."""
        return str(self.origin) if self.origin else f"{self.batch_id}#{hashlib.sha256(self.value).hexdigest()[:16]}"

    def send(self, outbox: Outbox) -> None:
        """Hand it over. Its id is the key, so that a compacted dead-letter topic keeps one of each."""
        outbox.send(self.value[:_VALUE_LIMIT], self.id.encode(), _NOW, self._headers())

    def _headers(self) -> Headers:
        reason = self.reason[:_REASON_LIMIT]
        if len(self.value) > _VALUE_LIMIT:
            reason += f" (the value is cut: it had {len(self.value)} bytes)"
        found = {headers.REASON: reason, headers.BATCH_ID: self.batch_id}
        if self.as_of:
            found[headers.AS_OF] = headers.stamp(self.as_of)
        if self.origin:
            found[headers.SOURCE_TOPIC] = self.origin.topic
            found[headers.SOURCE_PARTITION] = str(self.origin.partition)
            found[headers.SOURCE_OFFSET] = str(self.origin.offset)
        return [(name, value.encode(errors="backslashreplace")) for name, value in found.items() if value is not None]


@dataclass(frozen=True)
class Rejected:
    """A record on a topic that landing refused, and why."""

    topic: str
    partition: int
    offset: int
    reason: str


def forward(
    kafka: settings.Kafka,
    dead_letter_topic: str,
    rejects: Iterable[Rejected],
    *,
    deadline: float,
    config: Mapping[str, str] | None = None,
) -> int:
    """Copy `rejects`, byte for byte, from where they lie to `dead_letter_topic`; return how many were acknowledged.

    `deadline` is an instant of time.monotonic(). Raises Retry or Fatal unless every one of them was acknowledged by
    all replicas. Repeating it after an error, or with a repeated landing, writes letters of the same ids again.
    """
    reasons = {Origin(each.topic, each.partition, each.offset): each.reason for each in rejects}
    if not reasons:
        return 0
    connection = Connection(kafka.bootstrap_servers, config, deadline)
    outbox = Outbox(connection, _producer(connection), dead_letter_topic)
    for topic, ranges in _ranges(reasons).items():
        for message in read_messages(kafka, topic, ranges, timeout=connection.left, config=config):
            reason = reasons.pop(Origin(topic, message.partition, message.offset), None)
            if reason is not None:
                DeadLetter.of_message(message, reason).send(outbox)
    if reasons:
        raise Fatal(
            f"{len(reasons)} rejected records are not on their topic any more, the first {min(reasons)}: "
            "run the batch again"
        )
    outbox.settle()
    return outbox.acked


class LetterBox:
    """Sends letters as they come up, over one connection; not for several threads."""

    def __init__(self, kafka: settings.Kafka, dead_letter_topic: str, config: Mapping[str, str] | None = None) -> None:
        """`config` holds further client settings."""
        self._kafka = kafka
        self._topic = dead_letter_topic
        self._config = config
        self._opened: tuple[Connection, Outbox] | None = None

    def send(self, letters: Iterable[DeadLetter], *, timeout: float) -> None:
        """Send `letters`, and wait up to `timeout` seconds until all replicas have them.

        Raises Retry or Fatal where one was not acknowledged. Then all are to be sent again: they keep their ids.
        """
        wanted = list(letters)
        if not wanted:
            return
        try:
            outbox = self._open(timeout)
            for each in wanted:
                each.send(outbox)
            outbox.settle()
        except BaseException:
            self._opened = None  # what is still in its queue is dropped with it
            raise

    def _open(self, timeout: float) -> Outbox:
        if self._opened is None:
            connection = Connection(self._kafka.bootstrap_servers, self._config, time.monotonic() + timeout)
            self._opened = connection, Outbox(connection, _producer(connection), self._topic)
        connection, outbox = self._opened
        connection.deadline = time.monotonic() + timeout
        return outbox


def read(
    kafka: settings.Kafka,
    dead_letter_topic: str,
    batch_id: str | None = None,
    *,
    timeout: float = 30.0,
    config: Mapping[str, str] | None = None,
) -> Iterator[DeadLetter]:
    """Yield what the topic holds now, of one batch or of all. A letter written twice comes twice, with one `id`.

    Raises as `reader.read` does.
    """
    everything = extent(kafka, dead_letter_topic, timeout=timeout, config=config)
    for message in read_messages(kafka, dead_letter_topic, everything, batch_id, timeout=timeout, config=config):
        yield DeadLetter.parse(message)


def read_at(
    kafka: settings.Kafka,
    dead_letter_topic: str,
    partition: int,
    offset: int,
    *,
    timeout: float = 30.0,
    config: Mapping[str, str] | None = None,
) -> DeadLetter:
    """The letter at one offset. Raises Retry where Kafka is away, Fatal where the letter is there no more."""
    where = Origin(dead_letter_topic, partition, offset)
    wanted = [OffsetRange(partition, offset, offset + 1)]
    for message in read_messages(kafka, dead_letter_topic, wanted, timeout=timeout, config=config):
        return letter_in(message)
    raise Fatal(f"there is no dead letter at {where} any more: it has expired, or the topic was made anew")


def letter_in(message: Message) -> DeadLetter:
    """What lies on a dead-letter topic, be it a letter or what somebody else has put there."""
    try:
        return DeadLetter.parse(message)
    except Fatal as error:
        return DeadLetter(str(error), message.value or b"", None, None)


def _readable_time(found: Mapping[str, bytes]) -> datetime | None:
    """The as-of time in the headers of a record, or None where it is none: that may be why it was set aside."""
    try:
        return headers.time(found)
    except Fatal:
        return None


def _producer(connection: Connection) -> Producer:
    required = {
        "enable.idempotence": True,
        "acks": "all",
        "allow.auto.create.topics": False,
        "message.timeout.ms": int(connection.left * 1000) + 1,
    }
    return connection.open(Producer, {"compression.type": "lz4"}, required)


def _origin(found: Mapping[str, bytes]) -> Origin | None:
    topic = headers.text(found, headers.SOURCE_TOPIC)
    partition, offset = (headers.text(found, name) for name in (headers.SOURCE_PARTITION, headers.SOURCE_OFFSET))
    if topic is None or partition is None or offset is None:
        return None
    return Origin(topic, int(partition), int(offset))


def _ranges(origins: Iterable[Origin]) -> dict[str, list[OffsetRange]]:
    """The fewest ranges of each topic that hold all `origins`, without long stretches between them."""
    ranges: dict[str, list[OffsetRange]] = defaultdict(list)
    for each in sorted(origins):
        found = ranges[each.topic]
        if found and found[-1].partition == each.partition and each.offset - found[-1].end < _NEAR:
            found[-1] = OffsetRange(each.partition, found[-1].start, each.offset + 1)
        else:
            found.append(OffsetRange(each.partition, each.offset, each.offset + 1))
    return ranges
