"""Landing as a stream: the records of a topic that is full, against the batch job on the same records.

Alone: `python -m tests.bench.bench_land_stream [RECORDS]`, with the addresses and PENSTOCK_SPARK_PROPERTIES in the
environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from penstock.core.settings import PROJECT, Hdfs
from penstock.kafka.lag import Lag
from penstock.pipelines import CARS
from penstock.sinks.webhdfs import WebHdfs
from penstock.stack import hdfs_admin
from tests.bench.bench_land_influx import Bench
from tests.bench.lines import Line, at_least

if TYPE_CHECKING:
    from penstock.stack.context import Context

_RECORDS = 300_000
_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 300.0


def run(context: Context, scale: float) -> list[Line]:
    """Measure on the running stack; `scale` makes the load smaller."""
    from penstock.stack.servers import airflow_environment

    environment = {**context.environment(), **airflow_environment(context)}
    return measure(environment, round(_RECORDS * scale))


def measure(environment: Mapping[str, str], records: int) -> list[Line]:
    """The batch job first, then the stream: each into a measurement of its own."""
    bench = Bench(environment)
    part = bench.produced(records)
    batch = records / bench.landing(part).landing
    name = f"land {records:,} JSON records in InfluxDB by the stream, running"
    return [at_least(name, _streaming(bench), "records/s", "the batch job, running", batch, None)]


def _streaming(bench: Bench) -> float:
    """Offsets a second, from the end of the first micro-batch, which waits for Spark, to the end of the topic."""
    lag = Lag(bench.kafka)
    ends = lag.ends(bench.topic)
    with _driver(bench) as driver:
        first = began = 0.0
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while (landed := lag.progress(CARS.landing_service, bench.topic)) != ends:
            assert driver.poll() is None, "the stream failed: see above"
            assert time.monotonic() < deadline, f"the stream took longer than {_PATIENCE_SECONDS:.0f} s"
            if landed and not began:
                first, began = sum(landed.values()), time.monotonic()
            time.sleep(_POLL_SECONDS)
        assert began, "one micro-batch took all: give more records"
        return (sum(ends.values()) - first) / (time.monotonic() - began)


@contextmanager
def _driver(bench: Bench) -> Iterator[subprocess.Popen[bytes]]:
    """The stream of a measurement and a checkpoint of its own, until the end of the block."""
    name, hdfs = f"bench{uuid.uuid4().hex[:8]}", Hdfs.from_env(bench.environment)
    hdfs_admin.provision(hdfs, [f"/{name}"])
    settings = {
        "CARS_LANDED_BY": "stream",
        "CARS_TOPIC": bench.topic,
        "CARS_MEASUREMENT": name,
        "CAR_TRANSACTIONS_CHECKPOINT": f"/{name}/checkpoint",
        "CAR_TRANSACTIONS_RECORDS_AT_ONCE": "60000",
    }
    job = str(PROJECT / "spark_jobs" / "stream_to_influx.py")
    driver = subprocess.Popen([sys.executable, job, "--pipeline", CARS.name], env=bench.environment | settings)
    try:
        yield driver
    finally:
        driver.terminate()
        driver.wait(60)
        with WebHdfs(hdfs) as client:
            client.delete(f"/{name}/checkpoint", recursive=True)


if __name__ == "__main__":
    asked = int(sys.argv[1]) if len(sys.argv) > 1 else _RECORDS
    for line in measure(os.environ, asked):
        print(json.dumps(line))
