"""scripts/entrypoint.sh with stand-ins for the programs that it starts."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.core.settings import PROJECT
from penstock.stack.layout import free_ports

ENTRYPOINT = PROJECT / "scripts" / "entrypoint.sh"
PASSWORD = "s3cret/with:odd@characters"

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Stand-ins that say with which arguments, and as which process, they were started."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("airflow", "java", "penstock", "python", "spark-class", "supervisord", "uv"):
        _program(folder / name, 'echo "$(basename "$0") $* as $$"')
    return folder


def _program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


@pytest.fixture
def start(programs: Path, tmp_path: Path) -> Start:
    """Start the entrypoint: start(*arguments, SETTING=value)."""

    def run(*arguments: str, **settings: str) -> subprocess.Popen[str]:
        environment = {"PATH": f"{programs}:{os.defpath}", "AIRFLOW_HOME": str(tmp_path), "PENSTOCK_WAIT_SECONDS": "30"}
        return subprocess.Popen(
            ["bash", ENTRYPOINT, *arguments],
            env=environment | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


@pytest.fixture
def listener():
    """A socket that takes connections, as a server that is up."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def _database(port: int) -> str:
    return f"postgresql+psycopg2://airflow:{PASSWORD}@127.0.0.1:{port}/airflow"


@pytest.fixture
def database(listener: socket.socket) -> dict[str, str]:
    """The setting of a database that is up."""
    return {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": _database(listener.getsockname()[1])}


@pytest.mark.parametrize("role", ["api-server", "scheduler", "dag-processor", "triggerer"])
def test_a_component_of_airflow_takes_the_place_of_the_script(start, database, role):
    process = start(role, "--flag", **database)
    out, _ = process.communicate()
    assert out == f"airflow {role} --flag as {process.pid}\n"


@pytest.mark.parametrize(
    ("arguments", "started"),
    [
        (("spark-master",), "spark-class org.apache.spark.deploy.master.Master"),
        (("replay-api", "--port", "8090"), "python -m apps.replay_api --port 8090"),
        (("penstock", "ledger"), "penstock ledger"),
        (("airflow", "dags", "list"), "airflow dags list"),
        (("python", "-m", "airflow.sdk.execution_time.execute_workload"),
         "python -m airflow.sdk.execution_time.execute_workload"),
    ],
)  # fmt: skip
def test_a_role_without_needs_starts_at_once(start, arguments, started):
    process = start(*arguments)
    assert process.communicate()[0] == f"{started} as {process.pid}\n"


def test_a_celery_worker_needs_database_and_broker(start, database, listener):
    broker = f"redis://:{PASSWORD}@127.0.0.1:{listener.getsockname()[1]}/0"
    process = start("celery", "worker", AIRFLOW__CELERY__BROKER_URL=broker, **database)
    assert process.communicate()[0] == f"airflow celery worker as {process.pid}\n"


def test_a_spark_worker_joins_the_master_once_it_is_there(start, listener):
    master = f"spark://127.0.0.1:{listener.getsockname()[1]}"
    process = start("spark-worker", SPARK_MASTER_URL=master)
    assert process.communicate()[0] == f"spark-class org.apache.spark.deploy.worker.Worker {master} as {process.pid}\n"


def test_a_role_waits_until_its_need_takes_connections(start, programs):
    (port,) = free_ports(1)
    _program(programs / "airflow", f": </dev/tcp/127.0.0.1/{port} && echo connected")
    process = start("scheduler", AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=_database(port))
    with socket.create_server(("127.0.0.1", port)):
        assert process.communicate() == ("connected\n", "")


def test_a_need_that_never_answers_is_named_without_its_password(start):
    (port,) = free_ports(1)
    process = start(
        "scheduler", AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=_database(port), PENSTOCK_WAIT_SECONDS="0"
    )  # fmt: skip
    out, said = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert said.startswith(f"entrypoint.sh: Airflow's database did not answer at 127.0.0.1:{port} within 0 s")
    assert "s3cret" not in said


def test_provisioning_waits_for_all_servers_of_which_one_broker_is_enough(start, listener):
    port = listener.getsockname()[1]
    (closed,) = free_ports(1)
    process = start(
        "penstock",
        "provision",
        LEDGER_URL=f"postgresql://penstock:{PASSWORD}@127.0.0.1:{port}/penstock",
        KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{closed},127.0.0.1:{port}",
        SCHEMA_REGISTRY_URL=f"http://127.0.0.1:{port}/apis/ccompat/v7",
        CASSANDRA_HOSTS="127.0.0.1",
        CASSANDRA_PORT=str(port),
        INFLUXDB_URL=f"http://127.0.0.1:{port}",
        WEBHDFS_URL=f"http://127.0.0.1:{port}",
    )
    assert process.communicate()[0] == f"penstock provision as {process.pid}\n"


def test_the_jobs_container_runs_supervisord_once_kafka_and_hdfs_answer(start, listener):
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    process = start(
        "jobs", KAFKA_BOOTSTRAP_SERVERS=address, WEBHDFS_URL=f"http://{address}", PENSTOCK_HOME=str(PROJECT)
    )
    command = f"supervisord --nodaemon --configuration {PROJECT}/include/docker/jobs.conf"
    assert process.communicate()[0] == f"{command} as {process.pid}\n"


def test_the_car_api_waits_for_kafka(start, listener):
    process = start("car-api", "--port", "8091", KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{listener.getsockname()[1]}")
    assert process.communicate()[0] == f"python -m apps.car_api --port 8091 as {process.pid}\n"


def test_a_flume_agent_that_is_not_declared_is_named(start):
    process = start("flume", "nobody", "21414", PENSTOCK_HOME=str(PROJECT), FLUME_JARS="/jars")
    assert "entrypoint.sh: there is no Flume agent nobody" in process.communicate()[1]
    assert process.returncode == 1


def test_airflow_connects_to_influxdb_with_the_token_in_its_file(start, programs, database, tmp_path):
    _program(programs / "airflow", 'echo "$AIRFLOW_CONN_INFLUXDB_DEFAULT"')
    (tmp_path / "token").write_text("to-ken==")
    settings = {"INFLUXDB_TOKEN_FILE": str(tmp_path / "token"), "INFLUXDB_URL": "http://influxdb:8086"}
    connection = json.loads(start("scheduler", **settings, **database).communicate()[0])
    assert connection == {
        "conn_type": "influxdb",
        "host": "http://influxdb:8086",
        "extra": {"token": "to-ken==", "org": "penstock"},
    }


def test_airflow_starts_without_a_token_before_there_is_one(start, programs, database, tmp_path):
    _program(programs / "airflow", 'echo "${AIRFLOW_CONN_INFLUXDB_DEFAULT-none}"')
    settings = {"INFLUXDB_TOKEN_FILE": str(tmp_path / "token"), "INFLUXDB_URL": "http://influxdb:8086"}
    assert start("api-server", **settings, **database).communicate() == ("none\n", "")


@pytest.mark.parametrize(
    ("settings", "disabled"),
    [({}, "True"), ({"LINEAGE_FOLDER": "off"}, "True"), ({"LINEAGE_FOLDER": "/lineage"}, "unset")],
)
def test_airflow_loads_the_provider_of_lineage_only_where_there_is_any(start, programs, database, settings, disabled):
    _program(programs / "airflow", 'echo "${AIRFLOW__OPENLINEAGE__DISABLED-unset}"')
    assert start("scheduler", **settings, **database).communicate() == (f"{disabled}\n", "")


def test_a_missing_address_is_named(start):
    process = start("scheduler")
    assert process.communicate()[1] == (
        "entrypoint.sh: AIRFLOW__DATABASE__SQL_ALCHEMY_CONN is not set: .env.example says what it means\n"
    )
    assert process.returncode == 1


def test_a_signal_reaches_the_role(start, programs, database):
    _program(programs / "airflow", "sleep 60 >/dev/null & trap 'kill $!; echo stopping; exit 7' TERM; echo up; wait")
    process = start("scheduler", **database)
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate()[0] == "stopping\n"
    assert process.returncode == 7


def test_init_migrates_then_makes_the_rest_and_shows_no_password(start, database):
    process = start("init", AIRFLOW_ADMIN_USER="admin", AIRFLOW_ADMIN_PASSWORD=PASSWORD, **database)
    first, second = process.communicate()[0].splitlines()
    assert first.startswith("airflow db migrate as ")
    assert second == f"python -m penstock.airflow.init as {process.pid}"


@pytest.mark.parametrize("missing", ["AIRFLOW_ADMIN_USER", "AIRFLOW_ADMIN_PASSWORD"])
def test_init_without_its_user_says_so_before_it_touches_the_database(start, database, missing):
    settings = {"AIRFLOW_ADMIN_USER": "admin", "AIRFLOW_ADMIN_PASSWORD": PASSWORD, missing: ""}
    process = start("init", **settings, **database)
    out, said = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert said == f"entrypoint.sh: {missing} is not set: run `make env`, which generates what .env lacks\n"


def test_additional_requirements_are_installed_beside_the_locked_ones_with_a_warning(
    start, programs, database, tmp_path
):
    _program(programs / "python", f'[[ "$2" == "import pip" ]] && exit 1; exec {sys.executable} "$@"')
    _program(programs / "uv", 'echo "uv $*"')
    _program(programs / "airflow", 'echo "PYTHONPATH=$PYTHONPATH"')
    process = start("scheduler", _PIP_ADDITIONAL_REQUIREMENTS="humanize>=4 cowsay", PYTHONPATH="/code", **database)
    out, said = process.communicate()
    target = tmp_path / "additional-requirements" / "scheduler"
    installed, environment = out.splitlines()
    assert installed.startswith("uv pip install ")
    assert installed.endswith(f"--target {target} --constraint {target}.constraints humanize>=4 cowsay")
    assert environment == f"PYTHONPATH=/code:{target}"
    assert "installing humanize>=4 cowsay, as _PIP_ADDITIONAL_REQUIREMENTS says" in said
    assert "pytest==" in Path(f"{target}.constraints").read_text()


def test_an_installation_that_fails_stops_the_start(start, programs, database):
    _program(programs / "uv", "echo no such package >&2; exit 2")
    _program(programs / "python", '[[ "$2" == "import pip" ]] && exit 1; exit 0')
    process = start("scheduler", _PIP_ADDITIONAL_REQUIREMENTS="nothing", **database)
    out, said = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert "no such package" in said


def test_an_unknown_role_is_named_beside_the_known_ones(start):
    process = start("webserver")
    said = process.communicate()[1]
    assert process.returncode == 1
    assert "api-server | scheduler" in said
    assert said.endswith("entrypoint.sh: there is no role webserver\n")


def test_help_is_there(start):
    process = start("--help")
    assert "usage: entrypoint.sh ROLE" in process.communicate()[0]
    assert process.returncode == 0
