"""A Flume agent of a test's own: the platform's conf, with other topics and folders."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import requests

from penstock.core.settings import INCLUDE, Hdfs, Kafka
from penstock.kafka.reader import Message, extent, read
from penstock.sinks.webhdfs import WebHdfs
from penstock.stack import hdfs_admin
from penstock.stack.artifacts import java_home
from penstock.stack.context import Context
from penstock.stack.layout import free_ports
from penstock.stack.servers.flume import CLASSES, JARS

PATIENCE_SECONDS = 300.0
_POLL_SECONDS = 0.1
_DATA = ("CARS", "EVENTS", "POPULATION", "WIKI")


def platform_conf(agent: str, group: str) -> str:
    """The conf of one of the platform's agents, with offsets of its own."""
    conf = (INCLUDE / "flume" / f"{agent}.conf").read_text(encoding="utf-8")
    return conf.replace(f"flume-{agent}", group)


def flume_java(context: Context) -> list[str]:
    """The command that runs a class of Flume's, as the stack's own agents are run."""
    cache, conf = context.layout.cache, context.layout.conf("flume")
    class_path = f"{conf}:{CLASSES.path(cache)}/*:{JARS.path(cache)}/*"
    return [str(java_home() / "bin" / "java"), "-cp", class_path]


@contextmanager
def hdfs_folder(hdfs: Hdfs, folder: str) -> Iterator[None]:
    """A folder that the platform's user may write, for as long as it is needed."""
    hdfs_admin.provision(hdfs, [folder])
    yield
    with WebHdfs(replace(hdfs, user=hdfs_admin.SUPERUSER)) as client:
        client.delete(folder, recursive=True)


def until(reached: Callable[[], Any], what: str) -> Any:
    """Wait until `reached` returns something true, and return that."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := reached()):
        assert time.monotonic() < deadline, f"{what} did not happen within {PATIENCE_SECONDS:.0f} s"
        time.sleep(_POLL_SECONDS)
    return found


def messages(kafka: Kafka, topic: str) -> list[Message]:
    """All that is on a topic now."""
    return list(read(kafka, topic, extent(kafka, topic)))


@dataclass
class Agent:
    """One agent that reads and writes the topic `name` and the HDFS folder `/name`.

    In `folder` it has its spool folders and state, and the log files that it tails.

    `java` is the command that runs a class with Flume's jars and ours.
    """

    agent: str
    conf: str
    name: str
    kafka: Kafka
    hdfs: Hdfs
    folder: Path
    java: list[str]
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        for each in (self.spool, self.web_logs, self.state):
            each.mkdir(parents=True, exist_ok=True)
        (self.folder / "agent.conf").write_text(self.conf, encoding="utf-8")
        (self.port,) = free_ports(1)

    @property
    def spool(self) -> Path:
        return self.folder / ("wiki" if self.agent.startswith("wiki-") else "population")

    @property
    def web_logs(self) -> Path:
        return self.folder / "logs"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def positions(self) -> Path:
        """Where the agent that tails log files says how far it is."""
        return self.state / "events-tail.json"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        options = ["-Xmx192m", "-XX:+UseSerialGC"]
        options += ["-DpropertiesImplementation=org.apache.flume.node.EnvVarResolverProperties"]
        options += ["-Dflume.monitoring.type=penstock.flume.LoopbackHttpMetricsServer"]
        options += [f"-Dflume.monitoring.port={self.port}"]
        options += [f"-Dlog4j2.configurationFile={INCLUDE / 'flume' / 'log4j2.properties'}"]
        arguments = ["org.apache.flume.node.Application", "--no-reload-conf", f"--name={self.agent}"]
        arguments += [f"--conf-file={self.folder / 'agent.conf'}"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.java[0], *options, *self.java[1:], *arguments],
                env=os.environ | self._environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """SIGKILL: nothing is closed."""
        assert self._process
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM: what is open is closed."""
        if self._process:
            self._process.terminate()
            self._process.wait(60)

    def ended(self) -> int:
        """Its exit code, once it has ended by itself."""
        assert self._process
        return self._process.wait(PATIENCE_SECONDS)

    def counters(self) -> Mapping[str, Mapping[str, str]]:
        """{"SINK.name": {counter: value}}, nothing where it does not answer yet."""
        try:
            return dict(requests.get(f"http://127.0.0.1:{self.port}/metrics", timeout=10).json())
        except requests.ConnectionError:
            return {}

    def count(self, counter: str) -> int:
        """The sum of a counter over all components."""
        return sum(int(each.get(counter, 0)) for each in self.counters().values())

    def _environment(self) -> dict[str, str]:
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "HDFS_URL": self.hdfs.fs,
            "HADOOP_USER_NAME": self.hdfs.user,
            "PENSTOCK_SPOOL": str(self.folder),
            "WEB_LOGS": str(self.web_logs),
            "FLUME_STATE": str(self.state),
            **{f"{data}_TOPIC": self.name for data in _DATA},
            **{f"{data}_HDFS_FOLDER": f"/{self.name}" for data in _DATA},
        }


Start = Callable[[str], Agent]
"""From the name of one of the platform's agents to that agent, started."""
