"""The servers of the local stack.

Another server is another entry here, in the module of its family, and a folder in include/, and no other code.
"""

from __future__ import annotations

import platform
from pathlib import Path

from penstock.core.errors import Fatal
from penstock.core.settings import INCLUDE
from penstock.stack.artifacts import Artifact, MavenArtifact
from penstock.stack.context import Context
from penstock.stack.servers.airflow import AIRFLOW, airflow_environment
from penstock.stack.servers.apps import (
    CAR_API,
    KAFKA_LAG_EXPORTER,
    PRICE_CONSUMER,
    RECENTCHANGE_COLLECTOR,
    REPLAY_API,
    WEB_EVENT_PRODUCER,
)
from penstock.stack.servers.base import Environment, Server, render
from penstock.stack.servers.cassandra import CASSANDRA
from penstock.stack.servers.flume import FLUME
from penstock.stack.servers.hdfs import DATANODE, NAMENODE
from penstock.stack.servers.influxdb import INFLUXDB
from penstock.stack.servers.kafka import KAFKA
from penstock.stack.servers.landing_streams import LANDING_STREAMS
from penstock.stack.servers.monitoring import MONITORING
from penstock.stack.servers.postgres import POSTGRES
from penstock.stack.servers.registry import REGISTRY
from penstock.stack.servers.streams import WIKI_EDITS_MINUTE

__all__ = ["LIBRARIES", "SERVERS", "SPARK_JARS", "Environment", "Server", "airflow_environment", "render", "wanted"]

SERVERS: tuple[Server, ...] = (
    POSTGRES,
    KAFKA,
    REGISTRY,
    CASSANDRA,
    INFLUXDB,
    NAMENODE,
    DATANODE,
    *FLUME,
    CAR_API,
    RECENTCHANGE_COLLECTOR,
    WIKI_EDITS_MINUTE,
    WEB_EVENT_PRODUCER,
    *PRICE_CONSUMER,
    *LANDING_STREAMS,
    KAFKA_LAG_EXPORTER,
    REPLAY_API,
    *AIRFLOW,
    *MONITORING,
)
"""In the order in which they are shown."""

SPARK_JARS = MavenArtifact("spark-kafka", INCLUDE / "spark" / "pom.xml")

LIBRARIES: tuple[Artifact, ...] = (SPARK_JARS,)
"""What is fetched beside the servers."""


def artifacts(context: Context) -> list[Artifact]:
    """All that this instance is made of, each once, what others are built with before those."""
    needed = [each for server in wanted(context) for each in server.artifacts]
    return list(dict.fromkeys([*needed, *LIBRARIES]))


def wanted(context: Context) -> list[Server]:
    """The servers of this instance."""
    return [server for server in SERVERS if server.wanted(context)]


def supported_platform() -> str | None:
    """Why no server could run here, or None."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        here = f"{platform.system()} on {platform.machine()}"
        return f"this is {here}; the local stack runs on Linux x86_64: use docker compose"
    return None


def log_file(context: Context, name: str) -> Path:
    """The log of a server or of supervisord. Raises Fatal, naming the known ones, for another name."""
    known = [server.name for server in SERVERS]
    if name not in (*known, "supervisord"):
        raise Fatal(f"there is no server {name!r}: the servers are {', '.join(known)}, and supervisord")
    return context.layout.log(name)
