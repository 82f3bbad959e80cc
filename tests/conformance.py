"""What every sink must do. A sink's test module subclasses SinkConformance and says how to open and read its table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pyarrow as pa
import pytest

from penstock.core.contract import Contract
from penstock.core.counts import Count, Extent
from penstock.core.errors import Fatal
from penstock.core.record import Record, Value
from penstock.sinks.base import Sink
from penstock.sinks.columns import arrow_schema

CONTRACT = Contract(
    {
        "type": "record",
        "name": "Conformance",
        "penstock": {
            "key": ["station", "sensor", "time"],
            "eventTime": "time",
            "cassandra": {
                "partitionKey": ["station", "month"],
                "clusteringKey": ["sensor", "time"],
                "buckets": {"month": {"of": "time", "by": "month"}},
            },
            "influxdb": {"tags": ["station", "sensor"]},
        },
        "fields": [
            {"name": "station", "type": "string"},
            {"name": "sensor", "type": "string"},
            {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "level", "type": "double"},
            {"name": "ratio", "type": ["null", "float"], "default": None},
            {"name": "count", "type": ["null", "int"], "default": None},
            {"name": "total", "type": ["null", "long"], "default": None},
            {"name": "open", "type": ["null", "boolean"], "default": None},
            {"name": "note", "type": ["null", "string"], "default": None},
            {"name": "day", "type": ["null", {"type": "int", "logicalType": "date"}], "default": None},
        ],
    },
    "conformance.avsc",
)

JANUARY = 1_767_225_600_000
"""2026-01-01T00:00Z in ms since the epoch."""

HOUR = 3_600_000
HOURS_OF_MONTH = 31 * 24

AS_OF = datetime(2026, 11, 22, 9, 30, 0, 123456, UTC)
LATER = AS_OF + timedelta(microseconds=1)
EARLIER = AS_OF - timedelta(days=1)


class Table(Protocol):
    """A sink's table, empty at the start of each test."""

    def open(self) -> Sink:
        """A new sink on it, as a new landing would have one."""
        ...

    def rows(self) -> list[Record]:
        """All that it holds, read by other means than the sink: contract fields only, absent values as None."""
        ...

    def partition(self, record: Record) -> tuple[Value, ...]:
        """Where the sink keeps the record, as its extents name the place."""
        ...

    def refused(self) -> Record:
        """A record that keeps the contract, and that this kind of sink cannot store."""
        ...


def record(hour: int = 0, **changes: Any) -> Record:
    """The record of one hour, with a value in every field."""
    full: Record = {
        "station": "Alpha",
        "sensor": "s1",
        "time": JANUARY + hour * HOUR,
        "level": hour + 0.5,
        "ratio": 0.25,
        "count": hour - 3,
        "total": 2**40 + hour,
        "open": hour % 2 == 0,
        "note": f"hour {hour}: ünïcode",
        "day": 20_454 + hour // 24,
    }
    return full | changes


def as_rows(records: Sequence[Record]) -> pa.RecordBatch:
    """Records as a sink takes them."""
    return pa.RecordBatch.from_pylist(list(records), schema=arrow_schema(CONTRACT))


def by_key(records: Sequence[Record]) -> list[Record]:
    """In an order that any sink's rows can be put in."""
    return sorted(records, key=lambda each: tuple(str(each[name]) for name in CONTRACT.key))


class SinkConformance:
    """The suite. `table` is a fixture of the subclass."""

    def test_one_row_is_stored_with_every_value(self, table: Table) -> None:
        written = table.open().write(as_rows([record()]), AS_OF)
        assert (written.landed, written.duplicates, written.rejects) == (1, 0, ())
        assert table.rows() == [record()]

    def test_no_rows_are_no_error(self, table: Table) -> None:
        assert table.open().write(as_rows([]), AS_OF).landed == 0
        assert table.rows() == []

    def test_many_rows_in_any_order_are_all_stored(self, table: Table) -> None:
        records = [
            record(hour, station=station, sensor=sensor)
            for hour in range(700, 800)
            for station in ("Alpha", "Beta", "Øster")
            for sensor in ("s1", "s22")
        ]
        records = records[1::2] + records[::2]
        sink = table.open()
        written = [sink.write(as_rows(records[at : at + 250]), AS_OF) for at in range(0, len(records), 250)]
        assert sum(each.landed for each in written) == len(records)
        assert by_key(table.rows()) == by_key(records)

    def test_a_second_landing_changes_nothing(self, table: Table) -> None:
        records = [record(hour) for hour in range(50)]
        assert table.open().write(as_rows(records), AS_OF).landed == 50
        before = table.rows()
        assert table.open().write(as_rows(records[::-1]), AS_OF).landed == 50
        assert table.rows() == before

    def test_a_repeated_key_is_counted_and_the_first_record_stands(self, table: Table) -> None:
        first, other = record(1), record(2)
        written = table.open().write(as_rows([first, other, record(1, level=99.0, note=None)]), AS_OF)
        assert (written.landed, written.duplicates) == (2, 1)
        assert by_key(table.rows()) == by_key([first, other])

    def test_a_key_repeated_in_a_later_write_is_counted_too(self, table: Table) -> None:
        sink = table.open()
        sink.write(as_rows([record(hour) for hour in range(10)]), AS_OF)
        written = sink.write(as_rows([record(9, level=99.0), record(10)]), AS_OF)
        assert (written.landed, written.duplicates) == (1, 1)
        assert by_key(table.rows()) == by_key([record(hour) for hour in range(11)])

    def test_absent_values_are_absent(self, table: Table) -> None:
        optional = [field.name for field in CONTRACT.fields if field.nullable]
        records = [record(hour, **dict.fromkeys(optional[: hour + 1])) for hour in range(len(optional))]
        table.open().write(as_rows(records), AS_OF)
        assert by_key(table.rows()) == by_key(records)

    def test_an_absent_value_leaves_what_is_there(self, table: Table) -> None:
        table.open().write(as_rows([record(0), record(1)]), AS_OF)
        table.open().write(as_rows([record(0, note=None, level=7.0), record(1, level=8.0)]), LATER)
        assert by_key(table.rows()) == by_key([record(0, level=7.0), record(1, level=8.0)])

    def test_an_older_landing_does_not_overwrite_a_newer_one(self, table: Table) -> None:
        newer = [record(hour, note="newer") for hour in range(3)]
        table.open().write(as_rows(newer), AS_OF)
        written = table.open().write(as_rows([record(hour, note="older") for hour in range(4)]), EARLIER)
        assert written.landed == 4
        assert by_key(table.rows()) == by_key([*newer, record(3, note="older")])

    def test_a_newer_landing_overwrites_an_older_one(self, table: Table) -> None:
        table.open().write(as_rows([record(0, note="older")]), AS_OF)
        table.open().write(as_rows([record(0, note="newer")]), LATER)
        assert table.rows() == [record(0, note="newer")]

    def test_a_column_of_a_wrong_type_is_refused_by_name(self, table: Table) -> None:
        rows = as_rows([record()]).set_column(3, "level", pa.array(["high"]))
        with pytest.raises(Fatal, match="column level"):
            table.open().write(rows, AS_OF)
        assert table.rows() == []

    def test_a_row_that_the_sink_refuses_is_named_and_the_rest_is_stored(self, table: Table) -> None:
        good = [record(hour) for hour in range(30)]
        written = table.open().write(as_rows([*good[:17], table.refused(), *good[17:]]), AS_OF)
        assert written.landed == 30
        assert [row for row, _ in written.rejects] == [17]
        assert written.rejects[0][1]
        assert by_key(table.rows()) == by_key(good)

    def test_setting_up_again_keeps_the_rows(self, table: Table) -> None:
        table.open().write(as_rows([record()]), AS_OF)
        table.open().setup()
        assert table.rows() == [record()]

    def test_rows_are_counted_by_who_wrote_them_last(self, table: Table) -> None:
        sink = table.open()
        partitions = tuple(table.partition(record(station=name)) for name in ("Alpha", "Beta"))
        extent = Extent(partitions, JANUARY, JANUARY + 100 * HOUR)
        assert sink.count(extent, AS_OF) == Count(own=0)
        sink.write(as_rows([record(hour, station=name) for hour in range(10) for name in ("Alpha", "Beta")]), AS_OF)
        assert sink.count(extent, AS_OF) == Count(own=20)
        table.open().write(as_rows([record(0), record(1)]), LATER)
        table.open().write(as_rows([record(9), record(10)]), EARLIER)
        assert sink.count(extent, AS_OF) == Count(own=18, newer=2, older=1)
        assert sink.count(extent, LATER) == Count(own=2, older=19)
        assert sink.count(extent, EARLIER) == Count(own=1, newer=20)

    def test_rows_of_other_partitions_are_not_counted(self, table: Table) -> None:
        sink = table.open()
        february = JANUARY + HOURS_OF_MONTH * HOUR
        sink.write(as_rows([record(0), record(HOURS_OF_MONTH, station="Beta"), record(HOURS_OF_MONTH)]), AS_OF)
        extent = Extent((table.partition(record(HOURS_OF_MONTH)),), february, february + 2000 * HOUR)
        assert sink.count(extent, AS_OF) == Count(own=1)
