"""Whole columns are judged as the contract judges single records."""

import json
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.contract import Contract, Kind
from penstock.core.errors import Fatal
from penstock.sinks.columns import arrow_schema, bucket_labels, physical_rows, violations
from tests.conformance import CONTRACT

EPOCH_DAY = date(1970, 1, 1)

BOUNDED = Contract(
    {
        "type": "record",
        "name": "Bounded",
        "penstock": {"key": ["place", "time"], "eventTime": "time"},
        "fields": [
            {"name": "place", "type": "string"},
            {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "level", "type": "double", "minimum": -1.5, "maximum": 1.5},
            {"name": "share", "type": ["null", "float"], "default": None, "minimum": 0, "maximum": 1},
            {"name": "count", "type": ["null", "int"], "default": None, "minimum": 1},
            {"name": "open", "type": ["null", "boolean"], "default": None},
        ],
    }
)

RECORDS = st.fixed_dictionaries(
    {
        "place": st.none() | st.text(max_size=3),
        "time": st.none() | st.integers(-(2**63), 2**63 - 1),
        "level": st.none() | st.floats(-3, 3) | st.sampled_from([float("nan"), float("inf"), -1.5, 1.5]),
        "share": st.none() | st.floats(-1, 2, width=32) | st.sampled_from([float("nan"), 0.0, 1.0]),
        "count": st.none() | st.integers(-2, 3),
        "open": st.none() | st.booleans(),
    }
)


@given(st.lists(RECORDS, max_size=8))
def test_violations_are_the_contracts_own(records):
    rows = pa.RecordBatch.from_pylist(records, schema=nullable(arrow_schema(BOUNDED)))
    expected = {at: said for at, record in enumerate(rows.to_pylist()) if (said := BOUNDED.violation(record))}
    assert json.dumps(violations(rows, BOUNDED)) == json.dumps(expected)


def nullable(schema):
    return pa.schema([field.with_nullable(True) for field in schema])


def test_times_of_any_unit_become_physical_values():
    when = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
    rows = pa.RecordBatch.from_pydict(
        {"station": ["a"], "time": pa.array([when], pa.timestamp("us", "UTC")), "day": pa.array([date(2026, 1, 2)])}
    )
    found = physical_rows(rows, CONTRACT)
    assert found.column("time").to_pylist() == [int(when.timestamp() * 1000)]
    assert found.column("day").to_pylist() == [(date(2026, 1, 2) - EPOCH_DAY).days]


def test_a_missing_column_is_all_null():
    found = physical_rows(pa.RecordBatch.from_pydict({"station": ["a", "b"]}), CONTRACT)
    assert found.schema.names == [field.name for field in CONTRACT.fields]
    assert found.column("note").null_count == 2


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("level", ["high"], "column level is of type string"),
        ("note", [1.5], "column note is of type double"),
        ("total", [1.5], "column total is of type double, which does not fit long"),
        ("time", [datetime(2026, 1, 1, 0, 0, 0, 1, UTC)], "column time is of type timestamp"),
        ("wind", [1.5], "have columns that Conformance does not: wind"),
    ],
)
def test_a_column_that_cannot_be_the_contracts_is_refused_by_name(column, values, said):
    with pytest.raises(Fatal, match=said):
        physical_rows(pa.RecordBatch.from_pydict({column: values}), CONTRACT)


@given(st.lists(st.datetimes(timezones=st.just(UTC)), min_size=1, max_size=5))
def test_months_of_timestamps(times):
    (bucket,) = CONTRACT.buckets
    ms = pa.array([(time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1) for time in times])
    expected = [f"{time.year:04d}-{time.month:02d}" for time in times]
    assert bucket_labels(bucket, ms, Kind.TIMESTAMP).to_pylist() == expected


@given(st.lists(st.dates(), min_size=1, max_size=5))
def test_months_of_dates(days):
    (bucket,) = CONTRACT.buckets
    numbers = pa.array([(day - EPOCH_DAY).days for day in days], pa.int32())
    expected = [f"{day.year:04d}-{day.month:02d}" for day in days]
    assert bucket_labels(bucket, numbers, Kind.DATE).to_pylist() == expected
