"""A member of a consumer group that keeps state for each of its partitions, and commits what it needs to restore it."""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from penstock.core import settings
from penstock.core.errors import Retry
from penstock.kafka.client import Connection, explain, may_pass
from penstock.kafka.progress import Progress

_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

SESSION_SECONDS = 15.0
"""How long the broker waits for a sign of life before it gives a member's partitions to others."""

HEARTBEAT_SECONDS = 3.0

_ANSWER_SECONDS = 10.0
_COMMIT_SECONDS = 8.0
_CLOSE_SECONDS = 12.0
_STATISTICS_MS = 2_000

_REQUIRED = {
    "partition.assignment.strategy": "cooperative-sticky",  # others go on while a partition moves
    "session.timeout.ms": int(SESSION_SECONDS * 1000),
    "heartbeat.interval.ms": int(HEARTBEAT_SECONDS * 1000),
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "earliest",
    "allow.auto.create.topics": False,
    "statistics.interval.ms": _STATISTICS_MS,
}
_DEFAULTS = {
    "queued.max.messages.kbytes": 32 << 10,
    "fetch.wait.max.ms": 100,
    "reconnect.backoff.ms": 100,  # grows, with jitter, up to
    "reconnect.backoff.max.ms": 5_000,
}

# A commit of a member that the group has given up, or that must first take part in a rebalance.
_NOT_A_MEMBER = {
    "FENCED_INSTANCE_ID",
    "FENCED_MEMBER_EPOCH",
    "ILLEGAL_GENERATION",
    "REBALANCE_IN_PROGRESS",
    "STALE_MEMBER_EPOCH",
    "UNKNOWN_MEMBER_ID",
    "_ASSIGNMENT_LOST",
    "_STATE",
}
_PASSING = {"_MAX_POLL_EXCEEDED", "UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_PARTITION"}
"""Errors after which the group or the metadata is asked again."""


@dataclass(frozen=True)
class Assigned:
    """A partition that this member has got: its last commit, None where there is none, and its offsets [begin, end)."""

    partition: int
    progress: Progress | None
    begin: int
    end: int


def _within(seconds: float, call: Callable[[], Answer]) -> Answer:
    """What `call` returns, or raises. librdkafka has calls without a time-out, which wait for a broker for ever.

    Raises TimeoutError after `seconds`; the call goes on then, in a thread that does not keep the process alive.
    """
    future: Future[Answer] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised by whoever waits
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future.result(seconds)


class Batch(NamedTuple):
    """Records in the order of their offsets, and the ends that were reached: {partition: where the next one comes}."""

    records: list[Any]
    ends: Mapping[int, int]


class Owner(Protocol):
    """Who keeps the state. Called from within `Member.poll` and `Member.close` only."""

    def assigned(self, partitions: Sequence[Assigned]) -> Mapping[int, int]:
        """Take these up; returns {partition: the offset to read from}."""
        ...

    def revoked(self, partitions: Iterable[int]) -> None:
        """Give these up; the last chance to commit them."""
        ...

    def lost(self, partitions: Iterable[int]) -> None:
        """Others may have these already: a commit would be refused."""
        ...


class _Nobody:
    """Has no state: what becomes of the partitions of a client that was left to itself does not matter any more."""

    def assigned(self, partitions: Sequence[Assigned]) -> Mapping[int, int]:
        return {each.partition: each.begin for each in partitions}

    def revoked(self, partitions: Iterable[int]) -> None:
        """Nothing to be committed."""

    def lost(self, partitions: Iterable[int]) -> None:
        """Nothing to be forgotten."""


class Member:
    """One member of `group` on `topic`. Not to be shared by threads, `away` excepted.

    Every method raises Retry where the broker fails in a way that may pass, after which a new member is needed, and
    Fatal where it refuses; and whatever the owner raises.
    """

    def __init__(
        self, kafka: settings.Kafka, group: str, topic: str, owner: Owner, config: Mapping[str, str] | None = None
    ) -> None:
        """`config` holds further client settings."""
        self._topic = topic
        self._owner = owner
        self._connection = Connection(kafka.bootstrap_servers, config, math.inf)
        self._consumer = self._connection.open(
            Consumer, _DEFAULTS, {**_REQUIRED, "group.id": group, "stats_cb": self._told}
        )
        self._paused = False
        self.away = True
        """Whether no broker is connected."""
        self._consumer.subscribe([topic], on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lose)

    def poll(self, most: int, seconds: float) -> Batch:
        """Up to `most` records, waiting up to `seconds` for the first."""
        doing = f"reading {self._topic}"
        try:
            messages: list[Any] = self._consumer.consume(most, seconds)
        except KafkaException as failure:
            raise explain(failure.args[0], self._connection.address, doing) from failure
        self._connection.check(doing)
        records, ends = [], {}
        for message in messages:
            if (error := message.error()) is None:
                records.append(message)
            elif error.name() == "_PARTITION_EOF":
                ends[message.partition()] = message.offset()
            else:
                self._heed(error, doing)
        return Batch(records, ends)

    def commit(self, progress: Mapping[int, Progress]) -> bool:
        """Commit, and wait for it: whether the group took it as its member's."""
        if not progress:
            return True
        offsets = [TopicPartition(self._topic, each, at.offset, at.metadata()) for each, at in progress.items()]
        doing = f"committing offsets of {self._topic}"
        try:
            answer = _within(_COMMIT_SECONDS, lambda: self._consumer.commit(offsets=offsets, asynchronous=False))
            errors = [each.error for each in answer or () if each.error]
        except KafkaException as error:
            errors = [error.args[0]]
        except TimeoutError:
            self.away = True
            raise Retry(f"Kafka at {self._connection.address} did not answer in time while {doing}") from None
        for each in errors:
            if each.name() not in _NOT_A_MEMBER:
                raise explain(each, self._connection.address, doing)
            _log.warning("Kafka refuses a commit (%s): the group has gone on without this member", each.name())
        return not errors

    def pause(self) -> None:
        """Let nothing more come, and stay a member: `poll` must still be called."""
        self._paused = True
        self._consumer.pause(self._consumer.assignment())

    def resume(self) -> None:
        """Go on where it stopped."""
        if self._paused:
            self._paused = False
            self._consumer.resume(self._consumer.assignment())

    def end_of(self, partition: int) -> int | None:
        """The partition's end as the last fetch told it."""
        _, end = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)
        return end if end >= 0 else None

    def close(self) -> None:
        """Give all partitions up, by the owner's `revoked`, and leave the group.

        Where Kafka does not answer, the client is left to itself, to leave the group when it can.
        """
        try:
            _within(_CLOSE_SECONDS, self._consumer.close)
        except TimeoutError:
            self._owner = _Nobody()
            _log.warning("Kafka at %s did not answer in time while leaving the group", self._connection.address)

    def _heed(self, error: KafkaError, doing: str) -> None:
        if error.name() in _PASSING:
            raise Retry(f"Kafka at {self._connection.address} failed while {doing}: {error.str()}")
        if not may_pass(error):
            raise explain(error, self._connection.address, doing)

    def _assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if not partitions:
            return
        committed = consumer.committed(partitions, timeout=_ANSWER_SECONDS)
        found = []
        for each in committed:
            if each.error:
                raise KafkaException(each.error)
            progress = Progress.read(each.offset, each.metadata) if each.offset >= 0 else None
            begin, end = consumer.get_watermark_offsets(each, timeout=_ANSWER_SECONDS)
            found.append(Assigned(each.partition, progress, begin, end))
        starts = self._owner.assigned(found)
        consumer.incremental_assign([TopicPartition(self._topic, each, start) for each, start in starts.items()])
        if self._paused:
            self.pause()

    def _revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._owner.revoked([each.partition for each in partitions])

    def _lose(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._owner.lost([each.partition for each in partitions])

    def _told(self, statistics: str) -> None:
        brokers = json.loads(statistics)["brokers"].values()
        self.away = not any(each["state"] == "UP" and each["nodeid"] >= 0 for each in brokers)
