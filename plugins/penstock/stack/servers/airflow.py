"""Airflow: its four processes, each started by scripts/entrypoint.sh as in a container, and the server of their logs.

Started by scheduler and triggerer, as in a container, log servers would listen on every interface.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.core.settings import PROJECT
from penstock.services import SERVICES
from penstock.stack import ready
from penstock.stack.artifacts import java_home
from penstock.stack.context import HOST, Context
from penstock.stack.servers.base import Environment, Server

LINEAGE: Environment = {
    "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "penstock.airflow.lineage_transport.OutletTransport"}),
    # A thread costs a task milliseconds, the provider's fork of the whole process many times that.
    "AIRFLOW__OPENLINEAGE__EXECUTE_IN_THREAD": "True",
    "AIRFLOW__OPENLINEAGE__EXECUTION_TIMEOUT": "5",
    # Runs of DAGs are told by their tasks' parent; told by themselves, they would cost the scheduler a process.
    "AIRFLOW__OPENLINEAGE__EMISSION_POLICY": json.dumps([{"scope": {}, "controls": {"emit_dag_events": False}}]),
    # It would read the checkout's git configuration, which may have the address of a private host.
    "OPENLINEAGE__FACETS__SOURCE_CODE_LOCATION__DISABLED": "true",
}


def airflow_environment(context: Context) -> Environment:
    """What makes these processes one Airflow: its database, its shared secrets, its connections.

    The connection influxdb_default is scripts/entrypoint.sh's: it holds a token that InfluxDB makes later than this.
    """
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
    hdfs = {"conn_type": "webhdfs", "host": HOST, "port": ports["hdfs_http"], "login": context.hdfs_user}
    return {
        # Airflow renames its processes, by default over their environment, which tells whose they are.
        "SPT_NOENV": "1",
        "AIRFLOW_HOME": str(context.layout.data("airflow")),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "penstock.airflow.executor.WarmLocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "8",
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "penstock.airflow.loopback.hostname",
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
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(ports["airflow_log"]),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(ports["airflow_log"]),
        **LINEAGE,
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_HOST": HOST,
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(ports["airflow_scheduler_health"]),
        # A round looks at the run of each watch, for about 50 ms of CPU: after pauses of 0.1 s, it takes half of a core
        # together with its database, after Airflow's own of 1 s, tasks wait for one another.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "AIRFLOW_ADMIN_USER": context.settings.get("AIRFLOW_ADMIN_USER") or "admin",
        "AIRFLOW_ADMIN_PASSWORD": context.secret("AIRFLOW_ADMIN_PASSWORD"),
        "AIRFLOW_ADMIN_EMAIL": context.settings.get("AIRFLOW_ADMIN_EMAIL") or "admin@localhost",
        "AIRFLOW_CONN_KAFKA_DEFAULT": json.dumps(kafka),
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps(spark),
        "AIRFLOW_CONN_CASSANDRA_DEFAULT": json.dumps(cassandra),
        "AIRFLOW_CONN_HDFS_DEFAULT": json.dumps(hdfs),
        "AIRFLOW_CONN_LEDGER": context.ledger_url,
        "PENSTOCK_SPARK_PROPERTIES": str(context.layout.conf("spark") / "spark-defaults.conf"),
        "JAVA_HOME": str(java_home()),
        # spark-submit would start a Python, and a JVM that compiles for a long life, only to find where Spark is.
        "SPARK_HOME": str(_spark_home()),
        "SPARK_LAUNCHER_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        **(_statsd(context) if context.monitoring else {}),
    }


STATSD: Environment = {
    "AIRFLOW__METRICS__STATSD_ON": "True",
    # Names without ids in them, and the ids as tags, which become labels.
    "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
    "AIRFLOW__METRICS__LEGACY_NAMES_ON": "False",
    # What include/statsd/mapping.yml has a place for; the rest is not even sent.
    "AIRFLOW__METRICS__METRICS_ALLOW_LIST": (
        "^task.duration,^dagrun.duration,^ti.finish,^scheduler_heartbeat,^triggerer_heartbeat,"
        "^dag_processing.import_errors,^pool.,^executor."
    ),
}
"""How Airflow measures itself; the same in a container."""


def _statsd(context: Context) -> Environment:
    at = {"AIRFLOW__METRICS__STATSD_HOST": HOST, "AIRFLOW__METRICS__STATSD_PORT": str(context.ports["statsd"])}
    return {**STATSD, **at}


def _spark_home() -> Path:
    import pyspark

    return Path(pyspark.__file__).parent


def _serve_logs(context: Context) -> list[str]:
    """The log server that scheduler and triggerer would each start, for this machine alone."""
    at = ["--host", HOST, "--port", str(context.ports["airflow_log"])]
    server = "airflow.utils.serve_logs.log_server:get_app"
    return [sys.executable, "-m", "uvicorn", "--factory", server, *at, "--no-access-log", "--log-level", "warning"]


def _airflow(
    name: str,
    probe: Callable[[Context], str | None],
    title: str,
    *options: str,
    needs: tuple[str, ...] = ("airflow-init",),
    **more: Any,
) -> Server:
    entrypoint = str(PROJECT / "scripts" / "entrypoint.sh")
    return Server(
        name=name,
        title=title,
        command=lambda _: ["/bin/bash", entrypoint, name.removeprefix("airflow-"), *options],
        environment=airflow_environment,
        ready=probe,
        needs=needs,
        **more,
    )


AIRFLOW: tuple[Server, ...] = (
    _airflow("airflow-api-server", ready.api_server, "Airflow API server", ports=("airflow",)),
    _airflow(
        "airflow-scheduler",
        ready.scheduler,
        "Airflow scheduler",
        "--skip-serve-logs",
        # A run must find what it writes to, and Spark's properties.
        needs=("airflow-init", "airflow-api-server", "provision", "spark"),
        ports=("airflow_scheduler_health",),
    ),
    Server(
        name="airflow-log-server",
        title="Airflow log server",
        command=_serve_logs,
        environment=airflow_environment,
        ready=ready.log_server,
        needs=("airflow-init",),
        ports=("airflow_log",),
    ),
    _airflow("airflow-dag-processor", ready.dag_processor, "Airflow DAG processor"),
    _airflow(
        "airflow-triggerer",
        ready.triggerer,
        "Airflow triggerer",
        "--skip-serve-logs",
        # The watches are here: they take up services that were prepared and started, and end before these are stopped.
        needs=("airflow-init", *SERVICES),
    ),
)
