"""The encoder against fastavro, an independent writer of the same format."""

import io
import json
import math
import struct
import sys
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.contract import INTEGER_BITS, LARGEST, Contract, Field, Kind
from penstock.core.errors import Reject
from penstock.kafka.encoder import Encoder, Identity

SCHEMA_ID = 0x01020304

AVRO_TYPES: dict[Kind, Any] = {
    Kind.TIMESTAMP: {"type": "long", "logicalType": "timestamp-millis"},
    Kind.DATE: {"type": "int", "logicalType": "date"},
}


def field(name: str, kind: Kind, *, nullable: bool = False, **more: Any) -> dict[str, Any]:
    avro_type = AVRO_TYPES.get(kind, kind.value)
    return {"name": name, "type": ["null", avro_type] if nullable else avro_type, **more}


def contract_of(*fields: dict[str, Any]) -> Contract:
    """A contract with a place and a time as its key, and `fields`."""
    key = [field("place", Kind.DOUBLE, minimum=-90, maximum=90), field("time", Kind.TIMESTAMP)]
    extra = {"key": ["place", "time"], "eventTime": "time"}
    return Contract({"type": "record", "name": "Reading", "penstock": extra, "fields": [*key, *fields]})


MEASURED = contract_of(
    *(field(f"value_{number}", Kind.DOUBLE, nullable=True, minimum=-100, maximum=1000) for number in range(20))
)


def reading(number: int = 0, **changes: Any) -> dict[str, Any]:
    values = {f"value_{each}": number + each / 10 for each in range(20)}
    return {"place": 52.5, "time": 1_767_225_600_000 + number, **values, **changes}


def by_fastavro(contract: Contract, record: dict[str, Any]) -> bytes:
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(contract.schema), record)
    return struct.pack(">bI", 0, SCHEMA_ID) + body.getvalue()


def assert_same(contract: Contract, records: list[dict[str, Any]]) -> None:
    """Each record's bytes are fastavro's, or it is refused for the reason that the contract gives."""
    encoded = Encoder(contract, SCHEMA_ID).encode_many(records)
    assert len(encoded) == len(records)
    for record, found in zip(records, encoded, strict=True):
        if isinstance(found, Reject):
            assert str(found) == contract.violation(record)
        else:
            assert contract.violation(record) is None
            assert found == by_fastavro(contract, record)


def values(declared: Field) -> st.SearchStrategy[Any]:
    """Values that fit the field, its limits among them."""
    if declared.kind is Kind.STRING:
        return st.text()
    if declared.kind is Kind.BOOLEAN:
        return st.booleans()
    low, high = declared.minimum, declared.maximum
    if bits := INTEGER_BITS.get(declared.kind):
        limit = 1 << (bits - 1)
        return st.integers(max(-limit, low or -limit), min(limit - 1, high or limit - 1))
    largest = LARGEST[declared.kind]
    low, high = max(-largest, low or -largest), min(largest, high or largest)
    floats = st.floats(low, high, width=32 if declared.kind is Kind.FLOAT else 64)
    return floats | st.integers(max(int(low), -(10**6)), min(int(high), 10**6))


@st.composite
def declarations(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(Kind))
    bounded = kind not in {Kind.STRING, Kind.BOOLEAN} and draw(st.booleans())
    limits = {"minimum": -100, "maximum": 1000} if bounded else {}
    return field(draw(st.from_regex(r"[a-z]{3,8}", fullmatch=True)), kind, nullable=draw(st.booleans()), **limits)


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    return contract_of(*draw(st.lists(declarations(), max_size=12, unique_by=lambda each: each["name"])))


@st.composite
def batches(draw: st.DrawFn) -> tuple[Contract, list[dict[str, Any]]]:
    """A contract and records of it: nullable fields null or absent, the same ones in most records."""
    contract = draw(contracts())
    left_out = set(draw(st.lists(st.sampled_from([each.name for each in contract.fields]))))
    shape = {each.name: each for each in contract.fields if not (each.nullable and each.name in left_out)}
    records = st.fixed_dictionaries(
        {name: values(each) | st.none() if each.nullable else values(each) for name, each in shape.items()}
    )
    return contract, draw(st.lists(records, min_size=16, max_size=24))


@given(batches())
@settings(deadline=None, max_examples=200)
def test_any_record_of_any_contract_has_fastavros_bytes(batch):
    assert_same(*batch)


JUNK = st.one_of(
    st.none(), st.booleans(), st.text(max_size=3), st.integers(), st.floats(), st.just(10**400), st.just(-(2**63) - 1)
)


@given(batches(), st.data())
@settings(deadline=None, max_examples=200)
def test_a_record_is_refused_exactly_where_the_contract_refuses_it(batch, data):
    contract, records = batch
    for position in data.draw(st.sets(st.integers(0, len(records) - 1), min_size=1, max_size=4)):
        records[position][data.draw(st.sampled_from([each.name for each in contract.fields] + ["other"]))] = data.draw(
            JUNK
        )
    assert_same(contract, records)


@pytest.mark.parametrize("count", [1, 15, 16, 17, 255, 256, 257, 1000])
def test_chunks_of_any_length(count):
    assert_same(MEASURED, [reading(number % 900) for number in range(count)])


def test_no_records_are_no_bytes():
    assert Encoder(MEASURED, SCHEMA_ID).encode_many([]) == []


def test_nulls_here_and_there():
    records = [reading(number) for number in range(64)]
    for number, record in enumerate(records):
        record["value_3"] = None  # in every record
        record[f"value_{number % 20}"] = None
    assert_same(MEASURED, records)


def test_absent_fields_are_null():
    assert_same(MEASURED, [{"place": 1.5, "time": number, "value_7": 2.5} for number in range(64)])
    assert_same(MEASURED, [{"place": 1.5, "time": number} for number in range(64)])


def test_records_of_two_shapes_in_turn():
    assert_same(MEASURED, [reading(number) if number % 3 else {"place": 1.0, "time": number} for number in range(100)])


def test_the_order_of_a_records_fields_does_not_matter():
    assert_same(MEASURED, [dict(reversed(reading(number).items())) for number in range(32)])


def test_whole_numbers_fit_a_field_of_doubles():
    assert_same(MEASURED, [reading(number, value_0=number, place=52) for number in range(32)])


@pytest.mark.parametrize(
    "wrong", [True, False, "1.5", math.nan, math.inf, -math.inf, -100.1, 1000.1, 1001, 10**400, b"1"]
)
@pytest.mark.parametrize("name", ["place", "value_0", "value_19"])
def test_a_value_that_is_no_number_within_bounds_is_refused_alone(name, wrong):
    records = [reading(number) for number in range(64)]
    records[41][name] = wrong
    encoded = Encoder(MEASURED, SCHEMA_ID).encode_many(records)
    assert [position for position, each in enumerate(encoded) if isinstance(each, Reject)] == [41]
    assert str(encoded[41]) == MEASURED.violation(records[41])


def test_a_missing_and_an_unknown_field_are_named():
    encoder = Encoder(MEASURED, SCHEMA_ID)
    with pytest.raises(Reject, match="place is missing"):
        encoder.encode({"time": 1})
    with pytest.raises(Reject, match="unknown field humidity"):
        encoder.encode(reading(humidity=50.0))


def test_as_many_fields_but_another_is_refused():
    records = [reading(number) for number in range(32)]
    records[20]["value_x"] = records[20].pop("value_4")
    encoded = Encoder(MEASURED, SCHEMA_ID).encode_many(records)
    assert [str(each) for each in encoded if isinstance(each, Reject)] == ["unknown field value_x"]


def test_a_lone_surrogate_is_refused_with_a_reason():
    contract = contract_of(field("name", Kind.STRING))
    records = [{"place": 1.0, "time": number, "name": "Zürich"} for number in range(32)]
    records[5]["name"] = json.loads('"\\ud800"')
    encoded = Encoder(contract, SCHEMA_ID).encode_many(records)
    refused = {position: str(each) for position, each in enumerate(encoded) if isinstance(each, Reject)}
    assert refused == {5: "a text holds '\\ud800', which UTF-8 cannot carry"}


@pytest.mark.parametrize("kind", [Kind.INT, Kind.LONG, Kind.DATE, Kind.TIMESTAMP])
def test_integers_at_their_limits(kind):
    contract = contract_of(field("number", kind))
    limit = 1 << (INTEGER_BITS[kind] - 1)
    numbers = [0, -1, 1, 63, 64, -64, -65, limit - 1, -limit, limit, -limit - 1] * 2
    assert_same(contract, [{"place": 1.0, "time": 1, "number": number} for number in numbers])


def test_the_largest_float_and_double():
    contract = contract_of(field("single", Kind.FLOAT, nullable=True), field("double", Kind.DOUBLE, nullable=True))
    largest = {"single": LARGEST[Kind.FLOAT], "double": sys.float_info.max}
    assert_same(contract, [{"place": 1.0, "time": number, **largest} for number in range(32)])
    with pytest.raises(Reject, match="single is too large for a float"):
        Encoder(contract, SCHEMA_ID).encode({"place": 1.0, "time": 1, "single": 3.5e38})


def test_the_key_is_json_of_the_key_fields_without_the_time():
    assert list(Identity(MEASURED).keys([reading(), reading(5)])) == [b'{"place":52.5}'] * 2


@pytest.mark.parametrize("place", [52, 52.0])
def test_one_place_has_one_key_however_its_number_is_written(place):
    assert list(Identity(MEASURED).keys([reading(place=place)])) == [b'{"place":52.0}']


def test_zero_has_one_key_whatever_its_sign():
    assert set(Identity(MEASURED).keys([reading(place=-0.0), reading(place=0.0), reading(place=0)])) == {
        b'{"place":0.0}'
    }


def test_a_timestamp_is_in_milliseconds_and_a_date_counts_as_its_midnight():
    assert list(Identity(MEASURED).timestamps([reading(7)])) == [1_767_225_600_007]
    daily = Contract(
        {
            "type": "record",
            "name": "Daily",
            "penstock": {"key": ["day"], "eventTime": "day"},
            "fields": [field("day", Kind.DATE)],
        }
    )
    assert list(Identity(daily).timestamps([{"day": 20_454}])) == [1_767_225_600_000]
    assert list(Identity(daily).keys([{"day": 20_454}])) == [b"{}"]
