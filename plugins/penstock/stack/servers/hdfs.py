"""HDFS: one NameNode and one DataNode, with WebHDFS."""

from __future__ import annotations

import shutil

from penstock.core.settings import INCLUDE
from penstock.stack import ready
from penstock.stack.artifacts import MavenArtifact
from penstock.stack.context import Context
from penstock.stack.hdfs_admin import SUPERUSER
from penstock.stack.servers.base import Environment, Server, heap, java, run

JARS = MavenArtifact("hadoop", INCLUDE / "hadoop" / "pom.xml", resources=("hadoop-hdfs-*-tests.jar", "webapps/"))

_ENVIRONMENT = {"HADOOP_USER_NAME": SUPERUSER}
"""Who starts the NameNode is HDFS's superuser."""


def _java(context: Context, *options: str) -> list[str]:
    jars = JARS.path(context.layout.cache)
    # The folder itself is on the class path for its webapps/.
    class_path = f"{context.layout.conf('hadoop')}:{jars}:{jars}/*"
    return [java(), *options, f"-Dhadoop.home.dir={jars}", "-Djava.net.preferIPv4Stack=true", "-cp", class_path]


def _daemon(context: Context, main: str) -> list[str]:
    # The first compiler alone halves the processor time of a start; what moves blocks is native code.
    quick = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
    return [
        *_java(context, *heap(context, "hadoop"), *quick, "-XX:+ExitOnOutOfMemoryError"),
        f"org.apache.hadoop.hdfs.server.{main}",
    ]


def _environment(_: Context) -> Environment:
    return _ENVIRONMENT


def _format(context: Context) -> None:
    """Make an empty file system, once."""
    name = context.layout.data("hadoop") / "name"
    if name.exists():
        return
    # The folder gets its name once it is whole, so that an interrupted start leaves nothing half-made.
    staging = name.with_name("name.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True, mode=0o700)
    command = [
        *_java(context, "-Xmx128m", "-XX:TieredStopAtLevel=1"),
        "org.apache.hadoop.hdfs.server.namenode.NameNode",
    ]
    options = ["-D", f"dfs.namenode.name.dir=file://{staging}", "-format", "-force", "-nonInteractive"]
    run([*command, *options], "formatting HDFS", {**context.environment(), **_ENVIRONMENT})
    staging.rename(name)


NAMENODE = Server(
    name="hdfs-namenode",
    title="HDFS NameNode 3.5",
    artifacts=(JARS,),
    folder="hadoop",
    ports=("hdfs", "hdfs_http"),
    command=lambda context: _daemon(context, "namenode.NameNode"),
    environment=_environment,
    prepare=_format,
    ready=ready.namenode,
    stop_seconds=60,
)

DATANODE = Server(
    name="hdfs-datanode",
    title="HDFS DataNode 3.5",
    artifacts=(JARS,),
    folder="hadoop",
    ports=("hdfs_data", "hdfs_data_http", "hdfs_data_ipc"),
    command=lambda context: _daemon(context, "datanode.DataNode"),
    environment=_environment,
    ready=ready.datanode,
    stop_seconds=60,
)
