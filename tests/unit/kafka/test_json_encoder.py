"""JSON bytes from dicts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import Reject
from penstock.kafka.json_encoder import JsonEncoder
from tests.conformance import CONTRACT, record

ENCODER = JsonEncoder(CONTRACT)


def test_a_record_is_one_compact_object_in_the_contracts_order():
    value = ENCODER.encode(record(1))
    assert json.loads(value) == record(1)
    assert list(json.loads(value)) == [field.name for field in CONTRACT.fields]
    assert b"\n" not in value
    assert b'", "' not in value


def test_an_absent_value_is_left_out():
    assert "note" not in json.loads(ENCODER.encode(record(1, note=None)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"level": float("nan")}, "level is nan"),
        ({"level": "1"}, "not a double"),
        ({"count": 2**31}, "does not fit 32 bits"),
        ({"station": None}, "station is missing"),
        ({"more": 1}, "unknown field more"),
        ({"note": "\ud800"}, "which UTF-8 cannot carry"),
    ],
)
def test_among_many_only_the_odd_one_is_rejected(changes, reason):
    records = [record(hour) for hour in range(20)]
    records[13] |= changes
    values = ENCODER.encode_many(records)
    assert [at for at, each in enumerate(values) if isinstance(each, Reject)] == [13]
    assert reason in str(values[13])


def test_no_records_are_no_values():
    assert ENCODER.encode_many([]) == []


@given(st.lists(st.builds(record, st.integers(0, 100), note=st.one_of(st.none(), st.text(max_size=5)))))
def test_many_are_encoded_as_one_by_one(records):
    def one(each):
        try:
            return ENCODER.encode(each)
        except Reject as reject:
            return str(reject)

    many = [str(each) if isinstance(each, Reject) else each for each in ENCODER.encode_many(records)]
    assert many == [one(each) for each in records]
