"""How far a consumer group is: the committed records of a topic that it has, and has not yet, taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from threading import Lock
from typing import Any, TypeVar

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from penstock.core.counts import OffsetRange
from penstock.core.errors import Retry
from penstock.core.settings import Kafka
from penstock.kafka.client import Connection, explain
from penstock.kafka.group_offsets import GroupOffsets
from penstock.kafka.reader import read

_TIMEOUT_SECONDS = 5.0
_EARLIEST: Any = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]

Answer = TypeVar("Answer")


class Lag:
    """Measures, and for who keeps its progress elsewhere commits, by clients that are kept. Threads may share it."""

    def __init__(self, kafka: Kafka, config: Mapping[str, str] | None = None) -> None:
        """`config` holds further client settings."""
        self._kafka = kafka
        self._config = config
        self._admin = self._new_admin()
        self._groups = GroupOffsets(kafka.bootstrap_servers, config, _TIMEOUT_SECONDS)
        self._known: dict[tuple[str, OffsetRange], bool] = {}
        self._turn = Lock()

    def _new_admin(self) -> AdminClient:
        return Connection(self._kafka.bootstrap_servers, self._config, time.monotonic()).open(AdminClient)

    def of(self, group: str, topic: str) -> int:
        """The offsets between those that `group` has committed and the end, 0 where none of them holds a record.

        A group never reaches the end of a topic with transactions, because their markers and aborted records are
        offsets, too. Raises Retry where the broker does not answer or has no such topic yet, Fatal where it refuses.
        """
        behind = self._behind(group, topic)
        if any(self._holds_a_record(topic, each) for each in behind):
            return sum(each.end - each.start for each in behind)
        return 0

    def ends(self, topic: str) -> dict[int, int]:
        """{partition: one past the last offset that can be read now}. Raises as `of` does."""
        return self._offsets(topic, self._partitions(topic), _LATEST)

    def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Commit {partition: offset} for a group without members, whose progress is kept elsewhere.

        Raises as `of` does.
        """
        progress = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
        asked = self._admin.alter_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group, progress)], request_timeout=_TIMEOUT_SECONDS
        )
        try:
            self._answer(f"committing offsets of the group {group}", partial(asked[group].result, _TIMEOUT_SECONDS))
        except Retry:
            # A client that has known a coordinator does not always find it again where it was away for minutes.
            self._admin = self._new_admin()
            raise

    def _behind(self, group: str, topic: str) -> list[OffsetRange]:
        partitions = self._partitions(topic)
        committed = self._committed(group, topic, partitions)
        first = self._offsets(topic, partitions, _EARLIEST)
        end = self._offsets(topic, partitions, _LATEST)
        begin = {each: max(committed.get(each, first[each]), first[each]) for each in partitions}
        return [OffsetRange(each, begin[each], end[each]) for each in partitions if begin[each] < end[each]]

    def _committed(self, group: str, topic: str, partitions: list[int]) -> Mapping[int, int]:
        found = self._groups.committed(group, [(topic, each) for each in partitions])
        return {each.partition: each.offset for each in found}

    def _partitions(self, topic: str) -> list[int]:
        doing = f"looking up the topic {topic}"
        found = self._answer(doing, lambda: self._admin.list_topics(topic, timeout=_TIMEOUT_SECONDS)).topics[topic]
        if found.error is not None:
            raise Retry(f"Kafka at {self._kafka.bootstrap_servers} has no topic {topic} yet")
        return sorted(found.partitions)

    def _offsets(self, topic: str, partitions: list[int], which: Any) -> dict[int, int]:
        asked = self._admin.list_offsets(
            {TopicPartition(topic, each): which for each in partitions},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=_TIMEOUT_SECONDS,
        )
        doing = f"looking up the offsets of {topic}"
        return {
            key.partition: self._answer(doing, partial(future.result, _TIMEOUT_SECONDS)).offset
            for key, future in asked.items()
        }

    def _holds_a_record(self, topic: str, offsets: OffsetRange) -> bool:
        """Reads up to the first one. What it finds stays true, so a range that does not change is read once."""
        with self._turn:
            known = self._known.get((topic, offsets))
        if known is None:
            records = read(self._kafka, topic, [offsets], timeout=_TIMEOUT_SECONDS, config=self._config)
            known = next(records, None) is not None
            with self._turn:
                for key in [key for key in self._known if key[0] == topic and key[1].partition == offsets.partition]:
                    del self._known[key]
                self._known[topic, offsets] = known
        return known

    def progress(self, group: str, topic: str) -> Mapping[int, int]:
        """{partition: offset} of what the group has committed. Raises as `of` does."""
        return self._committed(group, topic, self._partitions(topic))

    def _answer(self, doing: str, ask: Callable[[], Answer]) -> Answer:
        try:
            return ask()
        except KafkaException as error:
            raise explain(error.args[0], self._kafka.bootstrap_servers, doing) from error
        except TimeoutError as error:
            raise Retry(f"Kafka at {self._kafka.bootstrap_servers} did not answer in time while {doing}") from error
