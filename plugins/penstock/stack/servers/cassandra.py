"""Cassandra: one node."""

from __future__ import annotations

from penstock.core.errors import Fatal
from penstock.core.settings import INCLUDE
from penstock.stack import ready
from penstock.stack.artifacts import MavenArtifact
from penstock.stack.context import Context
from penstock.stack.servers.base import Server, java, jmx_agent

JARS = MavenArtifact("cassandra", INCLUDE / "cassandra" / "pom.xml")


def _cassandra_command(context: Context) -> list[str]:
    jars, conf = JARS.path(context.layout.cache), context.layout.conf("cassandra")
    agent = next(jars.glob("jamm-*.jar"), None)
    if agent is None:
        raise Fatal(f"Cassandra in {jars} is incomplete (no jamm jar): delete that folder and run again")
    command = [java(), f"-javaagent:{agent}", f"@{conf / 'jvm17.args'}"]
    command += jmx_agent(context, "cassandra", "cassandra_metrics")
    return [*command, "-cp", f"{conf}:{jars}/*", "org.apache.cassandra.service.CassandraDaemon"]


CASSANDRA = Server(
    name="cassandra",
    title="Cassandra 5.0",
    artifacts=(JARS,),
    folder="cassandra",
    ports=("cassandra", "cassandra_storage", "cassandra_jmx"),
    metrics_port="cassandra_metrics",
    command=_cassandra_command,
    ready=ready.cassandra,
    ready_seconds=300,
    stop_seconds=60,
)
