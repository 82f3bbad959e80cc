"""Flume: one agent a process, each watched and restarted by Airflow."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from penstock.core.errors import Fatal
from penstock.core.pipeline import Pipeline
from penstock.core.settings import INCLUDE, Names, web_logs_folder
from penstock.services import RAW_COPIES
from penstock.stack import ready
from penstock.stack.artifacts import MavenArtifact
from penstock.stack.context import FLUME_AGENTS, HOST, Context
from penstock.stack.java_artifact import JavaArtifact
from penstock.stack.servers.base import Environment, Server, heap, java

JARS = MavenArtifact("flume", INCLUDE / "flume" / "pom.xml")
CLASSES = JavaArtifact("penstock-flume", INCLUDE / "flume" / "src", against=JARS)


def _command(context: Context, agent: str, port: str) -> list[str]:
    conf, cache = context.layout.conf("flume"), context.layout.cache
    return [
        java(),
        *heap(context, "flume"),
        "-XX:+UseSerialGC",
        "-XX:+ExitOnOutOfMemoryError",
        "-Djava.net.preferIPv4Stack=true",
        f"-Dlog4j2.configurationFile={conf / 'log4j2.properties'}",
        "-DpropertiesImplementation=org.apache.flume.node.EnvVarResolverProperties",
        # Flume's own listens on every interface.
        "-Dflume.monitoring.type=penstock.flume.LoopbackHttpMetricsServer",
        f"-Dflume.monitoring.port={context.ports[port]}",
        f"-Dflume.monitoring.host={HOST}",
        "-cp",
        f"{conf}:{CLASSES.path(cache)}/*:{JARS.path(cache)}/*",
        "org.apache.flume.node.Application",
        f"--name={agent}",
        f"--conf-file={conf / agent}.conf",
        # A changed configuration takes effect by a restart, never half-way.
        "--no-reload-conf",
    ]


def _environment(context: Context) -> Environment:
    """An agent's configuration names topics and folders by variables, and Flume knows no defaults for those."""
    names = Names.from_env(context.settings)
    return {
        "CARS_HDFS_FOLDER": names.cars_folder,
        "CARS_TOPIC": names.cars_topic,
        "EVENTS_HDFS_FOLDER": names.events_folder,
        "EVENTS_TOPIC": names.events_topic,
        "FLUME_STATE": str(context.layout.data("flume")),
        "HADOOP_USER_NAME": context.hdfs_user,
        "POPULATION_HDFS_FOLDER": names.population_folder,
        "POPULATION_TOPIC": names.population_topic,
        "WEB_LOGS": str(web_logs_folder(context.environment())),
        "WIKI_HDFS_FOLDER": names.wiki_folder,
        "WIKI_TOPIC": names.wiki_topic,
    }


def _prepare(context: Context) -> None:
    for name in ("population", "wiki"):
        (context.spool / name).mkdir(parents=True, exist_ok=True)
    web_logs_folder(context.environment()).mkdir(parents=True, exist_ok=True)
    context.layout.data("flume").mkdir(parents=True, exist_ok=True)


def _agent(agent: str, port: str) -> Server:
    writes_hdfs = agent.endswith("-hdfs")
    return Server(
        name=f"flume-{agent}",
        title=f"Flume agent {agent}",
        artifacts=(JARS, CLASSES),
        folder="flume",
        ports=(port,),
        needs=("kafka", "provision", *(("hdfs-namenode", "hdfs-datanode") if writes_hdfs else ())),
        command=partial(_command, agent=agent, port=port),
        environment=_environment,
        prepare=_prepare,
        ready=partial(ready.flume, agent=agent, port=port),
        # A stop closes the files that are open on HDFS.
        stop_seconds=60,
    )


RAW_COPY = "raw-copy"
"""The agent, by its configuration, of the raw copy of each data set of the user's."""


def raw_copy_environment(pipeline: Pipeline) -> Environment:
    """What the configuration of RAW_COPY is told of a pipeline. Raises Fatal where it has no raw copy."""
    if pipeline.raw_copy is None:
        raise Fatal(f"the pipeline {pipeline} has no raw copy")
    return {
        "RAW_COPY_EVENT_TIME": pipeline.contract.event_time,
        "RAW_COPY_FOLDER": pipeline.raw_copy.folder,
        "RAW_COPY_GROUP": pipeline.raw_copy.agent,
        "RAW_COPY_NAME": pipeline.name,
        "RAW_COPY_TOPIC": pipeline.topic,
    }


def _raw_copy(agent: str, pipeline: Pipeline) -> Server:
    port = agent.replace("-", "_")
    environment = raw_copy_environment(pipeline)
    return replace(
        _agent(RAW_COPY, port),
        name=agent,
        title=f"Flume agent {agent.removeprefix('flume-')}",
        needs=("kafka", "provision", "hdfs-namenode", "hdfs-datanode"),
        environment=lambda context: {**environment, "HADOOP_USER_NAME": context.hdfs_user},
    )


FLUME: tuple[Server, ...] = (
    *(_agent(agent, port) for agent, port in FLUME_AGENTS.items()),
    *(_raw_copy(agent, pipeline) for agent, pipeline in RAW_COPIES.items()),
)
