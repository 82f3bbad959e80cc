"""The stream of wiki changes: its driver works off a filled topic, against Spark's reading and parsing it into nothing.

Alone: `python -m tests.bench.bench_stream [RECORDS]`, with the addresses and PENSTOCK_SPARK_PROPERTIES in the
environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from confluent_kafka import Producer
from psycopg import sql

from penstock.kafka.reader import extent
from tests.bench.lines import Line, at_least
from tests.bench.submission import spark_submit
from tests.stream_job import Job, until

if TYPE_CHECKING:
    from penstock.stack.context import Context

_RECORDS = 500_000
_LEAST = 20_000.0
"""Records a second on two cores."""

_A_SECOND = 50
"""The live rate, by which event times advance."""

_BEGIN = datetime(2026, 11, 22, tzinfo=UTC)
_NOOP = Path(__file__).with_name("noop_job.py")
_SHAPE = "meta STRUCT<id: STRING, dt: STRING>, wiki STRING, type STRING"
_EVENT = {
    "$schema": "/mediawiki/recentchange/1.0.0",
    "id": 2053800699,
    "namespace": 0,
    "title": "Hans_Moldenhauer",
    "title_url": "https://en.wikipedia.org/wiki/Hans_Moldenhauer",
    "comment": "/* Leben */ " + "Ergänzung und Beleg, " * 8,
    "timestamp": 1785857068,
    "user": "~2026-43130-82",
    "bot": False,
    "notify_url": "https://en.wikipedia.org/w/index.php?diff=1348570218&oldid=1348570100&rcid=2053800699",
    "minor": False,
    "patrolled": True,
    "length": {"old": 5_512, "new": 5_617},
    "revision": {"old": 1_348_570_100, "new": 1_348_570_218},
    "server_url": "https://en.wikipedia.org",
    "server_name": "en.wikipedia.org",
    "server_script_path": "/w",
    "parsedcomment": '<span class="autocomment">Leben</span> ' + "Ergänzung und Beleg, " * 8,
}
_WIKIS = [f"{language}wiki" for language in ("en", "de", "fr", "es", "ja", "ru", "csb", "commons", "data")]
_KINDS = ("edit", "edit", "edit", "categorize", "categorize", "new", "log")


def run(context: Context, scale: float) -> list[Line]:
    """Measure on the running stack; `scale` makes the load smaller."""
    from penstock.stack.servers import airflow_environment

    return measure({**context.environment(), **airflow_environment(context)}, round(_RECORDS * scale))


def measure(environment: Mapping[str, str], records: int) -> list[Line]:
    """Read by the job, then by Spark alone."""
    name = f"bench{uuid.uuid4().hex[:8]}"
    with _own_ledger(environment["LEDGER_URL"], name) as ledger, tempfile.TemporaryDirectory() as folder:
        job = Job.prepared(name, {**os.environ, **environment}, ledger, Path(folder) / "driver.log")
        size = _fill(job, records)
        rate = _counting(job, records)
        read = _reading(job, records)
    what = f"count {records:,} wiki changes of {size:.0f} bytes a minute: Kafka to Parquet, InfluxDB and ledger"
    return [
        at_least(what, rate, "records/s", "the goal", _LEAST, 1.0),
        at_least(what, rate, "records/s", "the same records parsed by Spark into its noop sink", read, None),
    ]


@contextmanager
def _own_ledger(url: str, name: str) -> Iterator[str]:
    """The address of an empty schema, which is gone afterwards."""
    schema = sql.Identifier(name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("create schema {}").format(schema))
        try:
            yield f"{url}?options=-csearch_path%3D{name}"
        finally:
            connection.execute(sql.SQL("drop schema {} cascade").format(schema))


def _fill(job: Job, records: int) -> float:
    """Put the records on the topic, and return their mean size in bytes."""
    producer = Producer({"bootstrap.servers": job.kafka.bootstrap_servers, "compression.type": "lz4", "linger.ms": 50})
    size = 0
    for number in range(records):
        at = _BEGIN + timedelta(milliseconds=number * 1000 // _A_SECOND)
        identity = str(uuid.uuid4())
        meta = {"id": identity, "dt": at.isoformat(timespec="milliseconds"), "domain": "en.wikipedia.org"}
        event = {"meta": meta, "wiki": _WIKIS[number % 9], "type": _KINDS[number % 7], **_EVENT}
        value = json.dumps(event, ensure_ascii=False).encode()
        size += len(value)
        while True:
            try:
                producer.produce(job.name, value, identity.encode())
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()
    return size / records


def _counting(job: Job, records: int) -> float:
    """Records a second from the first micro-batch's beginning to the end of the one that read the last."""
    process = job.start()
    try:
        with closing(job.ledger()) as ledger:

            def read() -> bool:
                assert process.poll() is None, job.said()[-2000:]
                totals = ledger.totals("wiki")
                return totals is not None and totals.fates.read >= records

            until(read)
            totals, newest = ledger.totals("wiki"), ledger.latest("wiki")
        assert totals is not None
        assert newest is not None
        assert totals.fates.rejected == totals.fates.late == totals.fates.duplicates == 0
        return records / (newest.written - totals.since).total_seconds()
    finally:
        job.stop()


def _reading(job: Job, records: int) -> float:
    """Records a second of a job that reads and parses the topic, and writes nothing."""
    ranges = [
        {"partition": each.partition, "start": each.start, "end": each.end} for each in extent(job.kafka, job.name)
    ]
    asked = json.dumps({"topic": job.name, "ranges": ranges, "schema": _SHAPE})
    command = spark_submit(job.environment, _NOOP, asked)
    done = subprocess.run(command, env=job.environment, stdout=subprocess.PIPE, text=True, check=True)
    return records / float(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    for line in measure(os.environ, int(sys.argv[1]) if len(sys.argv) > 1 else _RECORDS):
        print(json.dumps(line))
