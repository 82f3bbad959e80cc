"""A stream's records in Spark: each once, with the minute that it counts in.

Closing a minute. Each group of partitions is a source of its own with a watermark of its own, and Spark goes by the
least of them: while a backlog is worked off, partitions are not read in step, and the records of one that is behind
must not be late because of another. A partition without any records holds all minutes open.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import reduce

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - its usual name

from penstock.core import settings
from penstock.core.stream import MINUTE, Stream
from penstock.sinks.stream_records import Judge

_POLLED_AT_ONCE = 5_000
"""Records: after each poll, Spark asks the broker anew where the partition begins and ends."""

WINDOW = "window"
"""The column with the minute of a record: a struct of start and end."""


def each_once(
    spark: SparkSession,
    stream: Stream,
    kafka: settings.Kafka,
    groups: Sequence[Sequence[int]],
    *,
    records_at_once: int,
    patience: float,
) -> DataFrame:
    """The rows of the stream's contract, and their minute in `window`, without repetitions and without late ones.

    A record is late where its minute is closed: all partitions have come to `Stream.lateness` after its end, by the
    records' own times. Until then it is remembered, to drop its repetitions.
    `groups` are the partitions of the topic, each in one of them; a group's place must stay the same for a checkpoint.
    A micro-batch has about `records_at_once` records at most.
    """
    judge = Judge(stream.contract, stream.topic, stream.dead_letter_topic, kafka, stream.normaliser, patience)
    time = stream.contract.event_time
    sources = (
        _messages(spark, stream.topic, kafka, group, max(1, records_at_once // len(groups)), patience)
        .mapInArrow(judge, stream.contract.spark_ddl())
        .withWatermark(time, _interval(stream.lateness))
        for group in groups
    )
    records = reduce(DataFrame.union, sources)
    minute = F.window(time, _interval(MINUTE)).alias(WINDOW)
    return records.select("*", minute).dropDuplicates([*stream.contract.key, WINDOW])


def _messages(
    spark: SparkSession, topic: str, kafka: settings.Kafka, partitions: Iterable[int], at_once: int, patience: float
) -> DataFrame:
    milliseconds = str(int(patience * 1000))
    return (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", kafka.bootstrap_servers)
        .option("kafka.isolation.level", "read_committed")
        .option("kafka.default.api.timeout.ms", milliseconds)
        .option("kafka.request.timeout.ms", milliseconds)
        .option("kafkaConsumer.pollTimeoutMs", milliseconds)
        .option("kafka.max.poll.records", str(_POLLED_AT_ONCE))
        .option("assign", json.dumps({topic: list(partitions)}))
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", str(at_once))
        .option("failOnDataLoss", "true")
        .load()
        .select("partition", "offset", "value")
    )


def _interval(length: timedelta) -> str:
    return f"{length // timedelta(milliseconds=1)} milliseconds"
