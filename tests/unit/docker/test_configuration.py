"""The containers are configured as the local stack is, and every setting has a place where a person finds it."""

import configparser
import dataclasses
import itertools
import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import jinja2
import pytest
import yaml

from penstock.core import settings
from penstock.core.settings import INCLUDE, PROJECT
from penstock.services import PRICE_CONSUMERS, SERVICES
from penstock.stack import context, servers
from penstock.stack.env import SECRETS, read_env
from penstock.stack.layout import DEFAULT_PORTS, Layout

EXAMPLE = PROJECT / ".env.example"


@pytest.fixture
def offered() -> dict[str, str]:
    """What .env.example has."""
    pairs = (line.split("=", 1) for line in EXAMPLE.read_text().splitlines() if line and not line.startswith("#"))
    return dict(pairs)


@pytest.fixture
def local(tmp_path, env_file, monkeypatch) -> context.Context:
    """The local stack with the same .env."""
    for module in (servers.airflow, servers.base):
        monkeypatch.setattr(module, "java_home", lambda: Path("/java"))
    layout = Layout(var=tmp_path / "var", cache=tmp_path / "cache", env_file=env_file)
    return context.Context(layout, read_env(env_file), dict(DEFAULT_PORTS))


def _image_environment() -> set[str]:
    return set(re.findall(r"^\s*(?:ENV )?([A-Z_]+)=", (PROJECT / "Dockerfile").read_text(), re.MULTILINE))


def test_the_example_lists_every_variable_of_compose(offered):
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", (PROJECT / "docker-compose.yml").read_text()))
    assert used - set(offered) == set()


def test_the_example_explains_every_key():
    lines = EXAMPLE.read_text().splitlines()
    for above, line in itertools.pairwise(lines):
        if line and not line.startswith("#"):
            assert above.startswith("# "), f"{line} has no comment above it"


def test_the_example_has_no_secret_in_it(offered):
    assert set(SECRETS) <= set(offered)
    assert {name: offered[name] for name in SECRETS if offered[name]} == {}


def test_the_example_has_every_port_of_the_local_stack_with_its_default():
    stated = dict(re.findall(r"; (\d+) where empty\.\n(PENSTOCK_PORT_\w+)=\n", EXAMPLE.read_text()))
    local = {f"PENSTOCK_PORT_{name.upper()}": str(port) for name, port in DEFAULT_PORTS.items()}
    assert {name: port for port, name in stated.items()} == local | {
        "PENSTOCK_PORT_SPARK": "8082",
        "PENSTOCK_PORT_GRAFANA": "3000",
    }


def test_the_example_states_the_defaults_that_the_code_has(offered):
    assert settings.Names.from_env(offered) == settings.Names.from_env({})
    assert settings.OpenMeteo.from_env(offered) == settings.OpenMeteo.from_env({})
    assert settings.cassandra_keyspace(offered) == settings.cassandra_keyspace({})
    assert settings.influx_bucket(offered) == settings.influx_bucket({})
    assert settings.influx_org(offered) == settings.influx_org({})
    assert settings.datausa_url(offered) == settings.datausa_url({})


@pytest.mark.parametrize("source", ["plugins/penstock/core/settings.py", "scripts/entrypoint.sh"])
def test_every_setting_is_in_the_example_or_set_by_compose(offered, services, source):
    text = (PROJECT / source).read_text()
    python = re.findall(r"""(?:text|required|number|get)\(\s*["']([A-Z_]+)["']""", text)
    shell = re.findall(r"\$\{?(?!\{)([A-Z_]{4,})\b", text) if source.endswith(".sh") else []
    set_by_compose = {name for service in services.values() for name in service.get("environment", {})}
    others = {"BASH_SOURCE", "SECONDS"} | {"PENSTOCK_ENV_FILE"}  # bash's own, and what says where the example is
    assert python or shell
    assert {*python, *shell} - set(offered) - set_by_compose - _image_environment() - others == set()


def test_airflow_has_every_setting_that_the_local_stack_gives_it(local, services):
    given = servers.airflow_environment(local)
    # Addresses, which in a container are Airflow's own defaults; the admin user is airflow-init's.
    addresses = {name for name in given if name.endswith(("_HOST", "_PORT"))}
    # How `penstock down` tells its own processes from others', and where the one log server is.
    of_shared_machines = {"SPT_NOENV", "AIRFLOW__CORE__HOSTNAME_CALLABLE"}
    in_compose = services["airflow-scheduler"]["environment"] | services["airflow-init"]["environment"]
    assert given.keys() - addresses - of_shared_machines - in_compose.keys() - _image_environment() == set()


@pytest.mark.parametrize(
    "name",
    [
        "AIRFLOW__API__WORKERS",
        "AIRFLOW__CORE__AUTH_MANAGER",
        "AIRFLOW__CORE__LOAD_EXAMPLES",
        "AIRFLOW__CORE__PARALLELISM",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL",
        "AIRFLOW__OPENLINEAGE__EMISSION_POLICY",
        "AIRFLOW__OPENLINEAGE__EXECUTE_IN_THREAD",
        "AIRFLOW__OPENLINEAGE__EXECUTION_TIMEOUT",
        "AIRFLOW__OPENLINEAGE__TRANSPORT",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME",
    ],
)
def test_airflow_is_tuned_as_in_the_local_stack(local, services, name):
    assert services["airflow-scheduler"]["environment"][name] == servers.airflow_environment(local)[name]


def test_programs_find_the_settings_that_the_local_stack_gives_them(local, services):
    in_compose = services["airflow-scheduler"]["environment"].keys() | _image_environment()
    of_the_machine = {*context._INHERITED, "PENSTOCK_ENV_FILE"}
    assert local.environment().keys() - in_compose - of_the_machine == set()


def test_airflow_measures_itself_as_in_the_local_stack(local, services):
    given = servers.airflow.STATSD
    in_compose = services["airflow-scheduler"]["environment"]
    assert {name: in_compose[name] for name in given} | {"AIRFLOW__METRICS__STATSD_ON": "True"} == given
    monitored = dataclasses.replace(local, settings={**local.settings, "PENSTOCK_PROFILES": "monitoring"})
    assert given.items() <= servers.airflow_environment(monitored).items()


def test_prometheus_asks_what_it_asks_in_the_local_stack():
    template = jinja2.Template((INCLUDE / "prometheus" / "prometheus.yml.j2").read_text())
    values = {"include": "/etc", "port": DEFAULT_PORTS, "price_consumers": PRICE_CONSUMERS}
    local, in_compose = (
        yaml.safe_load(text) for text in (template.render(values), (INCLUDE / "docker" / "prometheus.yml").read_text())
    )
    addresses = [
        [each.pop("targets") for job in conf["scrape_configs"] for each in job["static_configs"]]
        for conf in (local, in_compose)
    ]
    alertmanagers = [conf.pop("alerting")["alertmanagers"][0]["static_configs"] for conf in (local, in_compose)]
    assert local == in_compose
    assert alertmanagers[1] == [{"targets": ["alertmanager:9093"]}]
    ports = [[each[0].rpartition(":")[2] for each in of_conf] for of_conf in addresses]
    # The container's own port, which is published as the local stack's.
    assert [port.replace("9095", "9093") for port in ports[0]] == ports[1]


@pytest.mark.parametrize(("url", "receiver"), [("", "nobody"), ("https://chat.example.org/hook/secret", "webhook")])
def test_alertmanager_has_the_configuration_of_the_local_stack(tmp_path, local, url, receiver):
    (tmp_path / "alertmanager").write_text("#!/bin/sh\necho starts: $*\n")
    (tmp_path / "alertmanager").chmod(0o755)
    script = tmp_path / "alertmanager.sh"
    script.write_text((PROJECT / "scripts" / "alertmanager.sh").read_text().replace("/tmp/", f"{tmp_path}/"))
    template = INCLUDE / "alertmanager" / "alertmanager.yml.j2"
    done = subprocess.run(
        ["sh", script, template],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "ALERT_WEBHOOK_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"starts: --config.file={tmp_path}/alertmanager.yml ")
    values = {"settings": {"ALERT_WEBHOOK_URL": url}, "conf": "/tmp"}
    rendered = (tmp_path / "alertmanager.yml").read_text()
    assert yaml.safe_load(rendered) == yaml.safe_load(jinja2.Template(template.read_text()).render(values))
    assert yaml.safe_load(rendered)["route"]["receiver"] == receiver
    assert "secret" not in rendered
    assert (tmp_path / "webhook.url").stat().st_mode & 0o077 == 0


def _properties(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z][\w.]*)=(.*)$", path.read_text(), re.MULTILINE))


def test_spark_jobs_have_the_settings_of_the_local_stack():
    local = _properties(INCLUDE / "spark" / "spark-defaults.conf.j2")
    in_compose = _properties(INCLUDE / "docker" / "spark-defaults.conf")
    of_one_machine = {
        "spark.driver.bindAddress",
        "spark.driver.defaultJavaOptions",
        "spark.driver.extraClassPath",
        "spark.driver.host",
        "spark.executor.extraClassPath",
        "spark.local.dir",
        "spark.sql.warehouse.dir",
    }
    assert {name: in_compose.get(name) for name in local.keys() - of_one_machine} == {
        name: local[name] for name in local.keys() - of_one_machine
    }


def test_kafka_has_the_settings_of_the_local_stack(services):
    local = _properties(INCLUDE / "kafka" / "server.properties.j2")
    addresses = {
        "advertised.listeners",
        "controller.quorum.bootstrap.servers",
        "inter.broker.listener.name",
        "listener.security.protocol.map",
        "listeners",
        "log.dirs",
    }
    environment = services["kafka"]["environment"]
    # The image's own rule: https://github.com/apache/kafka/blob/4.0.0/docker/examples/README.md
    in_compose = {name: environment.get(f"KAFKA_{name.upper().replace('.', '_')}") for name in local.keys() - addresses}
    assert in_compose == {name: local[name] for name in in_compose}


def test_cassandra_has_the_settings_of_the_local_stack(tmp_path):
    template = INCLUDE / "cassandra" / "cassandra.yaml.j2"
    (tmp_path / "docker-entrypoint.sh").write_text("#!/bin/sh\necho starts: $*\n")
    (tmp_path / "docker-entrypoint.sh").chmod(0o755)
    done = subprocess.run(
        ["bash", PROJECT / "scripts" / "cassandra.sh", template],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "CASSANDRA_CONF": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "starts: cassandra -f\n"), done.stderr
    values = {"data": "/var/lib/cassandra", "port": {"cassandra": 9042, "cassandra_storage": 7000}}
    local = yaml.safe_load(jinja2.Template(template.read_text()).render(values))
    rendered = yaml.safe_load((tmp_path / "cassandra.yaml").read_text())
    differing = {name for name in rendered.keys() | local.keys() if rendered.get(name) != local.get(name)}
    assert differing == {"rpc_address", "broadcast_rpc_address", "seed_provider"}
    assert rendered["rpc_address"] == "0.0.0.0"


def _start_hdfs(folder: Path, daemon: str, templates: Path) -> subprocess.CompletedProcess[str]:
    """Run scripts/hdfs.sh with a stand-in for Hadoop, where its configuration and its data are below `folder`."""
    (folder / "hdfs").write_text(
        "#!/bin/bash\necho hdfs $*\n"
        'for word in "$@"; do case "$word" in *name.dir=file://*) mkdir -p "${word#*file://}";; esac; done\n'
    )
    (folder / "hdfs").chmod(0o755)
    (folder / "hdfs.sh").write_text(
        (PROJECT / "scripts" / "hdfs.sh").read_text().replace("/var/lib/hadoop", str(folder / "data"))
    )
    return subprocess.run(
        ["bash", folder / "hdfs.sh", daemon, templates],
        env={"PATH": f"{folder}:/usr/bin:/bin", "HADOOP_CONF_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def _hadoop_properties(text: str) -> dict[str, str]:
    return {each.findtext("name", ""): each.findtext("value", "") for each in ET.fromstring(text).iterfind("property")}


def test_hdfs_has_the_settings_of_the_local_stack(tmp_path):
    done = _start_hdfs(tmp_path, "datanode", INCLUDE / "hadoop")
    assert (done.returncode, done.stdout) == (0, "hdfs datanode\n"), done.stderr
    values = {"data": tmp_path / "data", "port": DEFAULT_PORTS}
    for name in ("core-site.xml", "hdfs-site.xml"):
        local = _hadoop_properties(jinja2.Template((INCLUDE / "hadoop" / f"{name}.j2").read_text()).render(values))
        rendered = _hadoop_properties((tmp_path / name).read_text())
        assert rendered.keys() == local.keys()
        for key in local:
            elsewhere = rendered[key].replace("hdfs-namenode", "127.0.0.1").replace("hdfs-datanode", "127.0.0.1")
            assert elsewhere.replace("0.0.0.0", "127.0.0.1") == local[key]
    assert _hadoop_properties((tmp_path / "core-site.xml").read_text())["fs.defaultFS"] == "hdfs://hdfs-namenode:8020"


def test_hdfs_is_formatted_once_and_whole(tmp_path):
    (tmp_path / "data" / "name.partial" / "left-over").mkdir(parents=True)
    first = _start_hdfs(tmp_path, "namenode", INCLUDE / "hadoop")
    assert [line.rpartition(" ")[2] for line in first.stdout.splitlines()] == ["-nonInteractive", "namenode"]
    assert [each.name for each in (tmp_path / "data").iterdir()] == ["name"]
    assert not (tmp_path / "data" / "name" / "left-over").exists()
    assert _start_hdfs(tmp_path, "namenode", INCLUDE / "hadoop").stdout == "hdfs namenode\n"


def test_hdfs_refuses_a_template_it_does_not_understand(tmp_path):
    (tmp_path / "core-site.xml.j2").write_text("<value>{{ something }}</value>")
    done = _start_hdfs(tmp_path, "namenode", tmp_path)
    assert done.returncode == 1
    assert "<value>{{ something }}</value>" in done.stderr


@pytest.fixture
def jobs() -> configparser.RawConfigParser:
    """supervisord's configuration in the container of the agents."""
    parser = configparser.RawConfigParser()
    parser.read(INCLUDE / "docker" / "jobs.conf")
    return parser


def test_the_jobs_container_runs_the_services_of_the_local_stack(jobs, local):
    programs = {section.partition(":")[2] for section in jobs.sections() if section.startswith("program:")}
    services = {server.name: server.program(local) for server in servers.SERVERS if server.service}
    assert programs == services.keys()
    for name, program in services.items():
        section = dict(jobs[f"program:{name}"])
        assert section["autorestart"] == "false"
        assert not program.restart
        assert section["stopwaitsecs"] == str(program.stop_seconds)
        role = section["command"].removeprefix("/opt/penstock/scripts/entrypoint.sh ")
        if name.startswith("flume-"):
            agent = name.removeprefix("flume-")
            assert role == f"flume {agent} {DEFAULT_PORTS[context.FLUME_AGENTS[agent]]}"
        elif name == "wiki-edits-minute":
            assert role == name
        elif name.startswith("landing-"):
            assert role == f"landing-stream {program.command[-1]}"
        else:
            port = DEFAULT_PORTS[name.replace("-", "_")]
            assert role == f"{re.sub('-[0-9]+$', '', name)} --host 0.0.0.0 --port {port}"
        assert section.get("autostart", "true") == ("false" if re.search("-[2-9]$|^landing-", name) else "true")


def test_airflow_watches_just_the_services():
    assert SERVICES.keys() == {server.name for server in servers.SERVERS if server.service}


def test_an_agent_is_started_in_a_container_as_in_the_local_stack(local, tmp_path):
    (tmp_path / "java").write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    (tmp_path / "java").chmod(0o755)
    done = subprocess.run(
        ["bash", PROJECT / "scripts" / "entrypoint.sh", "flume", "pop-hdfs", str(DEFAULT_PORTS["flume_pop_hdfs"])],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "PENSTOCK_HOME": str(PROJECT), "FLUME_JARS": "/jars"},
        capture_output=True,
        text=True,
        check=True,
    )
    agent = next(each for each in servers.SERVERS if each.name == "flume-pop-hdfs")
    conf, class_path = str(local.layout.conf("flume")), agent.command(local)[agent.command(local).index("-cp") + 1]
    expected = [word.replace(class_path, f"{INCLUDE}/flume:/jars/*") for word in agent.command(local)[1:]]
    assert done.stdout.splitlines() == [word.replace(conf, f"{INCLUDE}/flume") for word in expected]


def test_an_agent_finds_every_variable_of_its_configuration(local, services):
    for agent in context.FLUME_AGENTS:
        conf = (INCLUDE / "flume" / f"{agent}.conf").read_text()
        wanted = set(re.findall(r"\$\{(\w+)\}", re.sub(r"(?m)^#.*$", "", conf)))
        assert wanted
        server = next(each for each in servers.SERVERS if each.name == f"flume-{agent}")
        assert wanted - server.program(local).environment.keys() == set()
        assert wanted - services["jobs"]["environment"].keys() - _image_environment() == set()


def test_cassandra_refuses_a_template_it_does_not_understand(tmp_path):
    (tmp_path / "cassandra.yaml.j2").write_text("cluster_name: penstock\nnew_setting: {{ something }}\n")
    done = subprocess.run(
        ["bash", PROJECT / "scripts" / "cassandra.sh", tmp_path / "cassandra.yaml.j2"],
        env={"PATH": "/usr/bin:/bin", "CASSANDRA_CONF": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "new_setting: {{ something }}" in done.stderr
