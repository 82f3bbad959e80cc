"""Producing: dicts to acknowledged Avro records, against the stock operator and Kafka's own load generator.

Alone: `python -m tests.bench.bench_produce --jars FOLDER`, with the addresses in the environment as for any client.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import random
import re
import struct
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import fastavro

from penstock.core.batch import Batch, Interval
from penstock.core.contract import Contract
from penstock.core.record import Record
from penstock.core.settings import INCLUDE, Kafka
from penstock.kafka.encoder import Encoder, Identity
from penstock.kafka.produce import produce
from penstock.kafka.registry import Registry
from penstock.kafka.topics import Topic, ensure
from tests.bench.lines import Line, at_least

if TYPE_CHECKING:
    from penstock.stack.context import Context

_RECORDS = 500_000
_STOCK_RECORDS = 3_000
_STOCK_ASYNCHRONOUS_RECORDS = 50_000
_ENCODED_RECORDS = 50_000
_ROUNDS = 3
_POOL = 10 * 168
"""Different records, a week of ten places. A source makes each record just before it is encoded: a pool that outgrows
the processor's cache would measure the memory instead."""

_VARIABLES = 24
"""Of the contract's 64: these make a record of 300 bytes."""

_CONTRACT = Contract.load(INCLUDE / "avro" / "hourlymetrics.avsc")
_FIRST_HOUR = 1_767_225_600_000


def run(context: Context, scale: float) -> list[Line]:
    """Measure on the running stack; `scale` makes the loads smaller."""
    from penstock.stack.artifacts import java_home
    from penstock.stack.servers.kafka import JARS

    java = [str(java_home() / "bin" / "java"), "-cp", str(JARS.path(context.layout.cache) / "*")]
    return measure(Kafka.from_env(context.environment()), java, round(_RECORDS * scale))


def measure(kafka: Kafka, java: Sequence[str], records: int) -> list[Line]:
    """Every way once in turn, three times over; the best of each counts, as the machine is shared.

    `java` is the command that runs a class of Kafka's.
    """
    bench = _Bench(kafka, java, records)
    bench.ours()  # warms up broker and client
    rounds = [
        {
            "ours": bench.ours(),
            "load generator": bench.load_generator(),
            "stock": bench.stock(synchronous=True),
            "stock, asynchronous": bench.stock(synchronous=False),
        }
        for _ in range(_ROUNDS)
    ]
    best = {way: max(each[way] for each in rounds) for way in rounds[0]}
    name = f"produce, {bench.value_bytes}-byte Avro from dicts, transactional, acks counted"
    return [
        at_least(name, best["ours"], "records/s", "stock operator", best["stock"], 20.0),
        at_least(name, best["ours"], "records/s", "stock operator, asynchronous", best["stock, asynchronous"], 1.0),
        at_least(name, best["ours"], "records/s", "ProducerPerformance, acks=all", best["load generator"], 0.4),
        at_least("encode, one core", bench.encoded_by_us(), "fastavro", bench.encoded_by_fastavro(), 1.0),
    ]


@dataclass
class _Bench:
    kafka: Kafka
    java: Sequence[str]
    records: int

    def __post_init__(self) -> None:
        self.topic = f"bench-{uuid.uuid4().hex[:8]}"
        ensure(self.kafka.bootstrap_servers, [Topic(self.topic, 3), Topic(f"{self.topic}.dlq", 1)])
        self.schema_id = Registry(self.kafka.registry_url).register(f"{self.topic}-value", _CONTRACT)
        self.pool = list(_weather(_POOL))
        self.value_bytes = len(Encoder(_CONTRACT, self.schema_id).encode(self.pool[0]))
        self.framing = struct.pack(">bI", 0, self.schema_id)
        self.schema = fastavro.parse_schema(_CONTRACT.schema)

    def source(self, count: int) -> Iterator[Record]:
        return islice(cycle(self.pool), count)

    def ours(self) -> float:
        day = datetime(2026, 1, 1, tzinfo=UTC)
        began = time.perf_counter()
        produced = produce(
            Batch("bench", Interval(day, day + timedelta(days=1))),
            _CONTRACT,
            topic=self.topic,
            dead_letter_topic=f"{self.topic}.dlq",
            records=self.source(self.records),
            kafka=self.kafka,
            schema_id=self.schema_id,
            as_of=datetime.now(UTC),
            deadline=time.monotonic() + 600,
        )
        took = time.perf_counter() - began
        assert (produced.acked, produced.rejected) == (self.records, 0)
        return self.records / took

    def load_generator(self) -> float:
        command = [*self.java, "org.apache.kafka.tools.ProducerPerformance"]
        command += ["--topic", self.topic, "--num-records", str(self.records), "--record-size", str(self.value_bytes)]
        command += ["--throughput", "-1", "--producer-props", f"bootstrap.servers={self.kafka.bootstrap_servers}"]
        done = subprocess.run([*command, "acks=all"], capture_output=True, text=True, check=True)
        total = re.search(rf"^{self.records} records sent, ([0-9.]+) records/sec", done.stdout, re.MULTILINE)
        assert total, done.stdout + done.stderr
        return float(total[1])

    def stock(self, *, synchronous: bool) -> float:
        """The provider's operator, whose producer function encodes with fastavro, and whose callback logs to a file."""
        from airflow.providers.apache.kafka.operators.produce import ProduceToTopicOperator

        count = _STOCK_RECORDS if synchronous else _STOCK_ASYNCHRONOUS_RECORDS
        operator = ProduceToTopicOperator(
            task_id="stock",
            topic=self.topic,
            producer_function=lambda: self.key_values(count),
            synchronous=synchronous,
        )
        extra = {"bootstrap.servers": self.kafka.bootstrap_servers, "queue.buffering.max.messages": count + 1}
        os.environ["AIRFLOW_CONN_KAFKA_DEFAULT"] = json.dumps({"conn_type": "kafka", "extra": extra})
        with _log_file("airflow"):
            began = time.perf_counter()
            operator.execute({})
            return count / (time.perf_counter() - began)

    def key_values(self, count: int) -> Iterator[tuple[bytes, bytes]]:
        keys = Identity(_CONTRACT).keys(self.source(count))
        return zip(keys, map(self.with_fastavro, self.source(count)), strict=True)

    def with_fastavro(self, record: Record) -> bytes:
        body = io.BytesIO()
        fastavro.schemaless_writer(body, self.schema, record)
        return self.framing + body.getvalue()

    def encoded_by_us(self) -> float:
        encoder = Encoder(_CONTRACT, self.schema_id)

        def encode() -> None:
            source = self.source(_ENCODED_RECORDS)
            while chunk := list(islice(source, 256)):
                encoder.encode_many(chunk)

        return _best_rate(encode)

    def encoded_by_fastavro(self) -> float:
        def encode() -> None:
            for record in self.source(_ENCODED_RECORDS):
                self.with_fastavro(record)

        return _best_rate(encode)


def _best_rate(encode: Callable[[], None]) -> float:
    """Records a second of processor time."""
    seconds = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        encode()
        seconds.append(time.process_time() - began)
    return _ENCODED_RECORDS / min(seconds)


def _weather(count: int) -> Iterator[Record]:
    """Records of the hourly contract: some variables measured, the others not asked for."""
    chance = random.Random(1)  # the same records in every run
    measured = [field for field in _CONTRACT.fields if field.nullable][:_VARIABLES]
    for number in range(count):
        place, hour = divmod(number, 168)
        record: Record = {
            "latitude": 47.0 + place / 4,
            "longitude": 13.41,
            "time": _FIRST_HOUR + 3_600_000 * hour,
            "grid_latitude": 47.0 + place / 4,
            "grid_longitude": 13.42,
        }
        for field in measured:
            value = round(chance.uniform(0.0, 100.0), 1)
            record[field.name] = int(value) if field.unit in {"%", "wmo code"} else value  # as the API writes them
        yield record


@contextmanager
def _log_file(name: str) -> Iterator[None]:
    """What a logger is told goes to a file, as it does in a task."""
    logger = logging.getLogger(name)
    with tempfile.NamedTemporaryFile("w") as file:
        handler = logging.StreamHandler(file)
        before = logger.level, logger.propagate
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.level, logger.propagate = before


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jars", type=Path, required=True, help="the folder of Kafka's jars")
    parser.add_argument("--records", type=int, default=_RECORDS)
    arguments = parser.parse_args()
    for line in measure(Kafka.from_env(), ["java", "-cp", f"{arguments.jars}/*"], arguments.records):
        print(json.dumps(line))
