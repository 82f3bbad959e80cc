"""What the pipelines write to, made from their declarations: topics, schemas, tables, bucket, folders, the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath

from penstock.core.contract import Contract
from penstock.core.errors import Fatal
from penstock.core.pipeline import Pipeline, SinkSpec
from penstock.core.settings import Cassandra, Hdfs, Kafka, StreamJob, influx_bucket, influx_org, ledger_url
from penstock.core.stream import Stream
from penstock.services import SERVICES
from penstock.services.holding import hold
from penstock.stack import cassandra_admin, hdfs_admin
from penstock.stack.influxdb_admin import Access, InfluxAdmin
from penstock.stack.private_file import write_private

ADMIN_SECRETS = ("CASSANDRA_ADMIN_PASSWORD", "INFLUXDB_ADMIN_PASSWORD", "INFLUXDB_ADMIN_TOKEN")
"""What provisioning needs to know beside the settings of core/settings.py, and nothing else should."""


def provision(environment: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Idempotent. Needs the addresses of core/settings.py, and ADMIN_SECRETS.

    The token that InfluxDB makes for the platform is left in INFLUXDB_TOKEN_FILE. Raises Fatal for an incompatible
    change of a contract, naming the field, before any data is written with it.
    """
    from penstock.ledger.services import Services
    from penstock.ledger.store import Ledger
    from penstock.pipelines import PIPELINES, STREAMS

    if missing := [
        name for name in (*ADMIN_SECRETS, "INFLUXDB_URL", "INFLUXDB_TOKEN_FILE") if not environment.get(name)
    ]:
        raise Fatal(f"{', '.join(missing)}: not set; provisioning needs them, and .env.example says what they mean")
    pipelines, streams = list(PIPELINES.values()), list(STREAMS.values())
    say("migrating the ledger")
    Ledger(ledger_url(environment)).migrate()
    with closing(Services(ledger_url(environment))) as services:
        hold(services, SERVICES, environment)
    _kafka(environment, [*pipelines, *streams], say)
    say("making Cassandra's roles")
    cassandra_admin.provision(Cassandra.from_env(environment), environment["CASSANDRA_ADMIN_PASSWORD"])
    say("making InfluxDB's bucket and token")
    _influxdb(environment)
    say("setting up the sinks")
    _sinks(environment, [(sink, each.contract) for each in pipelines for sink in each.sinks])
    _sinks(environment, [(each.aggregate.measurement, each.aggregate.contract) for each in streams])
    say("making folders on HDFS")
    raw_copies = [*(each.raw_copy for each in pipelines), *(each.raw_copy for each in streams)]
    folders = [*(each.folder for each in raw_copies if each), *(each.aggregate.folder for each in streams)]
    jobs = [("wiki", "wiki_edits_minute"), *((each.name, f"landing/{each.name}") for each in pipelines)]
    checkpoints = (PurePosixPath(StreamJob.of(*job, environment).checkpoint) for job in jobs)
    folders += dict.fromkeys(str(each.parent) for each in checkpoints)
    hdfs_admin.provision(Hdfs.from_env(environment), [each for each in folders if each])


def _kafka(environment: Mapping[str, str], described: Sequence[Pipeline | Stream], say: Callable[[str], None]) -> None:
    from penstock.kafka.registry import Registry
    from penstock.kafka.topics import ensure
    from penstock.kafka.topics_file import declared

    kafka = Kafka.from_env(environment)
    say("making topics")
    ensure(kafka.bootstrap_servers, declared(environment=environment, used=[each.topic for each in described]))
    say("registering contracts")
    registry = Registry(kafka.registry_url)
    for each in described:  # JSON's too: an incompatible change is refused there as well
        registry.register(f"{each.topic}-value", each.contract)


def _influxdb(environment: Mapping[str, str]) -> None:
    access = Access(environment["INFLUXDB_ADMIN_PASSWORD"], environment["INFLUXDB_ADMIN_TOKEN"])
    admin = InfluxAdmin(environment["INFLUXDB_URL"], access)
    token = admin.provision(influx_org(environment), influx_bucket(environment))
    write_private(Path(environment["INFLUXDB_TOKEN_FILE"]), token)


def _sinks(environment: Mapping[str, str], sinks: Sequence[tuple[SinkSpec, Contract]]) -> None:
    from penstock.sinks.catalogue import address_of, open_sink

    for each, contract in sinks:
        with closing(open_sink(each, address_of(each, environment), contract)) as sink:
            sink.setup()
