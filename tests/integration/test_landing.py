"""spark_jobs/land_batch.py, submitted to a real Spark, between a real Kafka and a real Cassandra."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from cassandra.cluster import Session
from confluent_kafka import Producer

from penstock.core.batch import Batch, Interval
from penstock.core.contract import Contract
from penstock.core.counts import Count, Extent, Landed, OffsetRange, Produced
from penstock.core.errors import Fatal, Retry
from penstock.core.pipeline import CassandraTable
from penstock.core.record import Record
from penstock.core.settings import INCLUDE, PROJECT, Cassandra, Kafka
from penstock.kafka import dead_letters, headers
from penstock.kafka.encoder import Encoder
from penstock.kafka.produce import produce
from penstock.kafka.registry import Registry
from penstock.kafka.topics import EVENT_TIMED, Topic, ensure
from penstock.sinks.cassandra import CassandraSink
from penstock.sinks.landing import Request
from penstock.sinks.prepare import prepare
from tests import conformance
from tests.tables import session as open_session

pytestmark = pytest.mark.integration

JOB = PROJECT / "spark_jobs" / "land_batch.py"
CONTRACT = Contract.load(INCLUDE / "avro" / "hourlymetrics.avsc")

DAY = datetime(2026, 1, 1, tzinfo=UTC)
JANUARY = int(DAY.timestamp() * 1000)
HOUR = 3_600_000
AS_OF = datetime(2026, 11, 22, 9, 30, 0, 123456, UTC)
SECONDS = 60.0

Submit = Callable[..., "subprocess.CompletedProcess[str]"]


def reading(hour: int, latitude: float = 52.5, **changes: Any) -> Record:
    record: Record = {
        "latitude": latitude,
        "longitude": 13.4,
        "time": JANUARY + hour * HOUR,
        "grid_latitude": 52.48,
        "grid_longitude": 13.42,
        "temperature_2m": hour / 4,
        "relative_humidity_2m": hour % 101,
    }
    return record | changes


@dataclass
class Case:
    """A topic, its dead letters and a table, of one test alone."""

    kafka: Kafka
    cassandra: Cassandra
    reader: Session
    submit: Submit
    folder: Path
    name: str
    contract: Contract = CONTRACT

    def __post_init__(self) -> None:
        topics = [Topic(self.name, 3, config=EVENT_TIMED), Topic(f"{self.name}.dlq", 1)]
        ensure(self.kafka.bootstrap_servers, topics)
        self.schema_id = Registry(self.kafka.registry_url).register(f"{self.name}-value", self.contract)
        self.encode = Encoder(self.contract, self.schema_id).encode

    def produce(self, number: int, records: Iterable[Record], as_of: datetime = AS_OF) -> Produced:
        """Produce batch `number` as the platform does."""
        start = DAY + timedelta(days=number)
        batch = Batch(self.name, Interval(start, start + timedelta(days=1)))
        return produce(
            batch,
            self.contract,
            topic=self.name,
            dead_letter_topic=f"{self.name}.dlq",
            records=records,
            kafka=self.kafka,
            schema_id=self.schema_id,
            as_of=as_of,
            deadline=time.monotonic() + SECONDS,
        )

    def publish(self, values: Sequence[bytes], attempt: headers.Headers | None, partition: int = 0) -> OffsetRange:
        """Put bytes on the topic as they are."""
        offsets: list[int] = []
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap_servers, "enable.idempotence": True})
        for value in values:
            producer.produce(
                self.name,
                value,
                partition=partition,
                headers=attempt,
                on_delivery=lambda _, m: offsets.append(m.offset()),
            )
        producer.flush(SECONDS)
        assert len(offsets) == len(values)
        return OffsetRange(partition, min(offsets), max(offsets) + 1)

    def land(self, *batches: Produced, check: bool = True) -> list[Landed]:
        """Submit the job and read its report."""
        (self.folder / "request.json").write_text(json.dumps(self.request(*batches).to_json()))
        for name in ("report.json", "error.json"):
            (self.folder / name).unlink(missing_ok=True)
        report = self.folder / "report.json"
        self.done = self.submit(
            JOB, "--request", str(self.folder / "request.json"), "--report", str(report), check=check
        )
        return [Landed.from_json(each) for each in json.loads(report.read_text())["batches"]] if check else []

    def request(self, *batches: Produced) -> Request:
        return Request(self.contract, self.name, f"{self.name}.dlq", (CassandraTable(self.name),), batches)

    def error(self) -> dict[str, str]:
        """What the job says of its failure."""
        assert not (self.folder / "report.json").exists()
        said: dict[str, str] = json.loads((self.folder / "error.json").read_text())
        return said

    def rows(self) -> list[dict[str, Any]]:
        found = self.reader.execute(f'SELECT * FROM "{self.name}"')
        return sorted(found, key=lambda row: (row["latitude"], row["time"]))

    def letters(self) -> dict[tuple[int, int], str]:
        """{(partition, offset): reason} of the dead letters that lie on the topic too."""
        found = dead_letters.read(self.kafka, f"{self.name}.dlq")
        return {(each.origin.partition, each.origin.offset): each.reason for each in found if each.origin}


@pytest.fixture(scope="module")
def reader(cassandra_settings: Cassandra) -> Iterator[Session]:
    with open_session(cassandra_settings) as session:
        yield session


@pytest.fixture
def case(
    kafka_settings: Kafka,
    cassandra_settings: Cassandra,
    reader: Session,
    spark_submit: Submit,
    tmp_path: Path,
    unique: str,
) -> Iterator[Case]:
    yield Case(kafka_settings, cassandra_settings, reader, spark_submit, tmp_path, unique)
    reader.execute(f'DROP TABLE IF EXISTS "{unique}"')


def test_batches_that_share_a_topic_are_landed_apart_and_a_second_landing_changes_nothing(case: Case) -> None:
    aborted = produce_and_abort(case)
    first = case.produce(0, [reading(hour, latitude) for latitude in (52.5, -33.9) for hour in range(24)])
    stranger = case.publish([case.encode(reading(2000))] * 3, attempt=None)
    superseded = case.produce(1, [reading(hour, temperature_2m=-1.0) for hour in range(24, 48)], AS_OF)
    second = case.produce(1, [reading(hour) for hour in range(24, 48)], AS_OF + timedelta(minutes=1))
    whole = replace(first, ranges=(*first.ranges, aborted, stranger))  # ranges that hold more than the batch

    landed = {each.batch_id: each for each in case.land(whole, second)}

    assert landed[second.batch_id] == Landed(second.batch_id, read=24, landed=24, rejected=0)
    assert landed[first.batch_id].foreign >= 3
    assert replace(landed[first.batch_id], foreign=0) == Landed(first.batch_id, read=48, landed=48, rejected=0)
    rows = case.rows()
    assert [(row["latitude"], row["time"].replace(tzinfo=UTC)) for row in rows] == [
        *((-33.9, DAY + timedelta(hours=hour)) for hour in range(24)),
        *((52.5, DAY + timedelta(hours=hour)) for hour in range(48)),
    ]
    assert [row["temperature_2m"] for row in rows[24:]] == [hour / 4 for hour in range(48)]
    assert {row["month"] for row in rows} == {"2026-01"}
    assert superseded.batch_id == second.batch_id

    case.land(second)
    case.land(whole, second)
    assert case.rows() == rows
    sink = CassandraSink(case.cassandra, case.name, CONTRACT)
    extent = Extent(((52.5, 13.4, "2026-01"), (-33.9, 13.4, "2026-01")), JANUARY, JANUARY + 23 * HOUR)
    assert sink.count(extent, AS_OF) == Count(own=48)
    sink.close()


def produce_and_abort(case: Case) -> OffsetRange:
    """An attempt of batch 0 that fails half-way: its records are on the topic and must not be seen."""

    def failing() -> Iterator[Record]:
        yield from (reading(hour, temperature_2m=99.0) for hour in range(2000))
        raise Retry("the source broke off")

    with pytest.raises(Retry, match="broke off"):
        case.produce(0, failing(), AS_OF - timedelta(minutes=1))
    return OffsetRange(0, 0, 1)


def test_what_cannot_be_landed_is_in_the_dead_letters_and_the_rest_in_the_table(case: Case) -> None:
    good = case.produce(0, [reading(hour, dew_point_2m=None) for hour in range(10)])
    attempt = headers.attempt(good.batch_id, good.as_of)
    valid = case.encode(reading(10))
    broken = [
        valid[:20],
        b"",
        b"{}",
        b"\x01" + valid[1:],
        b"\x00\x7f\xff\xff\xff" + valid[5:],
        unchecked(case, reading(11, relative_humidity_2m=101.5)),
        unchecked(case, reading(12, temperature_2m=float("nan"))),
    ]
    where = case.publish([valid, *broken, valid, case.encode(reading(10, temperature_2m=77.0))], attempt, partition=2)
    produced = replace(good, fetched=20, acked=20, ranges=(*good.ranges, where))

    (landed,) = case.land(produced)

    assert landed == Landed(good.batch_id, read=20, landed=11, rejected=7, duplicates=2)
    assert [row["temperature_2m"] for row in case.rows()] == [hour / 4 for hour in range(11)]
    assert case.letters() == {
        (2, where.start + 1): f"the value does not decode by schema {case.schema_id}",
        **{
            (2, where.start + at): "the value does not begin with the id of a schema of its batch"
            for at in (2, 3, 4, 5)
        },
        (2, where.start + 6): "relative_humidity_2m is 101.5, above its maximum of 100",
        (2, where.start + 7): "temperature_2m is nan, not a finite number",
    }
    case.land(produced)
    assert len(case.letters()) == 7


def test_every_type_survives_and_a_corrupt_length_harms_its_own_record_alone(case: Case) -> None:
    case = replace(case, name=f"{case.name}s", contract=conformance.CONTRACT)
    records = [
        conformance.record(hour, **changes) for hour, changes in enumerate([{}, {"note": None, "open": None}, {}])
    ]
    produced = case.produce(0, records)
    attempt = headers.attempt(produced.batch_id, produced.as_of)
    two_gigabytes = case.encode(records[0])[:5] + b"\xf0\xff\xff\xff\x0f" + b"Alpha"
    where = case.publish([two_gigabytes], attempt)
    (landed,) = case.land(replace(produced, fetched=4, acked=4, ranges=(*produced.ranges, where)))
    assert (landed.landed, landed.rejected) == (3, 1)
    found = sorted(case.reader.execute(f'SELECT * FROM "{case.name}"'), key=lambda row: row["time"])
    assert [(row["note"], row["open"], row["count"], row["total"]) for row in found] == [
        (each["note"], each["open"], each["count"], each["total"]) for each in records
    ]
    assert [(row["station"], row["ratio"], str(row["day"])) for row in found] == [("Alpha", 0.25, "2026-01-01")] * 3
    case.reader.execute(f'DROP TABLE "{case.name}"')


def unchecked(case: Case, record: Record) -> bytes:
    """The record as a writer encodes it that does not look at bounds."""
    body = BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(CONTRACT.schema), record)
    return b"\x00" + case.schema_id.to_bytes(4, "big") + body.getvalue()


def test_many_records_by_several_workers(case: Case) -> None:
    places, hours = 40, 750
    produced = case.produce(0, (reading(hour, 10.0 + place) for hour in range(hours) for place in range(places)))
    assert case.land(produced) == [Landed(produced.batch_id, read=30_000, landed=30_000, rejected=0)]
    count = case.reader.execute(f'SELECT count(*) AS rows FROM "{case.name}"').one()
    assert count["rows"] == 30_000


def test_records_that_are_missing_fail_the_landing(case: Case) -> None:
    produced = case.produce(0, [reading(hour) for hour in range(5)])
    case.land(replace(produced, fetched=7, acked=7), check=False)
    assert case.done.returncode != 0
    assert case.error()["kind"] == "Fatal"
    assert "2 of its 7 records are missing" in case.error()["message"]
    assert "Traceback" not in case.done.stderr


def test_a_table_that_does_not_fit_is_refused_in_one_sentence(case: Case) -> None:
    case.reader.execute(f'CREATE TABLE "{case.name}" (latitude double PRIMARY KEY, temperature_2m text)')
    case.land(case.produce(0, [reading(0)]), check=False)
    assert case.error()["kind"] == "Fatal"
    assert "temperature_2m is text (regular) there and double (regular) here" in case.error()["message"]
    assert case.cassandra.password not in case.done.stderr + case.done.stdout


class TestPrepare:
    """What is looked at before Spark reads a record."""

    def request(self, case: Case) -> Request:
        batch = Produced("b", case.name, case.schema_id, AS_OF, 1, 1, 0, (OffsetRange(0, 0, 1),))
        return replace(case.request(batch), patience=0.5)

    def test_a_registry_that_is_away_is_waited_for(self, case: Case) -> None:
        away = replace(case.kafka, registry_url="http://127.0.0.1:1")
        with pytest.raises(Retry, match=r"schema registry at http://127\.0\.0\.1:1"):
            prepare(self.request(case), away, (case.cassandra,))

    def test_cassandra_that_is_away_is_waited_for(self, case: Case) -> None:
        with pytest.raises(Retry, match="Cassandra at"):
            prepare(self.request(case), case.kafka, (replace(case.cassandra, port=1),))

    def test_an_unknown_schema_is_fatal(self, case: Case) -> None:
        request = self.request(case)
        unknown = replace(request, batches=(replace(request.batches[0], schema_id=2_000_000_000),))
        with pytest.raises(Fatal, match="schema registry"):
            prepare(unknown, case.kafka, (case.cassandra,))
