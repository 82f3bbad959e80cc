"""How far every consumer group of the cluster is behind, partition by partition."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from penstock.core.errors import Fatal, Retry
from penstock.kafka.client import Connection, explain
from penstock.kafka.group_offsets import GroupOffsets
from penstock.kafka.progress import Progress

_AT_ONCE = 16
_UNLISTED = "the groups of another broker"
_LATEST: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class PartitionLag:
    """A group on a partition: the next record it takes, and the partition's end, both as offsets.

    `closed_before` is up to when its minutes are closed, in ms since the epoch, where it counts minutes and says so.
    """

    group: str
    topic: str
    partition: int
    current: int
    end: int
    closed_before: int | None = None

    @property
    def lag(self) -> int:
        """The offsets in between, where the group has committed any."""
        return max(0, self.end - self.current)


@dataclass(frozen=True)
class Lags:
    """What was found, and {group: why nothing could be found out about it}."""

    partitions: tuple[PartitionLag, ...]
    failed: Mapping[str, str]

    def closed_before(self, group: str, topic: str) -> datetime | None:
        """Up to when the group's minutes are closed in every partition that it has counted records of."""
        of_group = [each for each in self.partitions if (each.group, each.topic) == (group, topic)]
        closed = [each.closed_before for each in of_group if each.closed_before is not None]
        return datetime.fromtimestamp(min(closed) / 1000, UTC) if closed else None


class GroupLags:
    """Measures, by clients that are kept. Not to be shared by threads."""

    def __init__(self, bootstrap_servers: str, config: Mapping[str, str] | None = None, timeout: float = 5.0) -> None:
        """`timeout` is that of each question in seconds; `config` holds further client settings."""
        self._address = bootstrap_servers
        self._timeout = timeout
        self._admin = Connection(bootstrap_servers, config, time.monotonic()).open(AdminClient)
        self._groups = GroupOffsets(bootstrap_servers, config, timeout)

    def measure(self) -> Lags:
        """All groups that have committed something. Raises Retry where Kafka is away, Fatal where it refuses."""
        committed, failed = self._committed()
        positions = [each for of_group in committed.values() for each in of_group]
        ends = self._ends({(each.topic, each.partition) for each in positions})
        found = []
        for group, of_group in committed.items():
            for each in of_group:
                end = ends.get((each.topic, each.partition))
                if end is None:
                    failed.setdefault(group, f"the end of {each.topic}-{each.partition} is not known: is it deleted?")
                else:
                    progress = Progress.read(each.offset, _metadata(each))
                    found.append(
                        PartitionLag(group, each.topic, each.partition, progress.position, end, progress.closed_before)
                    )
        return Lags(tuple(sorted(found, key=lambda each: (each.group, each.topic, each.partition))), failed)

    def _committed(self) -> tuple[dict[str, list[TopicPartition]], dict[str, str]]:
        """{group: its commits}, and the groups that could not be asked."""
        listing = self._admin.list_consumer_groups(request_timeout=self._timeout)
        doing = "listing the consumer groups"
        listed = self._answer(doing, listing)
        if listed.errors and not listed.valid:
            raise explain(listed.errors[0], self._address, doing)
        groups = [each.group_id for each in listed.valid]
        self._groups.forget_all_but(groups)
        partitions = self._partitions() if groups else []
        committed = dict[str, list[TopicPartition]]()
        failed = dict[str, str]()
        if listed.errors:
            failed[_UNLISTED] = str(explain(listed.errors[0], self._address, doing))
        # At once, because those whose coordinator is away each take their time.
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            asked = {group: pool.submit(self._groups.committed, group, partitions) for group in groups}
        for group, answer in asked.items():
            try:
                committed[group] = answer.result()
            except (Retry, Fatal) as error:
                failed[group] = str(error)
        return committed, failed

    def _partitions(self) -> list[tuple[str, int]]:
        """All of the cluster's, but Kafka's own."""
        try:
            topics = self._admin.list_topics(timeout=self._timeout).topics
        except KafkaException as error:
            raise explain(error.args[0], self._address, "listing the topics") from error
        ours = {name: topic for name, topic in topics.items() if not name.startswith("__")}
        return [(name, partition) for name, topic in ours.items() for partition in topic.partitions]

    def _ends(self, partitions: set[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """What read_committed readers can reach; a partition that does not answer is left out."""
        if not partitions:
            return {}
        asked = self._admin.list_offsets(
            {TopicPartition(topic, partition): _LATEST for topic, partition in partitions},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=self._timeout,
        )
        ends = {}
        for each, future in asked.items():
            try:
                ends[each.topic, each.partition] = future.result(2 * self._timeout).offset
            except (KafkaException, TimeoutError):
                continue  # said of each of its groups
        return ends

    def _answer(self, doing: str, future: Future[Any]) -> Any:
        try:
            return future.result(2 * self._timeout)
        except KafkaException as error:
            raise explain(error.args[0], self._address, doing) from error
        except TimeoutError as error:
            raise Retry(f"Kafka at {self._address} did not answer in time while {doing}") from error


def _metadata(committed: TopicPartition) -> str | None:
    """The commit's metadata, None where it is no text: other programs write what they like there."""
    try:
        return committed.metadata
    except UnicodeDecodeError:
        return None
