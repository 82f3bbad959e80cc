import json
import re
import tomllib
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest

from penstock.core.settings import INCLUDE, PROJECT
from penstock.stack.env import SECRETS

COMPOSE_FILE = (PROJECT / "docker-compose.yml").read_text()
# $$ is a dollar sign for the container, not a variable of Compose.
VARIABLES = dict(re.findall(r"(?<!\$)\$\{(\w+)([^}]*)\}", COMPOSE_FILE))
USED_SECRETS = sorted(VARIABLES.keys() & SECRETS)

CORE = {
    "postgres",
    "postgres-init",
    "kafka",
    "registry",
    "cassandra",
    "influxdb",
    "hdfs-namenode",
    "hdfs-datanode",
    "jobs",
    "spark-master",
    "spark-worker",
    "airflow-init",
    "provision",
    "airflow-api-server",
    "airflow-scheduler",
    "airflow-dag-processor",
    "airflow-triggerer",
}
MONITORING = {
    "jmx-agent",
    "penstock-exporter",
    "statsd-exporter",
    "prometheus",
    "alertmanager",
    "grafana",
}
ONCE = {"postgres-init", "airflow-init", "provision", "jmx-agent"}
SCALABLE = {"spark-worker", "airflow-worker", "price-consumer"}


@pytest.mark.parametrize(
    "profiles",
    [(), ("core",), ("replay",), ("celery",), ("scale",), ("monitoring",), ("replay", "celery", "scale", "monitoring")],
)
def test_the_file_is_valid_with_every_profile(compose, profiles):
    done = compose(*(word for name in profiles for word in ("--profile", name)), "config", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_core_needs_no_profile(compose):
    assert set(compose("config", "--services").stdout.split()) == CORE


def test_a_profile_adds_its_services_to_the_core(compose):
    assert set(compose("--profile", "replay", "config", "--services").stdout.split()) == CORE | {"replay-api"}
    assert set(compose("--profile", "scale", "config", "--services").stdout.split()) == CORE | {"price-consumer"}
    assert set(compose("--profile", "celery", "config", "--services").stdout.split()) == CORE | {
        "broker",
        "airflow-worker",
    }
    assert set(compose("--profile", "monitoring", "config", "--services").stdout.split()) == CORE | MONITORING


@pytest.mark.parametrize("secret", USED_SECRETS)
def test_a_missing_secret_is_named_with_the_remedy(compose, change_env, secret):
    change_env(**{secret: ""})
    done = compose("config", "--quiet")
    assert done.returncode != 0
    assert f"required variable {secret} is missing a value: run make env" in done.stderr


def test_compose_uses_every_secret():
    assert set(USED_SECRETS) == set(SECRETS)


def test_no_secret_has_a_default():
    for name, rest in re.findall(r"(?<!\$)\$\{(\w+)([^}]*)\}", COMPOSE_FILE):
        assert name not in SECRETS or rest == ":?run make env", f"{name}{rest}"


def test_every_image_is_pinned_to_a_full_version(services):
    for name, service in services.items():
        assert re.search(r":v?\d+\.\d+(\.\d+)?[\w.-]*$", service["image"]), (name, service["image"])


def test_our_image_has_the_version_of_the_project(services):
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    built = {service["image"] for service in services.values() if "build" in service}
    assert built == {f"penstock/platform:{version}"}


def _version(folder: Path, artifact: str) -> str:
    """The version that the folder's pom.xml or go.mod gives an artifact."""
    if (folder / "go.mod").exists():
        required = r"(?m)^(?:\t|require )(\S+) v(\S+)(?: // indirect)?$"
        return dict(re.findall(required, (folder / "go.mod").read_text()))[artifact]
    maven = {"m": "http://maven.apache.org/POM/4.0.0"}
    pom = ET.parse(folder / "pom.xml")
    properties = {f"${{{each.tag.rpartition('}')[2]}}}": each.text for each in pom.iterfind("m:properties/*", maven)}
    versions = {
        each.findtext("m:artifactId", namespaces=maven): each.findtext("m:version", namespaces=maven)
        for each in pom.iterfind("m:dependencies/m:dependency", maven)
    }
    return properties.get(versions[artifact], versions[artifact])


@pytest.mark.parametrize(
    ("service", "folder", "artifact"),
    [
        ("kafka", "kafka", "kafka_2.13"),
        ("registry", "apicurio", "apicurio-registry-app"),
        ("cassandra", "cassandra", "cassandra-all"),
        ("influxdb", "influxdb", "github.com/influxdata/influxdb/v2"),
        ("hdfs-namenode", "hadoop", "hadoop-hdfs"),
        ("hdfs-datanode", "hadoop", "hadoop-hdfs"),
        ("alertmanager", "alertmanager/module", "github.com/prometheus/alertmanager"),
        ("statsd-exporter", "statsd/module", "github.com/prometheus/statsd_exporter"),
        ("postgres", "postgres", "embedded-postgres-binaries-linux-${postgres.arch}"),
    ],
)
def test_servers_are_those_of_the_local_stack(services, service, folder, artifact):
    local = _version(INCLUDE / folder, artifact)
    tag = services[service]["image"].rpartition(":")[2].removesuffix("-bookworm").removeprefix("v")
    assert local in {tag, f"{tag}.0"}


def test_prometheus_is_that_of_the_local_stack(services):
    # The module of the version 3.16.0 is v0.316.0.
    module = _version(INCLUDE / "prometheus" / "module", "github.com/prometheus/prometheus")
    major, minor, patch = services["prometheus"]["image"].rpartition(":v")[2].split(".")
    assert module == f"0.{major}{int(minor):02}.{patch}"


def test_only_eight_ports_are_published_and_only_on_loopback(services):
    published = {
        name: [port["host_ip"] for port in service["ports"]] for name, service in services.items() if "ports" in service
    }
    assert published == {
        "airflow-api-server": ["127.0.0.1"],
        "alertmanager": ["127.0.0.1"],
        "grafana": ["127.0.0.1"],
        "influxdb": ["127.0.0.1"],
        "jobs": ["127.0.0.1"],
        "kafka": ["127.0.0.1"],
        "prometheus": ["127.0.0.1"],
        "spark-master": ["127.0.0.1"],
    }


def test_kafka_alone_can_be_opened_to_other_machines(resolve, change_env):
    change_env(KAFKA_OUTER_BIND="0.0.0.0", EC2_PUBLIC_DNS="kafka.example.org", PENSTOCK_PORT_KAFKA="19092")
    services = resolve()
    bound = Counter(port["host_ip"] for service in services.values() for port in service.get("ports", ()))
    assert bound == {"127.0.0.1": 7, "0.0.0.0": 1}
    kafka = services["kafka"]
    assert kafka["ports"][0]["published"] == "19092"
    assert "OUTER://kafka.example.org:19092" in kafka["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")


def test_every_long_running_service_is_watched_restarted_and_limited(services):
    for name in services.keys() - ONCE:
        assert services[name]["restart"] == "unless-stopped", name
        assert services[name]["healthcheck"]["test"], name
    for name in ONCE:
        assert services[name]["restart"] == "no", name
    for name, service in services.items():
        assert service["deploy"]["resources"]["limits"]["memory"], name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_a_service_starts_when_what_it_needs_is_ready(services):
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            expected = "service_completed_successfully" if needed in ONCE else "service_healthy"
            assert how["condition"] == expected, (name, needed)


def test_whatever_may_write_data_starts_after_provisioning(services):
    writers = ("airflow-scheduler", "airflow-triggerer", "airflow-dag-processor", "airflow-worker", "jobs")
    for name in writers:
        assert "provision" in services[name]["depends_on"], name


def test_the_ui_does_not_wait_for_provisioning(services):
    assert "provision" not in services["airflow-api-server"]["depends_on"]


def test_scalable_services_have_nothing_that_only_one_can_have(services):
    for name in SCALABLE:
        assert not services[name].keys() & {"container_name", "hostname", "ports"}, name
    assert not any("container_name" in service for service in services.values())


def test_spark_drivers_and_workers_run_one_image(services):
    names = ("spark-master", "spark-worker", "airflow-scheduler", "airflow-worker")
    assert len({services[name]["image"] for name in names}) == 1


def test_no_password_is_on_a_command_line_or_in_a_healthcheck(services, env_file):
    from penstock.stack.env import read_env

    secrets = [value for name, value in read_env(env_file).items() if name in SECRETS]
    for name, service in services.items():
        lines = json.dumps([service.get(each) for each in ("command", "entrypoint", "healthcheck")])
        assert not any(secret in lines for secret in secrets), name


def test_the_superusers_passwords_reach_only_what_provisions(services):
    holders = {
        secret: {name for name, service in services.items() if secret in service.get("environment", {})}
        for secret in (
            "POSTGRES_PASSWORD",
            "CASSANDRA_ADMIN_PASSWORD",
            "INFLUXDB_ADMIN_PASSWORD",
            "INFLUXDB_ADMIN_TOKEN",
            "AIRFLOW_ADMIN_PASSWORD",
        )
    }
    assert holders == {
        "POSTGRES_PASSWORD": {"postgres"},
        "CASSANDRA_ADMIN_PASSWORD": {"provision"},
        "INFLUXDB_ADMIN_PASSWORD": {"provision"},
        "INFLUXDB_ADMIN_TOKEN": {"provision"},
        "AIRFLOW_ADMIN_PASSWORD": {"airflow-init"},
    }


def test_influxdbs_token_is_written_by_provisioning_and_read_by_airflow(services):
    holders = {
        name: mount.get("read_only", False)
        for name, service in services.items()
        for mount in service.get("volumes", ())
        if mount["source"] == "secrets"
    }
    readers = (
        "airflow-scheduler",
        "airflow-dag-processor",
        "airflow-triggerer",
        "airflow-api-server",
        "airflow-worker",
        "jobs",
        "price-consumer",
        "penstock-exporter",
        "grafana",
    )
    assert holders == {"provision": False} | dict.fromkeys(readers, True)
    for name, service in services.items():
        assert "INFLUXDB_TOKEN" not in service.get("environment", {}), name


def test_every_mounted_file_exists_and_is_read_only(services):
    mounts = [mount for service in services.values() for mount in service.get("volumes", ()) if mount["type"] == "bind"]
    assert mounts
    for mount in mounts:
        assert mount["read_only"], mount
        assert (PROJECT / mount["source"]).exists(), mount


def test_connections_are_what_airflow_reads(services):
    environment = services["airflow-scheduler"]["environment"]
    cassandra = json.loads(environment["AIRFLOW_CONN_CASSANDRA_DEFAULT"])
    assert (cassandra["host"], cassandra["password"]) == ("cassandra", environment["CASSANDRA_PASSWORD"])
    kafka = json.loads(environment["AIRFLOW_CONN_KAFKA_DEFAULT"])
    assert kafka["extra"] == {"bootstrap.servers": "kafka:9092"}
    spark = json.loads(environment["AIRFLOW_CONN_SPARK_DEFAULT"])
    assert spark == {"conn_type": "spark", "host": "spark://spark-master:7077"}
    hdfs = json.loads(environment["AIRFLOW_CONN_HDFS_DEFAULT"])
    assert environment["WEBHDFS_URL"] == f"http://{hdfs['host']}:{hdfs['port']}"
    assert environment["AIRFLOW_CONN_LEDGER"] == environment["LEDGER_URL"]


def test_kafka_and_spark_of_ones_own_replace_those_of_the_stack(resolve, change_env):
    change_env(KAFKA_BOOTSTRAP_SERVERS="b1:9092,b2:9092", SPARK_MASTER="local[*]")
    environment = resolve()["airflow-scheduler"]["environment"]
    assert environment["KAFKA_BOOTSTRAP_SERVERS"] == "b1:9092,b2:9092"
    assert json.loads(environment["AIRFLOW_CONN_KAFKA_DEFAULT"])["extra"]["bootstrap.servers"] == "b1:9092,b2:9092"
    assert json.loads(environment["AIRFLOW_CONN_SPARK_DEFAULT"])["host"] == "local[*]"


@pytest.mark.parametrize("executor", ["LocalExecutor", "CeleryExecutor", "KubernetesExecutor"])
def test_the_executor_is_chosen_by_environment(resolve, change_env, executor):
    change_env(AIRFLOW_EXECUTOR=executor)
    services = resolve()
    chosen = {
        name: service["environment"].get("AIRFLOW__CORE__EXECUTOR")
        for name, service in services.items()
        if name.startswith("airflow-")
    }
    assert set(chosen.values()) == {executor}
