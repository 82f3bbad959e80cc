import os
import stat

import pytest

from penstock.core.errors import Fatal
from penstock.core.settings import PROJECT, Hdfs, Influx, Supervisor, datausa_url, flume_metrics_url
from penstock.services import SERVICES
from penstock.stack.context import Context
from penstock.stack.env import read_env, write_env
from penstock.stack.layout import DEFAULT_PORTS, Layout
from penstock.stack.private_file import write_private
from penstock.stack.provision import ADMIN_SECRETS, provision
from penstock.stack.servers import SERVERS


@pytest.fixture
def context(tmp_path) -> Context:
    write_env(tmp_path / ".env", PROJECT / ".env.example")
    layout = Layout(var=tmp_path / "var", cache=tmp_path / "cache", env_file=tmp_path / ".env")
    return Context(layout, read_env(tmp_path / ".env"), dict(DEFAULT_PORTS))


def test_programs_learn_influxdbs_token_from_a_file_that_provisioning_writes(context):
    environment = context.environment()
    assert "INFLUXDB_TOKEN" not in environment
    assert context.endpoints()["influxdb"]["token"] is None
    with pytest.raises(Fatal, match=r"INFLUXDB_TOKEN_FILE names .*cannot be read"):
        Influx.from_env(environment)
    write_private(context.influx_token_file, "to-ken==")
    assert Influx.from_env(environment).token == "to-ken=="
    assert context.endpoints()["influxdb"] == {
        "url": "http://127.0.0.1:8086",
        "org": "penstock",
        "bucket": "ETL_Project",
        "token": "to-ken==",
    }
    assert context.environment() == environment


def test_a_token_in_the_environment_comes_before_the_files():
    assert (
        Influx.from_env({"INFLUXDB_URL": "http://i", "INFLUXDB_TOKEN": "x", "INFLUXDB_TOKEN_FILE": "/no"}).token == "x"
    )


def test_a_private_file_is_never_readable_by_others(tmp_path, monkeypatch):
    modes = []
    monkeypatch.setattr("pathlib.Path.replace", lambda path, _: modes.append(stat.S_IMODE(path.stat().st_mode)))
    before = os.umask(0)
    try:
        write_private(tmp_path / "folder" / "secret", "s")
    finally:
        os.umask(before)
    assert modes == [0o600]


def test_a_private_file_is_replaced(tmp_path):
    for text in ("first", "second"):
        write_private(tmp_path / "secret", text)
    assert (tmp_path / "secret").read_text() == "second"
    assert [each.name for each in tmp_path.iterdir()] == ["secret"]


def test_clients_find_every_server(context):
    environment, endpoints = context.environment(), context.endpoints()
    assert Hdfs.from_env(environment) == Hdfs("hdfs://127.0.0.1:8020", "http://127.0.0.1:9870", "penstock")
    assert endpoints["hdfs"] == {"fs": "hdfs://127.0.0.1:8020", "webhdfs": "http://127.0.0.1:9870", "user": "penstock"}
    assert endpoints["car_api"] == {"url": environment["CAR_API_URL"]}
    assert Supervisor.from_env(environment) == Supervisor(**endpoints["supervisor"])
    agents = {name.removeprefix("flume-"): name for name in SERVICES if name.startswith("flume-")}
    assert endpoints["flume"] == {agent: flume_metrics_url(name, environment) for agent, name in agents.items()}


def test_a_replayed_population_is_asked_like_the_real_one(context):
    replayed = Context(context.layout, context.settings, context.ports, replay=True).environment()["DATAUSA_URL"]
    assert replayed.startswith("http://127.0.0.1:8090/datausa/tesseract/data.jsonrecords?")
    assert replayed.partition("?")[2] == datausa_url({}).partition("?")[2]


def test_every_listener_belongs_to_one_server():
    ports = [port for server in SERVERS for port in (*server.ports, server.metrics_port) if port]
    assert sorted([*ports, "supervisor"]) == sorted(DEFAULT_PORTS)


def test_provisioning_names_what_it_was_not_told():
    with pytest.raises(Fatal, match=f"{', '.join(ADMIN_SECRETS)}, INFLUXDB_URL, INFLUXDB_TOKEN_FILE: not set"):
        provision({}, print)
