"""Kafka: one node that is broker and controller."""

from __future__ import annotations

from penstock.core.settings import INCLUDE
from penstock.stack import ready
from penstock.stack.artifacts import MavenArtifact
from penstock.stack.context import Context
from penstock.stack.servers.base import Server, heap, java, jmx_agent, run

JARS = MavenArtifact("kafka", INCLUDE / "kafka" / "pom.xml")


def _kafka_java(context: Context, *options: str) -> list[str]:
    conf = context.layout.conf("kafka")
    logging = f"-Dlog4j2.configurationFile={conf / 'log4j2.properties'}"
    jars = JARS.path(context.layout.cache) / "*"
    return [java(), *options, logging, "-cp", str(jars)]


def _kafka_command(context: Context) -> list[str]:
    agent = jmx_agent(context, "kafka", "kafka_metrics")
    command = _kafka_java(context, *agent, *heap(context, "kafka"), "-XX:+UseG1GC", "-XX:+ExitOnOutOfMemoryError")
    return [*command, "kafka.Kafka", str(context.layout.conf("kafka") / "server.properties")]


def _prepare_kafka(context: Context) -> None:
    if (context.layout.data("kafka") / "log" / "meta.properties").exists():
        return
    tool = [*_kafka_java(context, "-Xmx128m", "-XX:TieredStopAtLevel=1"), "kafka.tools.StorageTool"]
    properties = str(context.layout.conf("kafka") / "server.properties")
    cluster = run([*tool, "random-uuid"], "making a Kafka cluster id").strip()
    run([*tool, "format", "-t", cluster, "-c", properties, "--standalone"], "formatting Kafka's storage")


KAFKA = Server(
    name="kafka",
    title="Kafka 4.3",
    artifacts=(JARS,),
    folder="kafka",
    ports=("kafka", "kafka_controller"),
    metrics_port="kafka_metrics",
    command=_kafka_command,
    prepare=_prepare_kafka,
    ready=ready.kafka,
    stop_seconds=60,
)
