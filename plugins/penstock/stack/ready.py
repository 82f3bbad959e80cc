"""What each server answers when it can be used: None for ready, else what it is still waiting for."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import requests

from penstock.core.settings import Cassandra as CassandraSettings
from penstock.stack.context import HOST, Context

_TIMEOUT = 3.0


def postgres(context: Context) -> str | None:
    """PostgreSQL takes a password and answers a query."""
    import psycopg

    url = context.postgres_url("postgres", "postgres", "POSTGRES_PASSWORD")
    try:
        with psycopg.connect(url, connect_timeout=int(_TIMEOUT)) as connection:
            connection.execute("select 1")
    except psycopg.OperationalError as error:
        return str(error).strip().splitlines()[-1]
    return None


def kafka(context: Context) -> str | None:
    """The broker names itself as a member of the cluster."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": f"{HOST}:{context.ports['kafka']}", "log_level": 0})
    try:
        return None if admin.list_topics(timeout=_TIMEOUT).brokers else "no broker in the cluster"
    except KafkaException as error:
        return str(error.args[0].str())


def cassandra(context: Context) -> str | None:
    """The node takes native connections and a password."""
    from penstock.stack import cassandra_admin

    settings = CassandraSettings.from_env(context.environment())
    known = cassandra_admin.can_log_in(settings, context.secret("CASSANDRA_ADMIN_PASSWORD"))
    return None if known else "nobody can log in yet"


def http_ok(url: str, must: str | None = None) -> str | None:
    """An HTTP address answers 200, with `must` in its body where given."""
    try:
        answer = requests.get(url, timeout=_TIMEOUT)
    except requests.RequestException as error:
        return type(error).__name__
    if answer.status_code != HTTPStatus.OK:
        return f"HTTP {answer.status_code}"
    return None if must is None or must in answer.text else f"no {must!r} in its answer"


def registry(context: Context) -> str | None:
    """The Confluent-style API lists its subjects, so its database is there too."""
    return http_ok(f"{context.registry_url}/subjects")


def replay(context: Context) -> str | None:
    """The replay server's health."""
    return http_ok(f"http://{HOST}:{context.ports['replay']}/healthz")


def _airflow_component(context: Context, component: str) -> str | None:
    try:
        answer = requests.get(f"{context.airflow_url}/api/v2/monitor/health", timeout=_TIMEOUT)
        status = answer.json()[component]["status"]
    except (requests.RequestException, ValueError, KeyError) as error:
        return type(error).__name__
    return None if status == "healthy" else f"its status is {status}"


def api_server(context: Context) -> str | None:
    """The UI's server reaches its database."""
    return _airflow_component(context, "metadatabase")


def scheduler(context: Context) -> str | None:
    """The scheduler beats."""
    return _airflow_component(context, "scheduler")


def dag_processor(context: Context) -> str | None:
    """The DAG processor beats."""
    return _airflow_component(context, "dag_processor")


def triggerer(context: Context) -> str | None:
    """The triggerer beats."""
    return _airflow_component(context, "triggerer")


def log_server(context: Context) -> str | None:
    """It answers, and gives no log to those who don't say that Airflow has sent them."""
    try:
        status = requests.get(f"http://{HOST}:{context.ports['airflow_log']}/log/", timeout=_TIMEOUT).status_code
    except requests.RequestException as error:
        return type(error).__name__
    return None if status == HTTPStatus.FORBIDDEN else f"HTTP {status}"


def car_api(context: Context) -> str | None:
    """The car API's health, which includes that it reaches Kafka."""
    return http_ok(f"http://{HOST}:{context.ports['car_api']}/healthz")


def status_server(context: Context, *, port: str) -> str | None:
    """The program answers, be it that something it needs is away."""
    try:
        status = requests.get(f"http://{HOST}:{context.ports[port]}/healthz", timeout=_TIMEOUT).status_code
    except requests.RequestException as error:
        return type(error).__name__
    return None if status in {HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE} else f"HTTP {status}"


def answers(context: Context, *, port: str, path: str) -> str | None:
    """The program at this port answers 200 under `path`."""
    return http_ok(f"http://{HOST}:{context.ports[port]}{path}")


def influxdb(context: Context) -> str | None:
    """InfluxDB has opened its stores."""
    return http_ok(f"http://{HOST}:{context.ports['influxdb']}/health", must='"status":"pass"')


def _json(url: str) -> Any:
    """What an address answers, or why it does not, as text."""
    try:
        answer = requests.get(url, timeout=_TIMEOUT)
        answer.raise_for_status()
        return answer.json()
    except (requests.RequestException, ValueError) as error:
        return type(error).__name__


def _namenode_bean(context: Context, name: str) -> Any:
    """Figures of the NameNode (https://hadoop.apache.org/docs/r3.5.0/hadoop-project-dist/hadoop-common/Metrics.html)."""
    query = f"http://{HOST}:{context.ports['hdfs_http']}/jmx?qry=Hadoop:service=NameNode,name={name}"
    answer = _json(query)
    if isinstance(answer, str):
        return answer
    return next(iter(answer.get("beans", ())), "not started yet")


def namenode(context: Context) -> str | None:
    """The NameNode has read its image and takes calls; it may still wait for its DataNode to report blocks."""
    status = _namenode_bean(context, "NameNodeStatus")
    if isinstance(status, str):
        return status
    return None if status.get("State") == "active" else f"its state is {status.get('State')}"


def datanode(context: Context) -> str | None:
    """The NameNode knows a live DataNode and, all blocks reported, has left safe mode: files can be written."""
    info, state = (_namenode_bean(context, name) for name in ("NameNodeInfo", "FSNamesystemState"))
    if isinstance(info, str) or isinstance(state, str):
        return "no NameNode"
    if not state.get("NumLiveDataNodes"):
        return "not registered with the NameNode"
    return "the NameNode is in safe mode" if info.get("Safemode") else None


def flume(context: Context, *, agent: str, port: str) -> str | None:
    """Every source, channel and sink of the agent has begun to count."""
    counters = _json(f"http://{HOST}:{context.ports[port]}/metrics")
    if isinstance(counters, str):
        return counters
    conf = (context.layout.conf("flume") / f"{agent}.conf").read_text(encoding="utf-8")
    declared = re.findall(rf"(?m)^{re.escape(agent)}\.(source|channel|sink)s\s*=\s*(.+)$", conf)
    names = [f"{kind.upper()}.{name}" for kind, listed in declared for name in listed.split()]
    missing = [name for name in names if name not in counters]
    return f"no counters of {', '.join(missing)}" if missing else None
