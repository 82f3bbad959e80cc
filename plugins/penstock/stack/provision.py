"""What the pipelines write to, made from their declarations: topics, schemas, tables, bucket, folders, the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from penstock.core.errors import Fatal
from penstock.core.pipeline import Pipeline
from penstock.core.settings import Cassandra, Hdfs, Kafka, influx_bucket, influx_org, ledger_url
from penstock.stack import cassandra_admin, hdfs_admin
from penstock.stack.influxdb_admin import Access, InfluxAdmin
from penstock.stack.private_file import write_private

_PARTITIONS = 3

ADMIN_SECRETS = ("CASSANDRA_ADMIN_PASSWORD", "INFLUXDB_ADMIN_PASSWORD", "INFLUXDB_ADMIN_TOKEN")
"""What provisioning needs to know beside the settings of core/settings.py, and nothing else should."""


def provision(environment: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Idempotent. Needs the addresses of core/settings.py, and ADMIN_SECRETS.

    The token that InfluxDB makes for the platform is left in INFLUXDB_TOKEN_FILE. Raises Fatal for an incompatible
    change of a contract, naming the field, before any data is written with it.
    """
    from penstock.ledger.store import Ledger
    from penstock.pipelines import PIPELINES

    if missing := [
        name for name in (*ADMIN_SECRETS, "INFLUXDB_URL", "INFLUXDB_TOKEN_FILE") if not environment.get(name)
    ]:
        raise Fatal(f"{', '.join(missing)}: not set; provisioning needs them, and .env.example says what they mean")
    pipelines = list(PIPELINES.values())
    say("migrating the ledger")
    Ledger(ledger_url(environment)).migrate()
    _kafka(Kafka.from_env(environment), pipelines, say)
    say("making Cassandra's roles")
    cassandra_admin.provision(Cassandra.from_env(environment), environment["CASSANDRA_ADMIN_PASSWORD"])
    say("making InfluxDB's bucket and token")
    _influxdb(environment)
    say("setting up the sinks")
    _sinks(environment, pipelines)
    say("making folders on HDFS")
    hdfs_admin.provision(Hdfs.from_env(environment), [each.raw_copy.folder for each in pipelines if each.raw_copy])


def _kafka(kafka: Kafka, pipelines: list[Pipeline], say: Callable[[str], None]) -> None:
    from penstock.kafka.registry import Registry
    from penstock.kafka.topics import Topic, ensure

    say("making topics")
    names = [name for each in pipelines for name in (each.topic, each.dead_letter_topic)]
    ensure(kafka.bootstrap_servers, [Topic(name, _PARTITIONS) for name in dict.fromkeys(names)])
    say("registering contracts")
    registry = Registry(kafka.registry_url)
    for pipeline in pipelines:  # JSON's too: an incompatible change is refused there as well
        registry.register(f"{pipeline.topic}-value", pipeline.contract)


def _influxdb(environment: Mapping[str, str]) -> None:
    access = Access(environment["INFLUXDB_ADMIN_PASSWORD"], environment["INFLUXDB_ADMIN_TOKEN"])
    admin = InfluxAdmin(environment["INFLUXDB_URL"], access)
    token = admin.provision(influx_org(environment), influx_bucket(environment))
    write_private(Path(environment["INFLUXDB_TOKEN_FILE"]), token)


def _sinks(environment: Mapping[str, str], pipelines: list[Pipeline]) -> None:
    from penstock.sinks.catalogue import address_of, open_sink

    for pipeline in pipelines:
        for each in pipeline.sinks:
            with closing(open_sink(each, address_of(each, environment), pipeline.contract)) as sink:
                sink.setup()
