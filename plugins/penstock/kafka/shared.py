"""Shared topics: what other programs write to a topic of ours, beside the batches."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient

from penstock.core import settings
from penstock.core.counts import OffsetRange
from penstock.kafka.client import Connection
from penstock.kafka.reader import read


def topic_id(
    kafka: settings.Kafka, topic: str, *, timeout: float = 30.0, config: Mapping[str, str] | None = None
) -> str:
    """What tells the topic from another of its name, made before or after it.

    Raises Retry where the broker is away, Fatal where there is no such topic.
    """
    connection = Connection(kafka.bootstrap_servers, config, time.monotonic() + timeout)
    admin = connection.open(AdminClient)

    def ask(seconds: float) -> str:
        return str(admin.describe_topics(TopicCollection([topic]), request_timeout=seconds)[topic].result().topic_id)

    return connection.wait(f"looking up the topic {topic}", ask, admin.poll)


def count_of_others(
    kafka: settings.Kafka,
    topic: str,
    ranges: Iterable[OffsetRange],
    *,
    timeout: float = 30.0,
    config: Mapping[str, str] | None = None,
) -> int:
    """How many records within `ranges` no batch has produced. Raises as `reader.read` does."""
    return sum(each.batch_id is None for each in read(kafka, topic, ranges, timeout=timeout, config=config))
