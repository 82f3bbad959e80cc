"""Landing: records from Kafka into Cassandra, against cassandra-driver writing the same rows from memory.

Alone: `python -m tests.bench.bench_land [RECORDS]`, with the addresses and PENSTOCK_SPARK_PROPERTIES in the
environment.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster, Session
from cassandra.query import BatchStatement, BatchType, PreparedStatement

from penstock.core.batch import Batch, Interval
from penstock.core.contract import Contract
from penstock.core.counts import Produced
from penstock.core.pipeline import CassandraTable
from penstock.core.record import Record
from penstock.core.settings import INCLUDE, Cassandra, Kafka
from penstock.kafka.produce import produce
from penstock.kafka.registry import Registry
from penstock.kafka.topics import EVENT_TIMED, Topic, ensure
from penstock.sinks.cassandra import CassandraSink
from penstock.sinks.landing import Request
from tests.bench.lines import Line, at_least, at_most
from tests.bench.submission import Landing, submit

if TYPE_CHECKING:
    from penstock.stack.context import Context

_RECORDS = 1_000_000
_START_RECORDS = 1_000
_ROUNDS = 2

_BATCHES = [(24, 32), (48, 32), (96, 16)]
"""(rows of one partition in a batch, batches in flight), to choose the driver's best from."""

_CHUNK = 20 * 720
_HOURS = 720
_VARIABLES = 24
"""Of the contract's 64: these make a record of 300 bytes."""

_CONTRACT = Contract.load(INCLUDE / "avro" / "hourlymetrics.avsc")
_FIELDS = [each.name for each in _CONTRACT.fields if each.name != "elevation"][: 5 + _VARIABLES]
_JANUARY = 1_767_225_600_000
_MONTH = "2026-01"
_HOUR = 3_600_000


def run(context: Context, scale: float) -> list[Line]:
    """Measure on the running stack; `scale` makes the load smaller."""
    from penstock.stack.servers import airflow_environment

    environment = {**context.environment(), **airflow_environment(context)}
    return measure(environment, round(_RECORDS * scale))


def measure(environment: Mapping[str, str], records: int) -> list[Line]:
    """Driver and landing in turn, twice over; the better of each counts, as the machine is shared."""
    with closing(_Bench(environment)) as bench:
        size = max(_BATCHES, key=lambda each: bench.driver(records // 20, each))
        parts = {count: bench.produced(count) for count in (_START_RECORDS, records // 4, records)}
        start = bench.landing(parts[_START_RECORDS])
        quarter = bench.landing(parts[records // 4])
        driver, landings = 0.0, []
        for _ in range(_ROUNDS):
            driver = max(driver, bench.driver(records, size))
            landings.append(bench.landing(parts[records]))
    best = min(landings, key=lambda each: each.landing)
    baseline = f"cassandra-driver alone, batches of {size[0]}, {size[1]} in flight"
    name = f"land {records:,} records from Kafka"
    return [
        at_least(f"{name}, running", records / best.landing, "rows/s", baseline, driver, 0.8),
        at_least(f"{name}, start of Spark included", records / best.whole, "rows/s", baseline, driver, None),
        at_most("start of a small landing", start.starting, "s", "its whole time", start.whole, None),
        at_most("memory of the Python workers", best.python, "MB", "for a quarter of it", quarter.python, 1.1),
        at_most("memory of Spark's JVM", best.jvm, "MB", "for a quarter of it", quarter.jvm, 1.25),
    ]


class _Bench:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = {**os.environ, **environment}
        self.kafka, self.cassandra = Kafka.from_env(environment), Cassandra.from_env(environment)
        self.topic = f"bench{uuid.uuid4().hex[:8]}"
        topics = [Topic(self.topic, 3, config=EVENT_TIMED), Topic(f"{self.topic}.dlq", 1)]
        ensure(self.kafka.bootstrap_servers, topics)
        self.schema_id = Registry(self.kafka.registry_url).register(f"{self.topic}-value", _CONTRACT)
        auth = PlainTextAuthProvider(self.cassandra.user, self.cassandra.password)
        self.cluster = Cluster(list(self.cassandra.hosts), port=self.cassandra.port, auth_provider=auth)
        self.session = self.cluster.connect(self.cassandra.keyspace)
        with closing(CassandraSink(self.cassandra, self.topic, _CONTRACT)) as sink:
            sink.setup()

    def close(self) -> None:
        self.session.execute(f'DROP TABLE "{self.topic}"', timeout=60)
        self.cluster.shutdown()

    def driver(self, records: int, size: tuple[int, int]) -> float:
        """Rows a second of the driver alone; making the rows is not counted."""
        names = [*_FIELDS, "month"]
        markers = ", ".join("?" * len(names))
        statement = self.session.prepare(f'INSERT INTO "{self.topic}" ({", ".join(names)}) VALUES ({markers})')
        rows = ((*each.values(), _MONTH) for each in _weather(records))
        seconds = 0.0
        while chunk := list(islice(rows, _CHUNK)):
            began = time.perf_counter()
            _write(self.session, statement, chunk, *size)
            seconds += time.perf_counter() - began
        return records / seconds

    def produced(self, records: int) -> Produced:
        """Put a batch on the topic."""
        day = datetime(2026, 1, 1, tzinfo=UTC)
        return produce(
            Batch(f"bench_{records}", Interval(day, day + timedelta(days=30))),
            _CONTRACT,
            topic=self.topic,
            dead_letter_topic=f"{self.topic}.dlq",
            records=_weather(records),
            kafka=self.kafka,
            schema_id=self.schema_id,
            as_of=datetime.now(UTC),
            deadline=time.monotonic() + 600,
        )

    def landing(self, produced: Produced) -> Landing:
        """Submit the job for one batch."""
        sink = CassandraTable(self.topic)
        return submit(self.environment, Request(_CONTRACT, self.topic, f"{self.topic}.dlq", sink, (produced,)))


def _weather(records: int) -> Iterator[Record]:
    """Hours of one place after another, as a source gives them."""
    draw = random.Random(7)
    for number in range(records):
        place, hour = divmod(number, _HOURS)
        values = [40 + place / 100, 13.4, _JANUARY + hour * _HOUR, 40.0, 13.4]
        yield dict(zip(_FIELDS, [*values, *(draw.random() for _ in range(_VARIABLES))], strict=True))


def _write(session: Session, statement: PreparedStatement, rows: list[tuple[Any, ...]], most: int, flight: int) -> None:
    """The driver as it is meant to be used: unlogged batches of one partition, a bounded number in flight."""
    slots = threading.Semaphore(flight)
    errors: list[Exception] = []

    def failed(error: Exception) -> None:
        errors.append(error)
        slots.release()

    for begin in range(0, len(rows), most):  # a partition's 720 rows divide by each batch size
        batch = BatchStatement(BatchType.UNLOGGED)
        for row in rows[begin : begin + most]:
            batch.add(statement, row)
        slots.acquire()
        session.execute_async(batch).add_callbacks(lambda _: slots.release(), failed)
    for _ in range(flight):
        slots.acquire()
    assert not errors, errors[0]


if __name__ == "__main__":
    asked = int(sys.argv[1]) if len(sys.argv) > 1 else _RECORDS
    for line in measure(os.environ, asked):
        print(json.dumps(line))
