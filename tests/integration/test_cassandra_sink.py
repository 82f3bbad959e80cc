"""The Cassandra sink against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from cassandra.cluster import Session

from penstock.core.contract import Contract
from penstock.core.counts import Count, Extent
from penstock.core.errors import Fatal, Retry
from penstock.core.record import Record, Value
from penstock.core.settings import INCLUDE, Cassandra
from penstock.sinks.cassandra import CassandraSink, connect
from penstock.sinks.columns import arrow_schema
from tests import conformance
from tests.conformance import AS_OF, CONTRACT, HOUR, JANUARY, LATER, SinkConformance, as_rows, record
from tests.tables import session as open_session

pytestmark = pytest.mark.integration

HOURLY = Contract.load(INCLUDE / "avro" / "hourlymetrics.avsc")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def reader(cassandra_settings: Cassandra) -> Iterator[Session]:
    """A session that has nothing to do with the sink's."""
    with open_session(cassandra_settings) as session:
        yield session


@pytest.fixture(scope="module")
def writer(cassandra_settings: Cassandra) -> Iterator[Session]:
    session = connect(cassandra_settings)
    yield session
    session.cluster.shutdown()


class CassandraTable:
    """A table for one test."""

    def __init__(self, settings: Cassandra, writer: Session, reader: Session, name: str) -> None:
        self.settings, self.writer, self.reader, self.name = settings, writer, reader, name
        self.open().setup()

    def open(self, contract: Contract = CONTRACT, **options: Any) -> CassandraSink:
        return CassandraSink(self.settings, self.name, contract, session=self.writer, **options)

    def stored(self) -> list[dict[str, Any]]:
        """The rows as CQL gives them."""
        return list(self.reader.execute(f'SELECT * FROM "{self.name}"'))

    def rows(self) -> list[Record]:
        return [self._physical(row) for row in self.stored()]

    def _physical(self, row: dict[str, Any]) -> Record:
        times = {"time": (row["time"].replace(tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)}
        days = {"day": row["day"] and (row["day"].date() - EPOCH.date()).days}
        return {name: value for name, value in (row | times | days).items() if name in CONTRACT.by_name}

    def partition(self, record: Record) -> tuple[Value, ...]:
        month = datetime.fromtimestamp(record["time"] / 1000, UTC).strftime("%Y-%m")
        return record["station"], month

    def refused(self) -> Record:
        """A key of more than 64 KiB."""
        return record(sensor="x" * 70_000)


@pytest.fixture
def table(cassandra_settings: Cassandra, writer: Session, reader: Session, unique: str) -> Iterator[CassandraTable]:
    yield CassandraTable(cassandra_settings, writer, reader, unique)
    reader.execute(f'DROP TABLE IF EXISTS "{unique}"')


class TestConformance(SinkConformance):
    """The suite that every sink passes."""


def test_the_bucket_is_the_month_of_the_event_time(table: CassandraTable) -> None:
    table.open().write(as_rows([record(0), record(conformance.HOURS_OF_MONTH)]), AS_OF)
    assert sorted(row["month"] for row in table.stored()) == ["2026-01", "2026-02"]


def test_rows_carry_the_as_of_time_as_their_write_time(table: CassandraTable) -> None:
    table.open().write(as_rows([record(0)]), AS_OF)
    (row,) = table.reader.execute(f'SELECT writetime(level) AS stamp FROM "{table.name}"')
    assert EPOCH + timedelta(microseconds=row["stamp"]) == AS_OF


def test_an_absent_value_leaves_no_tombstone(table: CassandraTable) -> None:
    table.open().write(as_rows([record(0)]), AS_OF)
    table.open().write(as_rows([record(0, note=None), record(1)]), LATER)
    (row,) = table.reader.execute(f'SELECT note, writetime(note) AS stamp FROM "{table.name}" LIMIT 1')
    assert row["note"] == record(0)["note"]
    assert EPOCH + timedelta(microseconds=row["stamp"]) == AS_OF


def test_minus_zero_is_the_same_place_as_zero(table: CassandraTable, unique: str) -> None:
    sink = CassandraSink(table.settings, f"{unique}z", HOURLY, session=table.writer)
    sink.setup()
    values = {"longitude": 0.0, "time": JANUARY, "grid_latitude": 0.0, "grid_longitude": 0.0}
    rows = pa.RecordBatch.from_pylist(
        [{**values, "latitude": -0.0}, {**values, "latitude": 0.0}], schema=arrow_schema(HOURLY)
    )
    assert (written := sink.write(rows, AS_OF)).landed == 1, written
    assert sink.count(Extent(((0.0, 0.0, "2026-01"),), JANUARY, JANUARY), AS_OF) == Count(own=1)
    table.reader.execute(f'DROP TABLE "{unique}z"')


def test_only_the_extents_times_are_counted(table: CassandraTable, unique: str) -> None:
    sink = CassandraSink(table.settings, f"{unique}h", HOURLY, session=table.writer)
    sink.setup()
    rows = [
        {
            "latitude": 52.5,
            "longitude": 13.4,
            "time": JANUARY + hour * HOUR,
            "grid_latitude": 0.0,
            "grid_longitude": 0.0,
        }
        for hour in range(48)
    ]
    sink.write(pa.RecordBatch.from_pylist(rows, schema=arrow_schema(HOURLY)), AS_OF)
    day = Extent(((52.5, 13.4, "2026-01"),), JANUARY + 10 * HOUR, JANUARY + 33 * HOUR)
    assert sink.count(day, AS_OF) == Count(own=24)
    table.reader.execute(f'DROP TABLE "{unique}h"')


def test_a_statement_that_the_server_has_forgotten_is_prepared_again(table: CassandraTable) -> None:
    sink = table.open()
    sink.write(as_rows([record(0)]), AS_OF)
    table.reader.execute(f'ALTER TABLE "{table.name}" ADD forgotten text')  # drops the statements of the table
    assert sink.write(as_rows([record(hour) for hour in range(1, 200)]), AS_OF).landed == 199
    assert len(table.stored()) == 200


class TestSetup:
    def test_new_fields_become_columns(self, table: CassandraTable) -> None:
        table.open().write(as_rows([record(0)]), AS_OF)
        wider = with_field({"name": "wind", "type": ["null", "double"], "default": None})
        sink = table.open(wider)
        sink.setup()
        sink.write(pa.RecordBatch.from_pylist([record(1) | {"wind": 4.5}], schema=arrow_schema(wider)), AS_OF)
        assert {row["wind"] for row in table.stored()} == {None, 4.5}

    def test_columns_that_the_contract_lacks_are_left_alone(self, table: CassandraTable) -> None:
        table.reader.execute(f'ALTER TABLE "{table.name}" ADD extra text')
        table.open().setup()
        table.open().write(as_rows([record(0)]), AS_OF)
        assert "extra" in table.stored()[0]

    def test_a_column_of_another_type_is_refused(self, table: CassandraTable) -> None:
        with pytest.raises(Fatal, match=r"count is int \(regular\) there and bigint \(regular\) here"):
            table.open(with_type("count", ["null", "long"])).setup()

    def test_another_primary_key_is_refused(self, table: CassandraTable) -> None:
        schema = json.loads(json.dumps(CONTRACT.schema))
        schema["penstock"]["cassandra"] |= {"partitionKey": ["station", "sensor", "month"], "clusteringKey": ["time"]}
        with pytest.raises(Fatal, match=r"sensor is text \(clustering 0\) there and text \(partition_key 1\) here"):
            table.open(Contract(schema)).setup()

    def test_a_role_without_the_right_is_told_what_it_lacks(self, table: CassandraTable) -> None:
        elsewhere = replace(table.settings, keyspace="system_auth")
        with pytest.raises(Fatal, match="may not set up system_auth"):
            CassandraSink(elsewhere, "t", CONTRACT, session=table.writer).setup()

    def test_a_contract_without_a_required_field_beside_its_key_is_refused(self, table: CassandraTable) -> None:
        schema = json.loads(json.dumps(CONTRACT.schema))
        schema["fields"] = [each for each in schema["fields"] if each["name"] != "level"]
        with pytest.raises(Fatal, match="needs a required field outside its key"):
            table.open(Contract(schema))


class TestServerTrouble:
    def test_a_wrong_password_is_fatal_and_not_repeated_in_the_message(self, cassandra_settings: Cassandra) -> None:
        wrong = replace(cassandra_settings, password="wrong-and-secret")
        with pytest.raises(Fatal, match="refuses the login") as refusal:
            connect(wrong)
        assert "wrong-and-secret" not in str(refusal.value)
        assert "wrong-and-secret" not in repr(CassandraSink(wrong, "t", CONTRACT))

    def test_a_server_that_stays_away_is_waited_for_and_then_named(self, cassandra_settings: Cassandra) -> None:
        away = replace(cassandra_settings, port=1)
        with pytest.raises(Retry, match=r"Cassandra at .*:1 does not answer"):
            connect(away, patience=0.5)

    def test_a_table_that_is_gone_is_fatal_and_rejects_no_row(self, table: CassandraTable) -> None:
        sink = table.open()
        sink.write(as_rows([record(0)]), AS_OF)
        table.reader.execute(f'DROP TABLE "{table.name}"')
        with pytest.raises(Fatal, match="refuses the request"):
            sink.write(as_rows([record(1)]), AS_OF)


def with_field(field: dict[str, Any]) -> Contract:
    return Contract({**CONTRACT.schema, "fields": [*CONTRACT.schema["fields"], field]})


def with_type(name: str, avro_type: Any) -> Contract:
    fields = [each | {"type": avro_type} if each["name"] == name else each for each in CONTRACT.schema["fields"]]
    return Contract({**CONTRACT.schema, "fields": fields})
