"""The text of points. What InfluxDB makes of it is tested against a real server."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.contract import Contract
from penstock.core.errors import Fatal
from penstock.sinks.columns import arrow_schema
from penstock.sinks.line_protocol import LineProtocol, point_times, unstorable_tags
from tests.conformance import CONTRACT, JANUARY, as_rows, record

AS_OF = 1_795_340_000_000_000
OPTIONAL = dict.fromkeys(field.name for field in CONTRACT.fields if field.nullable)


def lines(*records: dict[str, Any], measurement: str = "m", as_of: int | pa.Array = AS_OF) -> list[str]:
    rows = as_rows(records)
    times, storable = point_times(rows, CONTRACT)
    assert storable.all()
    return LineProtocol(measurement, CONTRACT).lines(rows, times, as_of).to_pylist()


def line(**changes: Any) -> str:
    (found,) = lines(record(**changes))
    return found


def changed(**changes: Any) -> Contract:
    """The contract with another `influxdb` layout, or with one more field."""
    schema = json.loads(json.dumps(CONTRACT.schema))
    schema["penstock"]["influxdb"] |= changes.pop("influxdb", {})
    schema["fields"] += changes.pop("fields", [])
    return Contract(schema)


def test_a_line_has_tags_in_order_all_fields_and_the_time_in_nanoseconds() -> None:
    assert line() == (
        "m,sensor=s1,station=Alpha as_of=1795340000000000i,level=0.5,ratio=0.25,count=-3i,total=1099511627776i,"
        'open=true,note="hour 0: ünïcode",day=20454i 1767225600000000000\n'
    )


def test_a_null_field_is_left_out_and_a_row_of_nulls_is_still_a_point() -> None:
    assert " as_of=1795340000000000i,level=0.5 " in line(**OPTIONAL)
    first, second = lines(record(0, note=None), record(1, count=None))
    assert "note=" not in first
    assert 'note="hour 1' in second
    assert "count=" not in second


def test_an_empty_tag_is_left_out() -> None:
    assert line(sensor="").startswith("m,station=Alpha as_of")
    assert line(sensor="", station="").startswith("m as_of")


@pytest.mark.parametrize(
    ("value", "escaped"),
    [
        ("a b", r"a\ b"),
        ("a,b", r"a\,b"),
        ("a=b", r"a\=b"),
        ('a"b', 'a"b'),
        (r"a\b", r"a\b"),
        (r"a\,b", r"a\\,b"),
        ("a\tb\r", "a\tb\r"),
        ("Zürich 東京", r"Zürich\ 東京"),
    ],
)
def test_tag_values_are_escaped(value: str, escaped: str) -> None:
    assert line(sensor=value).startswith(f"m,sensor={escaped},station=Alpha as_of")


@pytest.mark.parametrize(
    ("value", "escaped"),
    [
        ("", '""'),
        ('say "x"', r'"say \"x\""'),
        ("C:\\", r'"C:\\"'),
        (r"\"", r'"\\\""'),
        ("two\nlines\r\n\t", '"two\nlines\r\n\t"'),
        ("a,b=c d", '"a,b=c d"'),
    ],
)
def test_strings_are_escaped(value: str, escaped: str) -> None:
    assert f",note={escaped},day=" in line(note=value)


def test_a_measurement_is_escaped() -> None:
    assert lines(record(), measurement="a b,c=d")[0].startswith(r"a\ b\,c=d,sensor=")


@pytest.mark.parametrize("name", ["", "#a", "_a", "a\\", "a\nb"])
def test_a_measurement_that_lines_cannot_name_is_refused(name: str) -> None:
    with pytest.raises(Fatal, match="cannot be the name of a measurement"):
        LineProtocol(name, CONTRACT)


@pytest.mark.parametrize("name", ["as_of", "_field"])
def test_a_field_with_a_name_that_points_need_is_refused(name: str) -> None:
    contract = changed(fields=[{"name": name, "type": "long"}])
    with pytest.raises(Fatal, match=f"can have the name {name}"):
        LineProtocol("m", contract)


def test_each_row_can_have_its_own_as_of_time() -> None:
    first, second = lines(record(0), record(1), as_of=pa.array([5, 6]))
    assert " as_of=5i," in first
    assert " as_of=6i," in second


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_doubles_keep_every_bit(value: float) -> None:
    (text,) = re.findall(r",level=([^,]*),", line(level=value))
    assert float(text).hex() == value.hex()


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_floats_are_stored_as_the_same_number(value: float) -> None:
    (text,) = re.findall(r",ratio=([^,]*),", line(ratio=value))
    assert float(text).hex() == value.hex()


@pytest.mark.parametrize(("name", "bits"), [("count", 32), ("total", 64)])
def test_whole_numbers_keep_their_range(name: str, bits: int) -> None:
    for value in (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1):
        assert f",{name}={value}i," in line(**{name: value})


def test_the_time_before_the_epoch_is_negative() -> None:
    assert line(time=-5_679_504_000_000).endswith(" -5679504000000000000\n")


def test_the_spread_field_tells_points_of_one_millisecond_apart() -> None:
    contract = changed(influxdb={"spread": "big"}, fields=[{"name": "big", "type": "long"}])
    numbers = [7, 1_000_007, 999_999, -1]
    rows = pa.RecordBatch.from_pylist([record() | {"big": each} for each in numbers], schema=arrow_schema(contract))
    times, storable = point_times(rows, contract)
    assert storable.all()
    assert [int(each) - JANUARY * 1_000_000 for each in times] == [7, 7, 999_999, 999_999]


def test_times_that_do_not_fit_are_found() -> None:
    rows = as_rows([record(time=each) for each in (9_223_372_036_853, 9_223_372_036_855, -9_223_372_036_855, 2**62)])
    times, storable = point_times(rows, CONTRACT)
    assert storable.tolist() == [True, False, False, False]
    assert times.dtype == np.int64


def test_tags_that_lines_cannot_hold_are_found() -> None:
    rows = as_rows([record(sensor="a\nb"), record(), record(station="C:\\"), record(station="C:\\x")])
    assert unstorable_tags(rows, CONTRACT.tags) == {
        0: "sensor holds a newline, which a tag in InfluxDB cannot",
        2: "station ends with a backslash, which a tag in InfluxDB cannot",
    }
