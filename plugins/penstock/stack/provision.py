"""What the pipelines write to, made from their declarations: topics, schemas, keyspace, tables, the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing

from penstock.core.settings import Cassandra, Kafka, ledger_url
from penstock.stack import cassandra_admin

_PARTITIONS = 3


def provision(environment: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Idempotent. Needs the addresses of core/settings.py, and CASSANDRA_ADMIN_PASSWORD.

    Raises Fatal for an incompatible change of a contract, naming the field, before any data is written with it.
    """
    from penstock.kafka.registry import Registry
    from penstock.kafka.topics import Topic, ensure
    from penstock.ledger.store import Ledger
    from penstock.pipelines import PIPELINES
    from penstock.sinks.catalogue import address_of, open_sink

    kafka, cassandra = Kafka.from_env(environment), Cassandra.from_env(environment)

    say("migrating the ledger")
    Ledger(ledger_url(environment)).migrate()

    say("making topics")
    names = [name for each in PIPELINES.values() for name in (each.topic, each.dead_letter_topic)]
    ensure(kafka.bootstrap_servers, [Topic(name, _PARTITIONS) for name in dict.fromkeys(names)])

    say("registering contracts")
    registry = Registry(kafka.registry_url)
    for pipeline in PIPELINES.values():
        registry.register(f"{pipeline.topic}-value", pipeline.contract)

    say("making Cassandra's roles")
    cassandra_admin.provision(cassandra, environment["CASSANDRA_ADMIN_PASSWORD"])

    say("setting up the sinks")
    for pipeline in PIPELINES.values():
        for each in pipeline.sinks:
            with closing(open_sink(each, address_of(each, environment), pipeline.contract)) as sink:
                sink.setup()
