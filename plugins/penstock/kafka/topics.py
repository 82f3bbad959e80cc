"""Topics as they are declared, made so on the broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
    TopicMetadata,
)

from penstock.core.counts import OffsetRange
from penstock.core.errors import Fatal, Retry
from penstock.kafka.client import Connection, explain

Answer = TypeVar("Answer")

_PAUSE_SECONDS = 0.2
_FOREVER = str((1 << 63) - 1)

EVENT_TIMED: Mapping[str, str] = {
    "message.timestamp.after.max.ms": _FOREVER,
    "message.timestamp.before.max.ms": _FOREVER,
    "retention.bytes": str(1 << 30),
    "retention.ms": "-1",
    "segment.ms": _FOREVER,
}
"""What a topic needs whose records carry event times.

Kafka counts by the records' timestamps: with its defaults it refuses a forecast that is more than an hour ahead, a
backfill's records expire as soon as they arrive, and every week of event time opens a segment. These settings keep
records by size instead, at least 1 GiB a partition. https://kafka.apache.org/documentation/#topicconfigs
"""


@dataclass(frozen=True)
class Topic:
    """A topic as it should be. Settings that `config` does not name stay as they are."""

    name: str
    partitions: int
    replication: int = 1
    config: Mapping[str, str] = field(default_factory=lambda: EVENT_TIMED)


def ensure(
    bootstrap_servers: str,
    topics: Iterable[Topic],
    *,
    timeout: float = 30.0,
    config: Mapping[str, str] | None = None,
) -> list[str]:
    """Make the topics so, and return what was changed, one phrase a change: none on a second call.

    A topic with more partitions than asked keeps them: Kafka cannot take one away, and somebody added them. Its
    replication is left alone too. A broker that is away is waited for `timeout` seconds; `config` holds further client
    settings. Raises Retry where it stays away, Fatal where it refuses.
    """
    wanted = list(topics)
    if not wanted:
        return []
    broker = _Broker(Connection(bootstrap_servers, config, time.monotonic() + timeout))
    existing = broker.existing()
    missing = [topic for topic in wanted if topic.name not in existing]
    changes = broker.create(missing)
    for topic in wanted:
        if topic not in missing:
            changes += broker.widen(topic, len(existing[topic.name].partitions))
            changes += broker.configure(topic)
    return changes


_TOO_LATE = object()
"""What somebody else has done meanwhile, wanting the same."""


class _Broker:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._admin = connection.open(AdminClient)

    def existing(self) -> dict[str, TopicMetadata]:
        found = self._connection.wait(
            "listing the topics", lambda seconds: self._admin.list_topics(timeout=seconds), self._admin.poll
        )
        topics: dict[str, TopicMetadata] = found.topics
        return topics

    def create(self, topics: Sequence[Topic]) -> list[str]:
        if not topics:
            return []
        futures = self._admin.create_topics(
            [NewTopic(each.name, each.partitions, each.replication, config=dict(each.config)) for each in topics],
            request_timeout=self._connection.left,
            operation_timeout=self._connection.left,
        )
        return [
            f"created {topic.name} with {topic.partitions} partitions"
            for topic in topics
            if self._done(f"creating the topic {topic.name}", futures[topic.name], but="TOPIC_ALREADY_EXISTS")
            is not _TOO_LATE
        ]

    def widen(self, topic: Topic, partitions: int) -> list[str]:
        if partitions >= topic.partitions:
            return []
        futures = self._admin.create_partitions(
            [NewPartitions(topic.name, topic.partitions)],
            request_timeout=self._connection.left,
            operation_timeout=self._connection.left,
        )
        if self._done(f"widening {topic.name}", futures[topic.name], but="INVALID_PARTITIONS") is _TOO_LATE:
            return []
        return [f"widened {topic.name} from {partitions} to {topic.partitions} partitions"]

    def configure(self, topic: Topic) -> list[str]:
        if not topic.config:
            return []
        resource = ConfigResource(ResourceType.TOPIC, topic.name)
        asked = self._admin.describe_configs([resource], request_timeout=self._connection.left)[resource]
        present = self._done(f"reading the settings of {topic.name}", asked)
        other = {
            name: value for name, value in topic.config.items() if name not in present or present[name].value != value
        }
        if not other:
            return []
        change = ConfigResource(
            ResourceType.TOPIC,
            topic.name,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in other.items()
            ],
        )
        futures = self._admin.incremental_alter_configs([change], request_timeout=self._connection.left)
        self._done(f"changing the settings of {topic.name}", futures[change])
        return [f"set {name}={value} on {topic.name}" for name, value in other.items()]

    def ranges(self, topics: Mapping[str, TopicMetadata]) -> dict[str, list[OffsetRange]]:
        partitions = [TopicPartition(name, each) for name, topic in topics.items() for each in sorted(topic.partitions)]
        starts, ends = (
            self._admin.list_offsets(dict.fromkeys(partitions, spec), request_timeout=self._connection.left)
            for spec in (OffsetSpec.earliest(), OffsetSpec.latest())  # type: ignore[no-untyped-call]
        )
        ranges: dict[str, list[OffsetRange]] = {name: [] for name in topics}
        for each in partitions:
            start, end = (self._done(f"looking up the offsets of {each.topic}", of[each]) for of in (starts, ends))
            ranges[each.topic].append(OffsetRange(each.partition, start.offset, end.offset))
        return ranges

    def _done(self, doing: str, future: Future[Any], but: str | None = None) -> Any:
        """Wait for `future` and return its result, or `_TOO_LATE` where it failed with the error `but`."""
        try:
            return future.result()
        except KafkaException as error:
            if error.args[0].name() == but:
                return _TOO_LATE
            raise explain(error.args[0], self._connection.address, doing) from error


def _once_led(connection: Connection, ask: Callable[[], Answer]) -> Answer:
    """What `ask` returns. A topic that was just made may not have its leaders yet, which passes in a moment."""
    while True:
        try:
            return ask()
        except Retry:
            if connection.left < _PAUSE_SECONDS:
                raise
            time.sleep(_PAUSE_SECONDS)


@dataclass(frozen=True)
class Description:
    """A topic as it is, with the offsets [start, end) that each partition holds."""

    name: str
    ranges: tuple[OffsetRange, ...]

    def __str__(self) -> str:
        partitions = ", ".join(f"{each.partition}: {each.start}..{each.end}" for each in self.ranges)
        return f"{self.name}  {len(self.ranges)} partitions  {partitions}"


def describe(
    bootstrap_servers: str,
    name: str | None = None,
    *,
    timeout: float = 30.0,
    config: Mapping[str, str] | None = None,
) -> list[Description]:
    """The topics of the broker but its internal ones, or the one named. Raises as `ensure` does."""
    connection = Connection(bootstrap_servers, config, time.monotonic() + timeout)
    broker = _Broker(connection)
    existing = broker.existing()
    if name is not None and name not in existing:
        raise Fatal(f"there is no topic {name}; there are {', '.join(sorted(existing))}")
    names = [name] if name else sorted(each for each in existing if not each.startswith("__"))
    ranges = _once_led(connection, lambda: broker.ranges({each: existing[each] for each in names}))
    return [Description(each, tuple(ranges[each])) for each in names]
