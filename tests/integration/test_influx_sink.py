"""The InfluxDB sink against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
import requests
from influxdb_client import InfluxDBClient

from penstock.core.contract import Contract
from penstock.core.counts import Count, Extent
from penstock.core.errors import Fatal, Retry
from penstock.core.record import Record, Value
from penstock.core.settings import INCLUDE, Influx
from penstock.sinks.columns import arrow_schema
from penstock.sinks.influxdb import InfluxSink
from tests.conformance import AS_OF, CONTRACT, EARLIER, HOUR, JANUARY, LATER, SinkConformance, as_rows, record

pytestmark = pytest.mark.integration

CARS = Contract.load(INCLUDE / "avro" / "car-transactions-logs.avsc")
POPULATION = Contract.load(INCLUDE / "avro" / "pop.avsc")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


@pytest.fixture(scope="module")
def reader(influx_settings: Influx) -> Iterator[InfluxDBClient]:
    """The vendor's own client, which asks in Flux."""
    with InfluxDBClient(influx_settings.url, influx_settings.token, org=influx_settings.org, timeout=60_000) as client:
        yield client


class Measurement:
    """A measurement for one test."""

    def __init__(self, settings: Influx, reader: InfluxDBClient, name: str) -> None:
        self.settings, self.reader, self.name = settings, reader, name

    def open(self, contract: Contract = CONTRACT, **options: Any) -> InfluxSink:
        return InfluxSink(self.settings, self.name, contract, **options)

    def flux(self, steps: str) -> list[dict[str, Any]]:
        query = (
            f"from(bucket: {json.dumps(self.settings.bucket)}) |> range(start: 1700-01-01T00:00:00Z, "
            f"stop: 2250-01-01T00:00:00Z) |> filter(fn: (r) => r._measurement == {json.dumps(self.name)}) {steps}"
        )
        return [found.values for found in self.reader.query_api().query_stream(query)]

    def stored(self) -> list[dict[str, Any]]:
        """The points, each with its tags and fields."""
        return self.flux('|> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")')

    def rows(self) -> list[Record]:
        return [self._physical(point) for point in self.stored()]

    def _physical(self, point: dict[str, Any]) -> Record:
        values = point | {"time": (point["_time"] - EPOCH) // MILLISECOND}
        return {field.name: values.get(field.name) for field in CONTRACT.fields}

    def partition(self, record: Record) -> tuple[Value, ...]:
        return record["station"], record["sensor"]

    def refused(self) -> Record:
        """Tags of more than 64 KiB."""
        return record(sensor="x" * 70_000)

    def write(self, *lines: str) -> None:
        """Lines of another writer."""
        where = self.settings
        requests.post(
            f"{where.url}/api/v2/write",
            params={"org": where.org, "bucket": where.bucket},
            headers={"Authorization": f"Token {where.token}"},
            data="\n".join(lines).encode(),
            timeout=30,
        ).raise_for_status()


@pytest.fixture
def table(influx_settings: Influx, reader: InfluxDBClient, unique: str) -> Iterator[Measurement]:
    yield Measurement(influx_settings, reader, unique)
    predicate = f'_measurement="{unique}"'
    reader.delete_api().delete("1700-01-01T00:00:00Z", "2250-01-01T00:00:00Z", predicate, bucket=influx_settings.bucket)


class TestConformance(SinkConformance):
    """The suite that every sink passes."""


def car(number: int, **changes: Any) -> Record:
    full: Record = {
        "transaction_id": number,
        "time": JANUARY + number % 1000,
        "buyer_id": number // 3,
        "buyer_name": "Ada King",
        "car_brand": "Fiat",
        "car_model": f"{500 + number % 5}",
        "year": 2024,
        "color": "red",
        "country": "Italy",
        "branch": "Rome",
        "transaction_price": 9_999.5,
    }
    return full | changes


def cars(*records: Record) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(records), schema=arrow_schema(CARS))


def car_extent(*records: Record) -> Extent:
    times = [each["time"] for each in records]
    return Extent(tuple({tuple(each[tag] for tag in CARS.tags) for each in records}), min(times), max(times))


def points_in(table: Measurement) -> int:
    """As the server counts them."""
    (found,) = table.flux('|> filter(fn: (r) => r._field == "as_of") |> group() |> count()')
    return found["_value"]


class TestIdentity:
    def test_100_000_transactions_of_one_second_with_5_tag_sets_are_100_000_points(self, table: Measurement) -> None:
        records = [car(number) for number in range(100_000)]
        sink = table.open(CARS)
        assert sum(sink.write(cars(*records[at : at + 10_000]), AS_OF).landed for at in range(0, 100_000, 10_000)) == (
            100_000
        )
        assert points_in(table) == 100_000
        assert sink.count(car_extent(*records), AS_OF) == Count(own=100_000)
        assert table.open(CARS).write(cars(*records), AS_OF).landed == 100_000
        assert points_in(table) == 100_000

    def test_a_second_record_at_the_same_tags_and_time_is_rejected_by_name(self, table: Measurement) -> None:
        written = table.open(CARS).write(cars(car(5), car(6), car(1_000_005, time=car(5)["time"])), AS_OF)
        assert written.landed == 2
        ((row, reason),) = written.rejects
        assert row == 2
        assert f"has its point, {table.name}, car_brand 'Fiat', car_model '500'" in reason
        assert str(JANUARY * 1_000_000 + 5_000_005) in reason
        assert {point["transaction_id"] for point in table.stored()} == {5, 6}

    def test_a_year_is_one_point_of_its_nation(self, table: Measurement) -> None:
        row: Record = {
            "ID_Nation": "01000US",
            "time": -5_680_195_200_000,
            "Nation": "United States",
            "Slug_Nation": "united-states",
            "ID_Year": 1790,
            "Year": 1790,
            "Population": 3_929_214,
        }
        rows = pa.RecordBatch.from_pylist([row], schema=arrow_schema(POPULATION))
        sink = table.open(POPULATION)
        assert sink.write(rows, AS_OF).landed == 1
        extent = Extent((("United States", "united-states"),), row["time"], row["time"])
        assert sink.count(extent, AS_OF) == Count(own=1)
        (point,) = table.stored()
        assert (point["_time"], point["ID_Nation"]) == (datetime(1790, 1, 1, tzinfo=UTC), "01000US")


class TestAsOf:
    def test_a_point_carries_the_as_of_time_of_who_wrote_it(self, table: Measurement) -> None:
        table.open().write(as_rows([record()]), AS_OF)
        (point,) = table.stored()
        assert EPOCH + timedelta(microseconds=point["as_of"]) == AS_OF

    def test_rows_can_have_an_as_of_time_each(self, table: Measurement) -> None:
        stamps = [(each - EPOCH) // timedelta(microseconds=1) for each in (AS_OF, LATER, EARLIER)]
        sink = table.open()
        table.open().write(as_rows([record(0, note="there"), record(2, note="there")]), AS_OF)
        written = sink.write(as_rows([record(0), record(1), record(2)]), pa.array(stamps))
        assert written.landed == 3
        assert [point["note"] for point in table.stored()] == [record(0)["note"], record(1)["note"], "there"]
        extent = Extent((("Alpha", "s1"),), JANUARY, JANUARY + 2 * HOUR)
        assert sink.count(extent, AS_OF) == Count(own=2, newer=1)

    def test_the_newest_repeat_stands_whenever_it_comes(self, table: Measurement) -> None:
        sink = table.open(contested=False)
        sink.write(as_rows([record(0, note="first")]), AS_OF)
        assert sink.write(as_rows([record(0, note="older")]), EARLIER).duplicates == 1
        assert sink.write(as_rows([record(0, note="newer")]), LATER).duplicates == 1
        assert [point["note"] for point in table.stored()] == ["newer"]

    def test_the_newest_of_an_extent_is_told(self, table: Measurement) -> None:
        sink = table.open()
        assert sink.newest(Extent((), JANUARY, JANUARY + 9 * HOUR)) is None
        sink.write(as_rows([record(0)]), LATER)
        sink.write(as_rows([record(1)]), AS_OF)
        assert sink.newest(Extent((), JANUARY, JANUARY + 9 * HOUR)) == LATER
        assert sink.newest(Extent((), JANUARY + HOUR, JANUARY + 9 * HOUR)) == AS_OF

    def test_the_newest_counts_points_spread_within_the_last_millisecond(self, table: Measurement) -> None:
        sink = table.open(CARS)
        sink.write(cars(car(999_999, time=JANUARY)), AS_OF)
        assert sink.newest(car_extent(car(999_999, time=JANUARY))) == AS_OF

    def test_an_uncontested_landing_writes_without_asking(self, table: Measurement) -> None:
        table.open().write(as_rows([record(note="newer")]), LATER)
        assert table.open(contested=False).write(as_rows([record(note="older")]), AS_OF).landed == 1
        assert [point["note"] for point in table.stored()] == ["older"]


STRANGE = [
    *(" ", ",", "=", '"', "\\a", "'", "#", "_", "\t", "\r", "\x00", "\x7f", "é", "東京", "😀", "\u2028", "{$}", "/"),
    *(r"a\,b", r"a\ b", r"a\=b", r"\\ x", "a, b=c", '"a b"', "\\n", "#!~#", " lead", "trail ", ",a=1 b=2 3", "a\\,"),
]


class TestStrangeValues:
    def test_tags_and_strings_are_stored_as_they_are(self, table: Measurement) -> None:
        records = [
            record(hour, station=value, sensor=STRANGE[-hour], note=f"{value}\n\\{STRANGE[-hour]}\\")
            for hour, value in enumerate(STRANGE)
        ]
        sink = table.open()
        assert sink.write(as_rows(records), AS_OF).landed == len(records)
        assert self.stored(table) == [(each["station"], each["sensor"], each["note"]) for each in records]
        partitions = tuple(table.partition(each) for each in records)
        assert sink.count(Extent(partitions, JANUARY, JANUARY + 99 * HOUR), AS_OF) == Count(own=len(records))

    @staticmethod
    def stored(table: Measurement) -> list[tuple[str, str, str]]:
        """By InfluxQL, whose answer is JSON: in Flux's CSV a carriage return gets lost."""
        answer = requests.post(
            f"{table.settings.url}/query",
            data={
                "db": table.settings.bucket,
                "q": f'SELECT "station"::tag, "sensor"::tag, "note"::field FROM "{table.name}"',
            },
            headers={"Authorization": f"Token {table.settings.token}"},
            timeout=30,
        ).json()
        return [tuple(values[1:]) for values in answer["results"][0]["series"][0]["values"]]

    def test_an_older_landing_finds_them_too(self, table: Measurement) -> None:
        newer = [record(hour, station=value, sensor="", note="newer") for hour, value in enumerate(STRANGE)]
        table.open().write(as_rows(newer), AS_OF)
        table.open().write(as_rows([each | {"note": "older"} for each in newer]), EARLIER)
        assert {point["note"] for point in table.stored()} == {"newer"}

    def test_tags_that_influxdb_cannot_store_are_rejected_and_not_changed(self, table: Measurement) -> None:
        rows = as_rows([record(0, sensor="two\nlines"), record(1), record(2, station="C:\\")])
        written = table.open().write(rows, AS_OF)
        assert written.landed == 1
        assert [(row, reason[:20]) for row, reason in written.rejects] == [
            (0, "sensor holds a newli"),
            (2, "station ends with a "),
        ]

    def test_an_empty_tag_is_no_tag_and_still_counted(self, table: Measurement) -> None:
        sink = table.open()
        sink.write(as_rows([record(sensor="")]), AS_OF)
        assert "sensor" not in table.stored()[0]
        for empty in ("", None):
            assert sink.count(Extent((("Alpha", empty),), JANUARY, JANUARY), AS_OF) == Count(own=1)

    def test_a_time_that_influxdb_cannot_keep_is_rejected(self, table: Measurement) -> None:
        written = table.open().write(as_rows([record(0), record(time=2**60)]), AS_OF)
        assert written.landed == 1
        assert "outside of 1677-09-21 to 2262-04-11" in written.rejects[0][1]

    def test_a_number_that_is_none_is_rejected(self, table: Measurement) -> None:
        written = table.open().write(as_rows([record(0, level=float("nan")), record(1, level=float("inf"))]), AS_OF)
        assert [reason for _, reason in written.rejects] == ["invalid number", "invalid boolean"]


class TestPartialWrites:
    def test_only_points_whose_field_has_another_type_there_are_rejected(self, table: Measurement) -> None:
        """InfluxDB fixes a field's type anew for each shard, which holds a week."""
        table.write(f'{table.name},station=Beta count="many" {JANUARY}000000')
        conflicting = {3, 50, 51}
        records = [record(hour, count=7 if hour in conflicting else None) for hour in range(72)]
        elsewhere = [record(hour, count=8) for hour in range(600, 640)]
        written = table.open().write(as_rows([*records, *elsewhere]), AS_OF)
        assert written.landed == 72 - 3 + 40
        assert {row for row, _ in written.rejects} == conflicting
        assert "is type integer, already exists as type string" in written.rejects[0][1]
        assert len(table.stored()) == 1 + 72 - 3 + 40


class TestSetup:
    def test_a_field_of_another_type_is_refused(self, table: Measurement) -> None:
        table.write(f'{table.name},station=Beta count="many" {JANUARY}000000')
        with pytest.raises(Fatal, match="count is a field of type string there and integer here"):
            table.open().setup()

    def test_a_tag_that_is_a_field_is_refused_and_the_other_way_round(self, table: Measurement) -> None:
        table.write(f'{table.name},note=x station="Beta" {JANUARY}000000')
        with pytest.raises(
            Fatal, match="station is a field there and a tag here; note is a tag there and a field here"
        ):
            table.open().setup()

    def test_fields_that_the_contract_lacks_are_left_alone(self, table: Measurement) -> None:
        table.write(f"{table.name},station=Beta extra=1 {JANUARY}000000")
        table.open().setup()

    def test_another_tag_would_give_points_another_identity(self, table: Measurement) -> None:
        table.write(f"{table.name},station=Beta,rack=7 level=1 {JANUARY}000000")
        with pytest.raises(Fatal, match="rack is a tag there and none here"):
            table.open().setup()


class TestServerTrouble:
    def test_a_wrong_token_is_fatal_and_not_repeated_in_the_message(self, influx_settings: Influx) -> None:
        sink = InfluxSink(replace(influx_settings, token="wrong-and-secret"), "m", CONTRACT)
        for call in (sink.setup, lambda: sink.write(as_rows([record()]), AS_OF), lambda: sink.newest(Extent((), 0, 1))):
            with pytest.raises(Fatal, match="does not know INFLUXDB_TOKEN") as refusal:
                call()
            assert "wrong-and-secret" not in str(refusal.value)

    def test_a_bucket_that_is_not_there_is_fatal(self, influx_settings: Influx) -> None:
        sink = InfluxSink(replace(influx_settings, bucket="nowhere"), "m", CONTRACT)
        with pytest.raises(Fatal, match="has no bucket nowhere of the organisation penstock"):
            sink.setup()
        with pytest.raises(Fatal, match="lets INFLUXDB_TOKEN read no bucket nowhere"):
            sink.newest(Extent((), 0, 1))

    def test_a_server_that_stays_away_is_waited_for_and_then_named(self, influx_settings: Influx) -> None:
        away = replace(influx_settings, url="http://127.0.0.1:1")
        with pytest.raises(Retry, match=r"InfluxDB at http://127\.0\.0\.1:1 cannot be reached"):
            InfluxSink(away, "m", CONTRACT, patience=0.3).setup()
