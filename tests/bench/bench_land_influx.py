"""Landing: JSON records from Kafka into InfluxDB, against the same records read and parsed by Spark into nothing.

Alone: `python -m tests.bench.bench_land_influx [RECORDS]`, with the addresses and PENSTOCK_SPARK_PROPERTIES in the
environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.airflow.extent import ExtentOf
from penstock.core.batch import Batch, Interval
from penstock.core.counts import Extent, Produced
from penstock.core.pipeline import InfluxMeasurement, Wire
from penstock.core.settings import Influx, Kafka
from penstock.kafka.produce import produce
from penstock.kafka.topics import EVENT_TIMED, Topic, ensure
from penstock.pipelines import PIPELINES
from penstock.sinks.landing import Request
from tests.bench.bench_influx import cars, post_each
from tests.bench.lines import Line, at_least, at_most
from tests.bench.submission import Landing, spark_submit, submit

if TYPE_CHECKING:
    from penstock.stack.context import Context

_RECORDS = 1_000_000
_ROUNDS = 2
_POSTS = 1_000

_CONTRACT = PIPELINES["car_transactions"].contract
_NOOP = Path(__file__).with_name("noop_job.py")


def run(context: Context, scale: float) -> list[Line]:
    """Measure on the running stack; `scale` makes the load smaller."""
    from penstock.stack.servers import airflow_environment

    environment = {**context.environment(), **airflow_environment(context)}
    return measure(environment, round(_RECORDS * scale))


def measure(environment: Mapping[str, str], records: int) -> list[Line]:
    """Reading and landing in turn, twice over; the better of each counts, as the machine is shared."""
    bench = Bench(environment)
    parts = {count: bench.produced(count) for count in (records // 4, records)}
    quarter = bench.landing(parts[records // 4])
    read, landings = 0.0, []
    for _ in range(_ROUNDS):
        read = max(read, bench.reading(parts[records]))
        landings.append(bench.landing(parts[records]))
    best = min(landings, key=lambda each: each.landing)
    rate = records / best.landing
    name = f"land {records:,} JSON records of 300 bytes from Kafka in InfluxDB"
    return [
        at_least(f"{name}, running", rate, "rows/s", "the same records into Spark's noop sink", read, 0.6),
        at_least(f"{name}, running", rate, "rows/s", "a POST per row", post_each(bench.influx, _POSTS), 100),
        at_most(f"{name}: memory of the Python workers", best.python, "MB", "for a quarter", quarter.python, 1.25),
        at_most(f"{name}: memory of Spark's JVM", best.jvm, "MB", "for a quarter", quarter.jvm, 1.25),
    ]


class Bench:
    """A topic with records, and jobs on them."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = {**os.environ, **environment}
        self.kafka, self.influx = Kafka.from_env(environment), Influx.from_env(environment)
        self.topic = f"bench{uuid.uuid4().hex[:8]}"
        topics = [Topic(self.topic, 3, config=EVENT_TIMED), Topic(f"{self.topic}.dlq", 1)]
        ensure(self.kafka.bootstrap_servers, topics)

    def produced(self, records: int) -> tuple[Produced, Extent | None]:
        """Put a batch on the topic."""
        day = datetime(2026, 1, 1, tzinfo=UTC)
        place = ExtentOf(_CONTRACT)
        batch = produce(
            Batch(f"bench_{records}", Interval(day, day + timedelta(days=30))),
            _CONTRACT,
            topic=self.topic,
            dead_letter_topic=f"{self.topic}.dlq",
            records=place.watch(cars(0, records)),
            kafka=self.kafka,
            schema_id=0,
            wire=Wire.JSON,
            as_of=datetime.now(UTC),
            deadline=time.monotonic() + 600,
        )
        return batch, place.extent()

    def landing(self, part: tuple[Produced, Extent | None]) -> Landing:
        """Land a batch in a measurement of its own."""
        produced, extent = part
        sink = InfluxMeasurement(f"bench{uuid.uuid4().hex[:8]}")
        request = Request(
            _CONTRACT, self.topic, f"{self.topic}.dlq", (sink,), (produced,), wire=Wire.JSON, extent=extent
        )
        return submit(self.environment, request)

    def reading(self, part: tuple[Produced, Extent | None]) -> float:
        """Records a second of a job that reads and parses a batch, and writes nothing."""
        asked = json.dumps(part[0].to_json() | {"schema": _CONTRACT.spark_ddl()})
        job = spark_submit(self.environment, _NOOP, asked)
        done = subprocess.run(job, env=self.environment, stdout=subprocess.PIPE, text=True, check=True)
        return part[0].acked / float(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    asked = int(sys.argv[1]) if len(sys.argv) > 1 else _RECORDS
    for line in measure(os.environ, asked):
        print(json.dumps(line))
