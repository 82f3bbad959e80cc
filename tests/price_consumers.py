"""Processes of the price consumer on a topic, group and measurement of a test's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests
from prometheus_client.parser import text_string_to_metric_families

from penstock.core.settings import PROJECT, Influx
from penstock.kafka.topics import Topic, ensure
from penstock.stack.layout import free_ports
from tests.measurements import FOR_EVER, points
from tests.price_events import Totals, expected, summed
from tests.services import eventually

PARTITIONS = 4
_END_SECONDS = 30.0


@dataclass
class Process:
    """One consumer."""

    child: subprocess.Popen[bytes]
    port: int

    def status(self) -> int | None:
        """The status code of its health, None where it does not answer."""
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/healthz", timeout=5).status_code
        except requests.RequestException:
            return None

    def metrics(self) -> Mapping[tuple[str, str], float]:
        """{(name, its one label or nothing): value}; empty where it does not answer."""
        try:
            text = requests.get(f"http://127.0.0.1:{self.port}/metrics", timeout=5).text
        except requests.RequestException:
            return {}
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return {(each.name, next(iter(each.labels.values()), "")): each.value for each in samples}

    def lags(self) -> dict[int, float]:
        """{partition: records that it has not taken} of its partitions."""
        return {int(label): value for (name, label), value in self.metrics().items() if name == "price_consumer_lag"}

    def send(self, number: signal.Signals) -> None:
        """Signal it."""
        self.child.send_signal(number)

    def kill(self) -> None:
        """With SIGKILL."""
        self.child.kill()
        self.child.wait(_END_SECONDS)

    def end(self) -> int:
        """With SIGTERM; its exit code."""
        self.child.terminate()
        return self.child.wait(_END_SECONDS)


@dataclass
class Consumers:
    """The consumers of one test, and what they have written."""

    servers: str
    influx: Influx
    name: str
    environment: Mapping[str, str]
    log: Path
    running: list[Process] = field(default_factory=list)

    def start(self, count: int = 1, **more: str) -> list[Process]:
        """Start more of them; `more` is for their environment."""
        new = [self._start(port, more) for port in free_ports(count)]
        self.running += new
        return new

    def _start(self, port: int, more: Mapping[str, str]) -> Process:
        own = {"EVENTS_TOPIC": self.name, "EVENTS_MEASUREMENT": self.name, "PYTHONPATH": f"{PROJECT}/plugins:{PROJECT}"}
        command = [sys.executable, "-m", "apps.price_consumer", "--port", str(port), "--group", self.name]
        with self.log.open("ab") as output:
            child = subprocess.Popen(
                command, env={**self.environment, **own, **more}, stdout=output, stderr=output, cwd=PROJECT
            )
        return Process(child, port)

    def share(self, *members: Process) -> None:
        """Wait until these, and no others, have the partitions, each of them at least one."""

        def shared() -> bool:
            owned = [set(each.lags()) for each in members]
            return all(owned) and sorted(each for part in owned for each in part) == list(range(PARTITIONS))

        eventually(shared)

    def stored(self) -> Totals:
        """What is in InfluxDB, by its own client."""
        found: dict[str, Totals] = {}
        for point in points(self.influx, self.name, *FOR_EVER):
            if point["events"]:
                key = round(point["_time"].timestamp() * 1000), point["category"], point["bucket"]
                found.setdefault(point["partition"], {})[key] = point["events"], point["revenue"]
        return summed(found.values())

    def come_to_the_right_counts(self) -> None:
        """Wait until what is stored is what is on the topic, and stays so while nothing more comes."""
        right = expected(self.servers, self.name)
        assert right
        try:
            eventually(lambda: self.stored() == right)
        except AssertionError:
            assert self.stored() == right, self.log.read_text()[-3_000:]


@contextmanager
def consumers(servers: str, influx: Influx, name: str, folder: Path) -> Iterator[Consumers]:
    """None yet, on a new topic."""
    ensure(
        servers,
        [Topic(name, PARTITIONS, config={"message.timestamp.type": "LogAppendTime"}), Topic(f"{name}.dlq", 1)],
    )
    found = Consumers(servers, influx, name, dict(os.environ), folder / "consumers.log")
    try:
        yield found
    finally:
        for each in found.running:
            if each.child.poll() is None:
                each.send(signal.SIGCONT)
                each.kill()
