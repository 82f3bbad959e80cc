from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster, Session
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from penstock.core.batch import Batch, Interval
from penstock.core.contract import Contract
from penstock.core.counts import Landed, Produced
from penstock.core.errors import Fatal, Retry
from penstock.core.pipeline import CassandraTable, Pipeline
from penstock.core.record import Record
from penstock.core.settings import Cassandra, Kafka
from penstock.kafka import topics
from penstock.kafka.produce import produce
from penstock.kafka.registry import Registry
from penstock.ledger.cassandra_rows import TableRows, cassandra_session
from penstock.ledger.store import Hop, Ledger, Run
from penstock.ledger.verify import Verified, verify

pytestmark = pytest.mark.integration

START = datetime(2026, 10, 31, 12, tzinfo=UTC)
INTERVAL = Interval(START, START + timedelta(days=1))
AS_OF = datetime(2026, 11, 1, 12, 0, 1, 123456, tzinfo=UTC)
RUN = Run("some_dag/manual")
PLACES = ("Ålesund", "Bodø", "Røros", "Tromsø", "Vadsø")


MILLISECONDS = {"type": "long", "logicalType": "timestamp-millis"}
DAYS = {"type": "int", "logicalType": "date"}


def contract(time_type: dict[str, str]) -> Contract:
    return Contract(
        {
            "type": "record",
            "name": "Reading",
            "penstock": {
                "key": ["place", "latitude", "time"],
                "eventTime": "time",
                "cassandra": {
                    "partitionKey": ["place", "latitude", "month"],
                    "clusteringKey": ["time"],
                    "buckets": {"month": {"of": "time", "by": "month"}},
                },
            },
            "fields": [
                {"name": "place", "type": "string"},
                {"name": "latitude", "type": "double", "maximum": 90},
                {"name": "time", "type": time_type},
                {"name": "cell", "type": "double"},
                {"name": "value", "type": ["null", "double"], "default": None},
            ],
        }
    )


def records(places: Sequence[str] = PLACES) -> list[Record]:
    """24 hours at each place, over the end of a month."""
    start = int(START.timestamp()) * 1000
    return [
        {"place": place, "latitude": 60.1 + at, "time": start + hour * 3_600_000, "cell": 60.0, "value": None}
        for at, place in enumerate(places)
        for hour in range(24)
    ]


class NoSource:
    def fetch(self, interval: Interval, options: Any) -> Iterator[Record]:
        raise NotImplementedError

    def resolve(self, options: Any) -> Any:
        return options


@dataclass
class Case:
    """A topic, a table and a ledger of one test's own."""

    pipeline: Pipeline
    kafka: Kafka
    cassandra: Cassandra
    ledger: Ledger
    session: Session

    @property
    def batch(self) -> Batch:
        return Batch(self.pipeline.name, INTERVAL)

    def produce(self, rows: Sequence[Record], as_of: datetime = AS_OF) -> Produced:
        subject = f"{self.pipeline.topic}-value"
        produced = produce(
            self.batch,
            self.pipeline.contract,
            topic=self.pipeline.topic,
            dead_letter_topic=self.pipeline.dead_letter_topic,
            records=rows,
            kafka=self.kafka,
            schema_id=Registry(self.kafka.registry_url).register(subject, self.pipeline.contract),
            as_of=as_of,
            deadline=time.monotonic() + 60,
        )
        self.ledger.produced(self.batch, produced, RUN)
        return produced

    def land(self, rows: Sequence[Record], as_of: datetime = AS_OF) -> None:
        """Write rows with plain statements."""
        columns = self.pipeline.contract.cql_columns()
        statement = self.session.prepare(
            f'INSERT INTO "{self.pipeline.sinks[0].name}" ({", ".join(columns)})'
            f" VALUES ({', '.join('?' * len(columns))}) USING TIMESTAMP {int(as_of.timestamp() * 1_000_000)}"
        )
        for row in rows:
            at = datetime.fromtimestamp(int(row["time"] or 0) / 1000, UTC)
            self.session.execute(statement, [*row.values(), f"{at:%Y-%m}"])

    def say_landed(self, rows: int, rejected: int = 0, as_of: datetime = AS_OF, duplicates: int = 0) -> None:
        """Have the ledger say so."""
        landed = Landed(self.batch.id, rows + rejected + duplicates, rows, rejected, duplicates)
        self.ledger.landed(self.batch, landed, RUN, as_of=as_of)

    def verify(self, **changes: Any) -> list[Verified]:
        """With changed settings of Cassandra."""
        with cassandra_session(replace(self.cassandra, **changes)) as session:
            table = TableRows(session, self.pipeline.sinks[0].name, self.pipeline.contract)
            return verify(self.pipeline, INTERVAL, ledger=self.ledger, kafka=self.kafka, witnesses=[table])

    def verified(self) -> Verified:
        (result,) = self.verify()
        return result


@pytest.fixture
def case(
    request: pytest.FixtureRequest,
    unique: str,
    kafka_settings: Kafka,
    cassandra_settings: Cassandra,
    ledger_url: str,
) -> Iterator[Case]:
    shape = contract(getattr(request, "param", MILLISECONDS))
    pipeline = Pipeline(unique, shape, NoSource(), unique, (CassandraTable(unique),), timedelta(hours=1))
    names = (pipeline.topic, pipeline.dead_letter_topic)
    topics.ensure(
        kafka_settings.bootstrap_servers, [topics.Topic(name, 3, config=topics.EVENT_TIMED) for name in names]
    )
    ledger = Ledger(ledger_url)
    ledger.migrate()
    auth = PlainTextAuthProvider(cassandra_settings.user, cassandra_settings.password)
    cluster = Cluster(
        list(cassandra_settings.hosts), port=cassandra_settings.port, auth_provider=auth, protocol_version=5
    )
    session = cluster.connect(cassandra_settings.keyspace)
    session.execute(pipeline.contract.cql_create_table(cassandra_settings.keyspace, unique))
    yield Case(pipeline, kafka_settings, cassandra_settings, ledger, session)
    session.execute(f'DROP TABLE "{unique}"')
    cluster.shutdown()
    admin = AdminClient({"bootstrap.servers": kafka_settings.bootstrap_servers})
    for future in admin.delete_topics(list(names)).values():
        future.result()


def test_a_batch_that_is_where_the_ledger_says_is_whole(case: Case) -> None:
    rows = records()
    case.produce(rows)
    case.land(rows)
    case.say_landed(120)
    result = case.verified()
    assert result == Verified(case.batch.id, landed=120, verdict="whole", keys=120, in_sinks={case.pipeline.name: 120})
    assert result.whole
    assert str(result) == f"{case.batch.id}: ledger 120, topic 120, {case.pipeline.name} 120: whole"


def test_an_empty_batch_is_whole(case: Case) -> None:
    case.produce([])
    case.say_landed(0)
    assert case.verified().whole


def test_rows_that_a_sink_lacks_are_named(case: Case) -> None:
    rows = records()
    case.produce(rows)
    case.land(rows[5:])
    case.say_landed(120)
    result = case.verified()
    assert not result.whole
    assert result.in_sinks == {case.pipeline.name: 115}
    assert result.missing[0] == "(place Ålesund, latitude 60.1, time 2026-10-31T12:00:00Z)"
    assert f"{case.pipeline.name} lacks 5 of 120 keys: (place Ålesund" in result.verdict
    assert result.verdict.endswith(" and 2 more")


def test_rows_of_an_earlier_attempt_only_are_lacking_and_those_of_a_later_one_are_not(case: Case) -> None:
    rows = records()
    case.produce(rows)
    case.land(rows[:60], AS_OF + timedelta(seconds=1))
    case.land(rows[60:119])
    case.land(rows[119:], AS_OF - timedelta(seconds=1))
    case.say_landed(120)
    result = case.verified()
    assert result.in_sinks == {case.pipeline.name: 119}
    assert result.missing == ("(place Vadsø, latitude 64.1, time 2026-11-01T11:00:00Z)",)


def test_a_ledger_that_says_too_much_is_found_out(case: Case) -> None:
    rows = records()
    case.produce(rows[:100])
    case.land(rows)
    case.say_landed(120)
    assert f"the ledger has 120 landed, {case.pipeline.topic} has 100 valid keys" in case.verified().verdict


def test_records_that_never_were_on_the_topic_are_found_out(case: Case) -> None:
    rows = records()
    produced = case.produce(rows)
    case.ledger.produced(case.batch, replace(produced, fetched=130, acked=130), RUN)
    case.land(rows)
    case.say_landed(120)
    assert f"120 of its records are on {case.pipeline.topic}, 130 were acked" in case.verified().verdict


def test_only_the_records_of_the_attempt_itself_count(case: Case) -> None:
    rows = records()
    case.produce(rows[:50], AS_OF - timedelta(minutes=1))
    case.produce(rows)
    ranges = case.ledger.last_produced(case.batch.id)
    assert ranges is not None
    wide = replace(ranges, ranges=tuple(replace(each, start=0) for each in ranges.ranges))
    case.ledger.produced(case.batch, wide, RUN)
    case.land(rows)
    case.say_landed(120)
    assert case.verified().verdict == "whole"


def test_duplicates_and_rejected_records_are_no_keys(case: Case) -> None:
    rows = records()
    too_far = [{**rows[0], "latitude": 91.0}]
    case.produce([*rows, rows[0], *too_far])
    case.land(rows)
    case.say_landed(120, duplicates=1)
    assert case.verified().verdict == "whole"


@pytest.mark.parametrize("case", [DAYS], indirect=True)
def test_days_are_looked_up_as_days(case: Case) -> None:
    first = (START.date() - date(1970, 1, 1)).days
    case.produce([{"place": "Bodø", "latitude": 67.3, "time": day, "cell": 67.0} for day in (first, first + 1)])
    case.session.execute(
        f'INSERT INTO "{case.pipeline.name}" (place, latitude, month, time, cell)'
        f" VALUES ('Bodø', 67.3, '2026-10', '2026-10-31', 67) USING TIMESTAMP {int(AS_OF.timestamp() * 1e6)}"
    )
    case.say_landed(2)
    result = case.verified()
    assert result.in_sinks == {case.pipeline.name: 1}
    assert result.missing == ("(place Bodø, latitude 67.3, time 2026-11-01)",)


def test_a_batch_that_has_not_landed_says_where_it_stands(case: Case) -> None:
    case.ledger.started(case.batch, Hop.PRODUCE, RUN, as_of=AS_OF)
    result = case.verified()
    assert (result.landed, result.keys, result.verdict, result.whole) == (None, None, "produce in progress", False)
    assert str(result) == f"{case.batch.id}: ledger -, topic -: produce in progress"


def test_records_that_kafka_has_removed_are_said_to_be_gone(case: Case) -> None:
    rows = records()
    produced = case.produce(rows)
    case.land(rows)
    case.say_landed(120)
    first = produced.ranges[0]
    admin = AdminClient({"bootstrap.servers": case.kafka.bootstrap_servers})
    partition = TopicPartition(case.pipeline.topic, first.partition, first.start + 1)
    for future in admin.delete_records([partition]).values():
        future.result()
    result = case.verified()
    assert not result.whole
    assert result.verdict == (
        f"cannot be verified: Kafka has removed records of {case.pipeline.topic}-{first.partition} "
        f"[{first.start}, {first.end})"
    )


def test_no_batches_give_no_results(case: Case) -> None:
    assert case.verify() == []


def test_cassandra_s_refusals_name_no_password(case: Case) -> None:
    with pytest.raises(Fatal, match="refuses the user or its password") as raised:
        case.verify(password="n0tIt")
    assert "n0tIt" not in str(raised.value)
    with pytest.raises(Retry, match="can't be reached"):
        case.verify(port=1)
    case.pipeline = replace(case.pipeline, sinks=(CassandraTable("no_such_table"),))
    with pytest.raises(Fatal, match="no_such_table"):
        case.verify()
