import os
import stat
from dataclasses import replace

import pytest
import yaml

from penstock.core.errors import Fatal
from penstock.core.settings import PROJECT, Hdfs, Influx, Supervisor, datausa_url, flume_metrics_url
from penstock.services import SERVICES
from penstock.stack.context import Context
from penstock.stack.env import read_env, write_env
from penstock.stack.layout import DEFAULT_PORTS, Layout
from penstock.stack.private_file import write_private
from penstock.stack.provision import ADMIN_SECRETS, provision
from penstock.stack.servers import SERVERS, airflow_environment, artifacts, render, wanted
from penstock.stack.servers.base import JMX_AGENT, jmx_agent
from penstock.stack.servers.kafka import KAFKA
from penstock.stack.servers.monitoring import ALERTMANAGER


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


@pytest.fixture
def monitored(context) -> Context:
    """The same instance with the profile monitoring."""
    return replace(context, settings={**context.settings, "PENSTOCK_PROFILES": " monitoring"})


def test_monitoring_is_added_by_its_profile_alone(context, monitored):
    added = {server.name for server in wanted(monitored)} - {server.name for server in wanted(context)}
    assert added == {"prometheus", "alertmanager", "statsd-exporter", "penstock-exporter"}
    assert not {"prometheus", "alertmanager"} & context.endpoints().keys()
    assert monitored.endpoints()["prometheus"] == {"url": "http://127.0.0.1:9090"}
    assert monitored.endpoints()["alertmanager"] == {"url": "http://127.0.0.1:9095"}
    assert {each.name for each in artifacts(monitored)} - {each.name for each in artifacts(context)} == {
        "prometheus", "promtool", "alertmanager", "amtool", "statsd_exporter", "jmx",
    }  # fmt: skip


def test_airflow_measures_itself_only_where_somebody_listens(context, monitored):
    assert "AIRFLOW__METRICS__STATSD_ON" not in airflow_environment(context)
    assert airflow_environment(monitored)["AIRFLOW__METRICS__STATSD_PORT"] == "9125"


def test_a_jvm_serves_its_metrics_on_loopback_and_only_where_it_is_monitored(context, monitored):
    assert jmx_agent(context, "kafka", "kafka_metrics") == []
    with pytest.raises(Fatal, match="delete that folder and run again"):
        jmx_agent(monitored, "kafka", "kafka_metrics")
    jar = JMX_AGENT.path(monitored.layout.cache) / "jmx_prometheus_javaagent-1.0.1.jar"
    jar.parent.mkdir(parents=True)
    jar.touch()
    rules = monitored.layout.conf("kafka") / "jmx.yml"
    assert jmx_agent(monitored, "kafka", "kafka_metrics") == [f"-javaagent:{jar}=127.0.0.1:7071:{rules}"]
    assert "kafka_metrics" in KAFKA.listens(monitored)
    assert "kafka_metrics" not in KAFKA.listens(context)


def test_an_unknown_profile_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PENSTOCK_VAR", str(tmp_path / "var"))
    monkeypatch.setenv("PENSTOCK_ENV_FILE", str(tmp_path / ".env"))
    monkeypatch.setenv("PENSTOCK_PROFILES", "monitoring,gold")
    with pytest.raises(Fatal, match="PENSTOCK_PROFILES names gold: the profiles are monitoring"):
        Context.load(create=True)


@pytest.mark.parametrize(("url", "receiver"), [("", "nobody"), ("https://chat.example.org/secret", "webhook")])
def test_the_address_for_alerts_is_in_a_private_file_only(context, url, receiver):
    told = replace(context, settings={**context.settings, "ALERT_WEBHOOK_URL": url})
    render(ALERTMANAGER, told)
    ALERTMANAGER.prepare(told)
    conf = told.layout.conf("alertmanager")
    rendered = yaml.safe_load((conf / "alertmanager.yml").read_text())
    assert rendered["route"]["receiver"] == receiver
    assert rendered["receivers"][1]["webhook_configs"][0]["url_file"] == str(conf / "webhook.url")
    assert "secret" not in (conf / "alertmanager.yml").read_text()
    assert stat.S_IMODE((conf / "webhook.url").stat().st_mode) == 0o600


def test_provisioning_names_what_it_was_not_told():
    with pytest.raises(Fatal, match=f"{', '.join(ADMIN_SECRETS)}, INFLUXDB_URL, INFLUXDB_TOKEN_FILE: not set"):
        provision({}, print)
