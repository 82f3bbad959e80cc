"""The containers are configured as the local stack is, and every setting has a place where a person finds it."""

import itertools
import re
import subprocess
from pathlib import Path

import jinja2
import pytest
import yaml

from penstock.core import settings
from penstock.core.settings import INCLUDE, PROJECT
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
    monkeypatch.setattr(servers.airflow, "java_home", lambda: Path("/java"))
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
    assert {name: port for port, name in stated.items()} == local | {"PENSTOCK_PORT_SPARK": "8082"}


def test_the_example_states_the_defaults_that_the_code_has(offered):
    assert settings.Names.from_env(offered) == settings.Names.from_env({})
    assert settings.OpenMeteo.from_env(offered) == settings.OpenMeteo.from_env({})
    assert settings.cassandra_keyspace(offered) == settings.cassandra_keyspace({})


@pytest.mark.parametrize("source", ["plugins/penstock/core/settings.py", "scripts/entrypoint.sh"])
def test_every_setting_is_in_the_example_or_set_by_compose(offered, services, source):
    text = (PROJECT / source).read_text()
    python = re.findall(r"""(?:text|required|number|get)\(\s*["']([A-Z_]+)["']""", text)
    shell = re.findall(r"\$\{?(?!\{)([A-Z_]{4,})\b", text) if source.endswith(".sh") else []
    set_by_compose = {name for service in services.values() for name in service.get("environment", {})}
    of_bash = {"BASH_SOURCE", "SECONDS"}
    assert python or shell
    assert {*python, *shell} - set(offered) - set_by_compose - _image_environment() - of_bash == set()


def test_airflow_has_every_setting_that_the_local_stack_gives_it(local, services):
    given = servers.airflow_environment(local)
    # Addresses, which in a container are Airflow's own defaults; the admin user is airflow-init's.
    addresses = {name for name in given if name.endswith(("_HOST", "_PORT"))}
    in_compose = services["airflow-scheduler"]["environment"] | services["airflow-init"]["environment"]
    assert given.keys() - addresses - in_compose.keys() - _image_environment() == set()


@pytest.mark.parametrize(
    "name",
    [
        "AIRFLOW__API__WORKERS",
        "AIRFLOW__CORE__AUTH_MANAGER",
        "AIRFLOW__CORE__LOAD_EXAMPLES",
        "AIRFLOW__CORE__PARALLELISM",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME",
    ],
)
def test_airflow_is_tuned_as_in_the_local_stack(local, services, name):
    assert services["airflow-scheduler"]["environment"][name] == servers.airflow_environment(local)[name]


def test_programs_find_the_settings_that_the_local_stack_gives_them(local, services):
    in_compose = services["airflow-scheduler"]["environment"].keys() | _image_environment()
    of_the_machine = {*context._INHERITED, "PENSTOCK_ENV_FILE"}
    assert local.environment().keys() - in_compose - of_the_machine == set()


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
