"""Flume: a topic to HDFS, and spooled files to a topic, against Flume's usual set-up with a file channel.

Both ends are durable in every case: acks=all or a flush on HDFS before anything is committed.
"""

from __future__ import annotations

import json
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, Producer, TopicPartition

from penstock.core.settings import Hdfs, Kafka
from penstock.kafka.reader import extent
from penstock.kafka.topics import Topic, ensure
from penstock.sinks.hdfs import hour_folders, read_lines
from penstock.sinks.webhdfs import WebHdfs
from tests.bench.lines import Line, at_least
from tests.flume_agent import Agent, flume_java, hdfs_folder, platform_conf, until

if TYPE_CHECKING:
    from penstock.stack.context import Context

_RECORDS = 1_000_000
_PARTITIONS = 3
_FIRST_MS, _STEP_MS = 1_763_812_800_000, 7
_SLOWER = 10
"""The file channel gets a tenth of the records, so that it takes no longer."""

_SPOOLED = 5
"""A fifth of the records is spooled."""

_KAFKA_TO_HDFS = """
a.sources = in
a.channels = c
a.sinks = hdfs
a.sources.in.type = org.apache.flume.source.kafka.KafkaSource
a.sources.in.channels = c
a.sources.in.kafka.bootstrap.servers = ${KAFKA_BOOTSTRAP_SERVERS}
a.sources.in.kafka.topics = ${CARS_TOPIC}
a.sources.in.kafka.consumer.group.id = GROUP
a.sources.in.kafka.consumer.auto.offset.reset = earliest
a.sources.in.kafka.consumer.isolation.level = read_committed
a.sources.in.batchSize = 1000
a.sources.in.interceptors = time
a.sources.in.interceptors.time.type = regex_extractor
a.sources.in.interceptors.time.regex = "time":(\\\\d{13})
a.sources.in.interceptors.time.serializers = t
a.sources.in.interceptors.time.serializers.t.name = timestamp
a.channels.c.type = file
a.channels.c.checkpointDir = ${PENSTOCK_SPOOL}/checkpoint
a.channels.c.dataDirs = ${PENSTOCK_SPOOL}/data
a.channels.c.capacity = 1000000
a.channels.c.transactionCapacity = 10000
a.sinks.hdfs.type = hdfs
a.sinks.hdfs.channel = c
a.sinks.hdfs.hdfs.path = ${HDFS_URL}${CARS_HDFS_FOLDER}/%Y-%m-%d/%H
a.sinks.hdfs.hdfs.timeZone = UTC
a.sinks.hdfs.hdfs.fileType = DataStream
a.sinks.hdfs.hdfs.writeFormat = Text
a.sinks.hdfs.hdfs.batchSize = 1000
a.sinks.hdfs.hdfs.rollSize = 67108864
a.sinks.hdfs.hdfs.rollInterval = 300
a.sinks.hdfs.hdfs.rollCount = 0
a.sinks.hdfs.hdfs.callTimeout = 30000
a.sinks.hdfs.hdfs.minBlockReplicas = 1
"""

_SPOOL_TO_KAFKA = """
a.sources.in.type = spooldir
a.sources.in.spoolDir = ${PENSTOCK_SPOOL}/population
a.sources.in.deserializer = LINE
a.sources.in.deserializer.maxLineLength = 1048576
"""

_TAIL_TO_KAFKA = """
a.sources.in.type = TAILDIR
a.sources.in.filegroups = logs
a.sources.in.filegroups.logs = ${WEB_LOGS}/events-.*
a.sources.in.positionFile = ${FLUME_STATE}/positions.json
"""

_FILE_CHANNEL_TO_KAFKA = """
a.sources = in
a.channels = c
a.sinks = kafka
a.sources.in.channels = c
a.sources.in.batchSize = 1000
a.channels.c.type = file
a.channels.c.checkpointDir = ${PENSTOCK_SPOOL}/checkpoint
a.channels.c.dataDirs = ${PENSTOCK_SPOOL}/data
a.channels.c.capacity = 1000000
a.channels.c.transactionCapacity = 10000
a.sinks.kafka.type = org.apache.flume.sink.kafka.KafkaSink
a.sinks.kafka.channel = c
a.sinks.kafka.kafka.bootstrap.servers = ${KAFKA_BOOTSTRAP_SERVERS}
a.sinks.kafka.kafka.topic = ${POPULATION_TOPIC}
a.sinks.kafka.flumeBatchSize = 1000
a.sinks.kafka.kafka.producer.acks = all
a.sinks.kafka.kafka.producer.compression.type = lz4
"""


def run(context: Context, scale: float) -> list[Line]:
    """Measure on the running stack; `scale` makes the loads smaller."""
    environment = context.environment()
    kafka, hdfs = Kafka.from_env(environment), Hdfs.from_env(environment)
    return measure(kafka, hdfs, flume_java(context), round(_RECORDS * scale))


def measure(kafka: Kafka, hdfs: Hdfs, java: list[str], records: int) -> list[Line]:
    """`java` is the command that runs a class of Flume's; its class path begins with the agents' folder."""
    bench = _Bench(kafka, hdfs, java, records)
    to_hdfs = bench.to_hdfs("cars-hdfs", platform_conf("cars-hdfs", "GROUP"))
    file_channel = replace(bench, records=records // _SLOWER).to_hdfs("a", _KAFKA_TO_HDFS)
    spool = replace(bench, records=records // _SPOOLED)
    stock = replace(spool, records=spool.records // _SLOWER)
    spooled = spool.to_kafka("pop-spool")
    spooled_lines = spool.to_kafka("wiki-spool")
    spooled_stock = stock.to_kafka("a", _SPOOL_TO_KAFKA + _FILE_CHANNEL_TO_KAFKA)
    tailed = spool.to_kafka("events-tail")
    tailed_stock = stock.to_kafka("a", _TAIL_TO_KAFKA + _FILE_CHANNEL_TO_KAFKA)
    size = f"{to_hdfs.bytes / max(to_hdfs.files, 1) / 1e6:.0f} MB"
    return [
        at_least(
            f"Kafka to HDFS, {bench.record_bytes}-byte records, {to_hdfs.files} files of {size}",
            to_hdfs.rate,
            "records/s",
            "KafkaSource, file channel, HDFS sink",
            file_channel.rate,
            3.0,
        ),
        at_least(
            "spool folder to Kafka",
            spooled.rate,
            "records/s",
            "spooldir, file channel, KafkaSink",
            spooled_stock.rate,
            1.0,
        ),
        at_least(
            "spool folder of lines to Kafka, with keys",
            spooled_lines.rate,
            "records/s",
            "spooldir, file channel, KafkaSink",
            spooled_stock.rate,
            1.0,
        ),
        at_least(
            "log file to Kafka, with keys",
            tailed.rate,
            "records/s",
            "TAILDIR, file channel, KafkaSink",
            tailed_stock.rate,
            1.0,
        ),
    ]


@dataclass(frozen=True)
class _Measured:
    """Records a second from the first that arrived to the last, and the files that they made."""

    rate: float
    files: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class _Bench:
    kafka: Kafka
    hdfs: Hdfs
    java: list[str]
    records: int

    @property
    def record_bytes(self) -> int:
        return len(_record(0))

    def to_hdfs(self, agent: str, conf: str) -> _Measured:
        """Have an agent copy a topic that is filled beforehand."""
        name = f"bench-{uuid.uuid4().hex[:8]}"
        ensure(self.kafka.bootstrap_servers, [Topic(name, _PARTITIONS)])
        self._fill(name)
        with hdfs_folder(self.hdfs, f"/{name}"):
            with self._agent(agent, conf.replace("GROUP", name), name) as running:
                until(lambda: running.count("EventDrainSuccessCount") > 0, "the first batch")
                began = time.perf_counter()
                until(lambda: self._copied(name, running), "the last batch")
                took = time.perf_counter() - began
            return self._counted(name, took)

    def _counted(self, name: str, took: float) -> _Measured:
        """Whatever the agent says, the records are there."""
        copied = sum(1 for _ in read_lines(self.hdfs, f"/{name}", _FIRST_MS, _FIRST_MS + _STEP_MS * self.records))
        assert copied >= self.records, f"{copied} of {self.records} records are on HDFS"
        with WebHdfs(self.hdfs) as client:
            files = [each for hour in hour_folders(client, f"/{name}") for each in client.entries(hour)]
        return _Measured(self.records / took, len(files), sum(each.length for each in files))

    def to_kafka(self, agent: str, conf: str | None = None) -> _Measured:
        """Have an agent, the platform's where no conf is given, read a file of JSON lines."""
        conf = conf or platform_conf(agent, "")
        name = f"bench-{uuid.uuid4().hex[:8]}"
        ensure(self.kafka.bootstrap_servers, [Topic(name, _PARTITIONS)])
        with self._agent(agent, conf, name, self._put):
            before = until(lambda: self._arrived(name), "the first batch")
            began = time.perf_counter()
            until(lambda: self._arrived(name) >= self.records, "the last batch")
            took = time.perf_counter() - began
        return _Measured((self.records - before) / took)

    def _fill(self, topic: str) -> None:
        producer = Producer(
            {"bootstrap.servers": self.kafka.bootstrap_servers, "compression.type": "lz4", "linger.ms": 50}
        )
        for number in range(self.records):
            while True:
                try:
                    producer.produce(topic, _record(number), partition=number % _PARTITIONS)
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(60) == 0

    def _put(self, agent: Agent) -> None:
        """Where it looks for files of its kind."""
        for file in (agent.spool / "rows.json", agent.web_logs / "events-1.log"):
            with file.open("wb") as lines:
                lines.writelines(_record(number) + b"\n" for number in range(self.records))

    def _copied(self, group: str, running: Agent) -> bool:
        """All read, and nothing left in a channel between."""
        partitions = [TopicPartition(group, partition) for partition in range(_PARTITIONS)]
        consumer = Consumer({"bootstrap.servers": self.kafka.bootstrap_servers, "group.id": group})
        try:
            read = sum(max(0, each.offset) for each in consumer.committed(partitions, timeout=10))
        finally:
            consumer.close()
        return read >= self.records and running.count("ChannelSize") == 0

    def _arrived(self, topic: str) -> int:
        return sum(each.end - each.start for each in extent(self.kafka, topic))

    @contextmanager
    def _agent(
        self, agent: str, conf: str, name: str, prepare: Callable[[Agent], None] | None = None
    ) -> Iterator[Agent]:
        """A running agent."""
        with tempfile.TemporaryDirectory(prefix="flume-bench-") as folder:
            running = Agent(agent, conf, name, self.kafka, self.hdfs, Path(folder), self.java)
            if prepare:
                prepare(running)
            running.start()
            try:
                yield running
            finally:
                running.stop()


def _record(number: int) -> bytes:
    record = {"transaction_id": number, "time": _FIRST_MS + _STEP_MS * number, "buyer_name": "x" * 55}
    ids = {"event_id": f"{number:020}", "meta": {"id": f"{number:020}"}}
    return json.dumps(ids | record, separators=(",", ":")).encode()
