import copy
import json
import math

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.contract import Contract
from penstock.core.errors import Fatal
from penstock.core.settings import INCLUDE

SCHEMA = {
    "type": "record",
    "name": "Reading",
    "penstock": {
        "key": ["place", "time"],
        "eventTime": "time",
        "cassandra": {
            "partitionKey": ["place", "month"],
            "clusteringKey": ["time"],
            "buckets": {"month": {"of": "time", "by": "month"}},
        },
    },
    "fields": [
        {"name": "place", "type": "string"},
        {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "humidity", "type": ["null", "double"], "default": None, "unit": "%", "minimum": 0, "maximum": 100},
        {"name": "count", "type": ["null", "int"], "default": None},
        {"name": "dry", "type": ["null", "boolean"], "default": None},
    ],
}

GOOD = {"place": "Bern", "time": 1_700_000_000_000, "humidity": 50.5, "count": 3, "dry": True}


def changed(**fields):
    schema = copy.deepcopy(SCHEMA)
    for field in schema["fields"]:
        field.update(fields.get(field["name"], {}))
    return Contract(schema)


def test_a_record_that_keeps_its_contract_has_no_violation():
    assert Contract(SCHEMA).violation(GOOD) is None
    assert Contract(SCHEMA).violation({"place": "Bern", "time": 0}) is None
    assert Contract(SCHEMA).violation(GOOD | {"humidity": 100}) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"place": None}, "place is missing"),
        ({"humidity": "wet"}, "humidity is 'wet', not a double"),
        ({"humidity": True}, "humidity is True, not a double"),
        ({"humidity": math.nan}, "humidity is nan, not a finite number"),
        ({"humidity": math.inf}, "humidity is inf, not a finite number"),
        ({"humidity": 100.5}, "humidity is 100.5, above its maximum of 100"),
        ({"humidity": -1}, "humidity is -1, below its minimum of 0"),
        ({"count": 2**31}, "count is 2147483648, which does not fit 32 bits"),
        ({"count": 1.5}, "count is 1.5, not a int"),
        ({"dry": 1}, "dry is 1, not a boolean"),
        ({"time": "now"}, "time is 'now', not a timestamp-millis"),
        ({"wind": 1.0}, "unknown field wind"),
    ],
)
def test_a_violation_names_the_field_and_the_value(change, said):
    assert Contract(SCHEMA).violation(GOOD | change) == said


@given(
    st.fixed_dictionaries(
        {"place": st.text(max_size=2) | st.none(), "time": st.integers(-(2**64), 2**64)},
        optional={
            "humidity": st.floats() | st.integers(-1, 101) | st.booleans() | st.none(),
            "count": st.integers(-(2**32), 2**32) | st.floats(),
            "dry": st.booleans() | st.integers(0, 1),
            "wind": st.just(1.0),
        },
    )
)
def test_a_record_that_is_found_good_at_a_glance_is_good(record):
    contract = Contract(SCHEMA)
    if contract._is_plain(record):
        assert not any(field.violation(record[field.name]) for field in contract.fields)
        assert record.keys() == contract.by_name.keys()


def test_a_missing_required_field_is_named():
    assert Contract(SCHEMA).violation({"place": "Bern"}) == "time is missing"


def test_the_table_is_derived_with_a_bounded_partition():
    assert Contract(SCHEMA).cql_create_table("analytics", "readings") == (
        'CREATE TABLE IF NOT EXISTS "analytics"."readings" ("place" text, "time" timestamp, "humidity" double,'
        ' "count" int, "dry" boolean, "month" text, PRIMARY KEY (("place", "month"), "time"))'
    )


def test_the_spark_schema_has_every_field_in_order():
    assert Contract(SCHEMA).spark_ddl() == (
        "`place` STRING, `time` TIMESTAMP, `humidity` DOUBLE, `count` INT, `dry` BOOLEAN"
    )


def test_a_new_nullable_field_breaks_nothing():
    older = copy.deepcopy(SCHEMA)
    del older["fields"][2]
    assert Contract(SCHEMA).breaking_changes(Contract(older)) == []


def test_every_breaking_change_names_its_field():
    older = copy.deepcopy(SCHEMA)
    del older["fields"][0]["type"]
    older["fields"][0]["type"] = ["null", "string"]
    older["penstock"]["key"] = ["time"]
    older["penstock"]["cassandra"] = {}
    older["fields"][2]["type"] = ["null", "string"]
    newer = copy.deepcopy(SCHEMA)
    newer["fields"].append({"name": "wind", "type": ["null", "double"]})
    assert Contract(newer).breaking_changes(Contract(older)) == [
        "field place was nullable and is not any more",
        "field humidity changes its type from string to double",
        "field wind is new and has no default",
        "the key changes from (time) to (place, time)",
    ]


def test_widening_a_number_is_no_breaking_change_and_narrowing_is():
    wide = changed(count={"type": ["null", "long"]})
    assert wide.breaking_changes(Contract(SCHEMA)) == []
    assert Contract(SCHEMA).breaking_changes(wide) == ["field count changes its type from long to int"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda schema: schema.pop("penstock"), 'no "penstock" attribute'),
        (lambda schema: schema["penstock"].update(key=["town"]), "town"),
        (lambda schema: schema["penstock"].update(key=["humidity"]), "must not be nullable: humidity"),
        (lambda schema: schema["penstock"].update(eventTime="place"), "neither a timestamp-millis nor a date"),
        (lambda schema: schema["fields"][2].update(type=["double", "null"]), "humidity has the union"),
        (lambda schema: schema["fields"][2].update(type=["null", "bytes"]), "humidity has type 'bytes'"),
    ],
)
def test_a_schema_that_cannot_be_a_contract_is_refused(change, said):
    schema = copy.deepcopy(SCHEMA)
    change(schema)
    with pytest.raises(Fatal, match=said):
        Contract(schema)


def test_a_file_that_is_no_json_is_refused_by_name(tmp_path):
    path = tmp_path / "broken.avsc"
    path.write_text("{")
    with pytest.raises(Fatal, match=r"broken\.avsc is not an Avro record schema"):
        Contract.load(path)
    with pytest.raises(Fatal, match="does not exist"):
        Contract.load(tmp_path / "absent.avsc")


@pytest.mark.parametrize("path", sorted((INCLUDE / "avro").glob("*.avsc")), ids=lambda path: path.name)
def test_every_contract_of_the_project_is_valid_avro_with_units(path):
    contract = Contract.load(path)
    fastavro.parse_schema(json.loads(path.read_text()))
    assert all(field.doc for field in contract.fields)
    assert all(field.unit is not None for field in contract.fields if field.kind == "double")
