"""What each server answers when it can be used: None for ready, else what it is still waiting for."""

from __future__ import annotations

from http import HTTPStatus

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
