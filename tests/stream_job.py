"""One driver of wiki_edits_minute over names of its own, and changes for it to count.

What it counts is held against an independent count of what was sent, by id.
"""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import psutil
import pyarrow.parquet as pq
from confluent_kafka import Producer

from penstock.core.settings import PROJECT, Hdfs, Influx, Kafka
from penstock.kafka.topics import Topic, ensure
from penstock.ledger.store import Ledger
from penstock.ledger.streams import Streams
from penstock.sinks.checkpoint import Checkpoint
from penstock.sinks.webhdfs import WebHdfs
from penstock.stack import hdfs_admin
from tests.measurements import FOR_EVER, points

PARTITIONS = 3
BEGIN = datetime(2026, 11, 21, 23, 50, tzinfo=UTC)
"""So that midnight is passed after ten minutes of events."""

CLOSING = "closing"
"""The wiki of the changes that are sent last, to close the minutes before them."""

_KINDS = {"edit": "edits", "new": "edits", "categorize": "categorizations", "log": "log_entries", "147": "others"}
_WIKIS = ("enwiki", "dewiki", "wikidatawiki", "commonswiki")
_SECONDS = 300.0

Minutes: TypeAlias = dict[tuple[datetime, str], dict[str, int]]
"""{(minute, wiki): {column: count}}."""


def until(found: Callable[[], Any], seconds: float = _SECONDS, every: float = 0.5) -> Any:
    """What `found` returns once that is true; it is called `every` so many seconds."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(every)
    return value


@dataclass
class Changes:
    """Sends changes, each a `step` of event time after the last, and counts them by id."""

    kafka: Kafka
    topic: str
    step: timedelta = timedelta(milliseconds=100)
    at: datetime = BEGIN
    sent: int = 0
    broken: int = 0
    expected: dict[str, tuple[datetime, str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(5)
        self._turn = threading.Lock()
        self.connect()

    def connect(self) -> None:
        """Look up anew which partitions there are."""
        self._producer = Producer({"bootstrap.servers": self.kafka.bootstrap_servers, "message.timeout.ms": 300_000})

    def send(self, count: int, **fields: Any) -> None:
        """Send so many; each fiftieth twice, and each hundredth broken, unless `fields` says what they are."""
        with self._turn:
            for number in range(count):
                self.at += self.step
                change = self._change(self.at, fields)
                if not fields and number % 100 == 99:
                    del change["wiki"]
                    self.broken += 1
                self.put(change)
                if not fields and number % 50 == 25:
                    self.put(change)
            self._producer.flush()

    def put(self, change: Mapping[str, Any], partition: int | None = None) -> None:
        """Send one, and expect it to be counted by its id if it keeps the contract."""
        meta = change["meta"]
        place = {} if partition is None else {"partition": partition}
        self._producer.produce(self.topic, json.dumps(change).encode(), meta["id"].encode(), **place)
        self._producer.poll(0)
        self.sent += 1
        if "wiki" in change:
            minute = datetime.fromisoformat(meta["dt"]).replace(second=0, microsecond=0)
            self.expected[meta["id"]] = (minute, change["wiki"], _KINDS[change["type"]])

    def close_minutes(self, partitions: int = PARTITIONS) -> None:
        """Send to every partition a change that closes all minutes before it."""
        with self._turn:
            self.at += timedelta(minutes=3)
            for partition in range(partitions):
                self.put(self._change(self.at, {"wiki": CLOSING, "type": "edit"}), partition)
            self._producer.flush()

    def _change(self, at: datetime, fields: Mapping[str, Any]) -> dict[str, Any]:
        identity = str(uuid.UUID(int=self._random.getrandbits(128)))
        return {
            "$schema": "/mediawiki/recentchange/1.0.0",
            "meta": {"id": identity, "dt": at.isoformat().replace("+00:00", "Z"), "stream": "mediawiki.recentchange"},
            "wiki": self._random.choice(_WIKIS),
            "type": self._random.choice(list(_KINDS)),
            "title": "Kategòrëjô:Filozofijô",
            "comment": "x" * self._random.randrange(1_000),
        } | dict(fields)

    @property
    def minutes(self) -> Minutes:
        """What is to be counted in the minutes that are closed in the end."""
        found: Minutes = {}
        for minute, wiki, column in self.expected.values():
            if wiki != CLOSING:
                counts = found.setdefault((minute, wiki), dict.fromkeys(sorted({*_KINDS.values()}), 0))
                counts[column] += 1
        return found


@contextmanager
def load(changes: Changes, a_second: int) -> Iterator[None]:
    """Send about so many changes a second during the block."""
    over = threading.Event()

    def send() -> None:
        while not over.wait(0.5):
            changes.send(a_second // 2)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join()


@dataclass
class Job:
    """The driver and what is its own. `environment` may be added to before it is started."""

    name: str
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def prepared(cls, name: str, stack_environment: Mapping[str, str], ledger_url: str, log: Path) -> Job:
        """Make its topics, folders and tables."""
        environment = dict(stack_environment) | {
            "LEDGER_URL": ledger_url,
            "WIKI_TOPIC": name,
            "WIKI_CHECKPOINT": f"/test/{name}/checkpoint",
            "WIKI_AGGREGATE_FOLDER": f"/test/{name}/minutes",
            "WIKI_MEASUREMENT": name,
            "WIKI_TRIGGER_SECONDS": "1",
        }
        job = cls(name, environment, log)
        ensure(job.kafka.bootstrap_servers, [Topic(name, PARTITIONS), Topic(f"{name}.dlq", 1)])
        hdfs_admin.provision(job.hdfs, [f"/test/{name}"])
        Ledger(ledger_url).migrate()
        return job

    @property
    def kafka(self) -> Kafka:
        return Kafka.from_env(self.environment)

    @property
    def hdfs(self) -> Hdfs:
        return Hdfs.from_env(self.environment)

    @property
    def folder(self) -> str:
        return self.environment["WIKI_AGGREGATE_FOLDER"]

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint(self.hdfs, self.environment["WIKI_CHECKPOINT"])

    @property
    def command(self) -> list[str]:
        return [sys.executable, str(PROJECT / "spark_jobs" / "wiki_edits_minute.py")]

    def start(self) -> subprocess.Popen[bytes]:
        """Start the driver in a group of its own, as supervisord does."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        return self.process

    def stop(self) -> int:
        """Stop it as supervisord does, and return its exit code."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGTERM)
        return self.process.wait(30)

    def jvm(self) -> psutil.Process:
        """The driver's JVM, once there is one."""
        assert self.process is not None
        driver = psutil.Process(self.process.pid)
        return until(lambda: next((each for each in driver.children(recursive=True) if each.name() == "java"), None))

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def files(self) -> list[str]:
        """The paths of the Parquet files that a reader sees."""
        with WebHdfs(self.hdfs) as client:
            dates = [entry.path for entry in client.entries(self.folder) if entry.is_folder]
            found = [entry for date in dates for entry in client.entries(date)]
        return [entry.path for entry in found if not entry.name.startswith((".", "_"))]

    def parquet(self) -> Minutes:
        """The counts in the files. A minute of a wiki must be there once, and in the folder of its date."""
        found: Minutes = {}
        with WebHdfs(self.hdfs) as client:
            for path in self.files():
                for row in pq.read_table(io.BytesIO(b"".join(client.read(path)))).to_pylist():
                    key = (row.pop("minute"), row.pop("wiki"))
                    assert key not in found, f"{key} is counted twice"
                    assert f"/date={key[0]:%Y-%m-%d}/" in path
                    found[key] = row
        return found

    def influxdb(self) -> Minutes:
        """The counts in the measurement."""
        found = points(Influx.from_env(self.environment), self.name, *FOR_EVER)
        columns = sorted({*_KINDS.values()})
        return {(each["_time"], each["wiki"]): {column: each[column] for column in columns} for each in found}

    def ledger(self) -> Streams:
        return Streams(self.environment["LEDGER_URL"])

    def has_closed(self, changes: Changes) -> bool:
        """Whether all minutes that are to be closed are safe everywhere, so that they can be compared."""
        with closing(self.ledger()) as ledger:
            totals = ledger.totals("wiki")
        expected = len(changes.minutes)
        # The ledger is written after Parquet and InfluxDB; what it knows of a checkpoint that is gone is no sign.
        return bool(totals and totals.rows >= expected and len(self.parquet()) >= expected)

    def read_all(self, changes: Changes) -> bool:
        """Whether all that was sent is read, written and committed."""
        with closing(self.ledger()) as ledger:
            newest, totals = ledger.latest("wiki"), ledger.totals("wiki")
        return bool(newest and totals and newest.lag == 0 and totals.fates.read == changes.sent)

    def assert_counted(self, changes: Changes) -> None:
        """Wait until all is counted; then Parquet and InfluxDB must have the independent count."""
        assert self.process is not None

        def counted() -> bool:
            assert self.process is None or self.process.poll() is None, self.said()[-2000:]
            return self.read_all(changes) and self.has_closed(changes)

        until(counted)
        expected = changes.minutes
        assert self.parquet() == expected
        assert self.influxdb() == expected
        with closing(self.ledger()) as ledger:
            totals = ledger.totals("wiki")
        assert totals is not None
        assert totals.events == sum(sum(each.values()) for each in expected.values())
        assert totals.rows == len(expected)
        assert totals.refused == 0


def by_minute(minutes: Minutes) -> Counter[datetime]:
    """All changes of each minute."""
    found: Counter[datetime] = Counter()
    for (minute, _), counts in minutes.items():
        found[minute] += sum(counts.values())
    return found
