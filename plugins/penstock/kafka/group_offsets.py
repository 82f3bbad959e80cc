"""What consumer groups have committed, asked without becoming a member of them.

librdkafka's admin client is not used for it: where the coordinator of a group has just started or moved, its answer
ends the whole process (https://github.com/confluentinc/librdkafka/issues/5040).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from threading import Lock

from confluent_kafka import Consumer, KafkaException, TopicPartition

from penstock.kafka.client import Connection, explain

_REQUIRED = {
    "enable.auto.commit": False,
    # What a transaction has not committed yet is not waited for.
    "isolation.level": "read_uncommitted",
}


class GroupOffsets:
    """Asks by one consumer a group, which is kept: half a megabyte and four idle threads. Threads may share it."""

    def __init__(self, bootstrap_servers: str, config: Mapping[str, str] | None, timeout: float) -> None:
        """`timeout` is that of each question in seconds; `config` holds further client settings."""
        self._connection = Connection(bootstrap_servers, config, math.inf)
        self._timeout = timeout
        self._consumers: dict[str, Consumer] = {}
        self._turn = Lock()

    def committed(self, group: str, partitions: Iterable[tuple[str, int]]) -> list[TopicPartition]:
        """Those of the (topic, partition) pairs of which the group has committed an offset.

        Raises Retry where Kafka is away, Fatal where it refuses.
        """
        asked = [TopicPartition(topic, partition) for topic, partition in partitions]
        doing = f"looking up the group {group}"
        try:
            consumer = self._consumer(group)
            consumer.poll(0)  # for its callbacks: it takes part in nothing
            found = consumer.committed(asked, timeout=self._timeout) if asked else []
        except KafkaException as error:
            raise explain(error.args[0], self._connection.address, doing) from error
        for each in found:
            if each.error:
                raise explain(each.error, self._connection.address, doing)
        return [each for each in found if each.offset >= 0]

    def forget_all_but(self, groups: Collection[str]) -> None:
        """Ask no longer for groups that are gone."""
        with self._turn:
            gone = [self._consumers.pop(group) for group in [*self._consumers] if group not in groups]
        for consumer in gone:
            consumer.close()

    def _consumer(self, group: str) -> Consumer:
        with self._turn:
            if group not in self._consumers:
                self._consumers[group] = self._connection.open(Consumer, required={**_REQUIRED, "group.id": group})
            return self._consumers[group]
