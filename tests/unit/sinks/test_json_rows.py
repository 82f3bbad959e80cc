"""JSON objects as Arrow rows."""

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import Fatal, Reject
from penstock.sinks.json_rows import decode, normaliser, parse, parser
from penstock.sources import datausa, recentchange
from tests.conformance import CONTRACT, record


def decoded(*values, normalise=None):
    found = decode(pa.array(values, pa.binary()), CONTRACT, normalise)
    return found.rows.to_pylist(), found.where.tolist(), found.rejects


def text(hour=0, **changes):
    return json.dumps(record(hour, **changes)).encode()


def test_many_plain_objects_become_rows_in_their_order():
    rows, where, rejects = decoded(*(text(hour) for hour in range(50)))
    assert rows == [record(hour) for hour in range(50)]
    assert where == list(range(50))
    assert rejects == {}


def test_no_objects_are_no_rows():
    assert decoded() == ([], [], {})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "the record has no value"),
        (b"", "the value is no JSON"),
        (b"\xff\xfe{}", "the value is no JSON"),
        (b"{}{}", "the value is no JSON"),
        (b"[1]", "the value is a JSON list, not an object"),
        (b'"text"', "the value is a JSON str, not an object"),
        (b'{"station": []}', "station is [], not a string"),
        (text(level="high"), "level is 'high', not a double"),
        (text(count=1.5), "count is 1.5, not a int"),
        (text(count=2**31), "which does not fit 32 bits"),
        (text(more=1), "unknown field more"),
    ],
)
def test_among_many_only_the_odd_one_is_rejected_with_its_reason(value, reason):
    values = [text(hour) for hour in range(40)]
    values[23] = value
    rows, where, rejects = decoded(*values)
    assert rows == [record(hour) for hour in range(40) if hour != 23]
    assert where == [at for at in range(40) if at != 23]
    assert list(rejects) == [23]
    assert reason in rejects[23]


def test_two_odd_values_that_even_out_in_number_are_told_apart():
    values = [text(hour) for hour in range(40)]
    values[3], values[5] = b"", text(3) + text(5)
    rows, where, rejects = decoded(*values)
    assert list(rejects) == [3, 5]
    assert [each["time"] for each in rows] == [record(at)["time"] for at in where]


def test_an_object_over_several_lines_is_an_object():
    values = [json.dumps(record(hour), indent=2).encode() for hour in range(40)]
    assert decoded(*values)[0] == [record(hour) for hour in range(40)]


def test_bytes_that_are_no_utf_8_are_rejected_in_a_window_of_plain_ones():
    values = [text(hour) for hour in range(40)]
    values[7] = text(7).replace(b"Alpha", b"\xc3\x28")
    assert list(decoded(*values)[2]) == [7]


@given(st.lists(st.text(max_size=5), min_size=17, max_size=40))
def test_any_text_comes_through(notes):
    found, where, rejects = decoded(*(text(hour, note=note) for hour, note in enumerate(notes)))
    kept = [hour for hour, note in enumerate(notes) if hour not in rejects]
    assert where == kept
    assert [each["note"] for each in found] == [notes[hour] for hour in kept]
    assert not any(note.isascii() for hour, note in enumerate(notes) if hour in rejects)


def test_a_normaliser_makes_the_records_and_may_reject():
    def normalise(row):
        if "hour" not in row:
            raise Reject("no hour")
        return record(row["hour"])

    rows, where, rejects = decoded(b'{"hour": 1}', b"{}", b'{"hour": 2}', normalise=normalise)
    assert rows == [record(1), record(2)]
    assert (where, rejects) == ([0, 2], {1: "no hour"})


def test_a_normaliser_that_does_not_exist_is_refused_by_name():
    with pytest.raises(Fatal, match=r"penstock\.core:nowhere"):
        normaliser("penstock.core:nowhere")
    assert normaliser(None) is None


EVENT = {"meta": {"id": "a", "dt": "2026-11-22T15:01:02.345Z"}, "wiki": "enwiki", "type": "edit", "title": "Kategòrëjô"}


def outcome(parsed, value):
    try:
        return recentchange.normalise(parsed(value))
    except Reject as reject:
        return str(reject)


def test_only_the_fields_that_a_normaliser_reads_are_parsed():
    value = json.dumps(EVENT).encode()
    assert parser(recentchange.normalise)(value) == {key: EVENT[key] for key in ("meta", "wiki", "type")}
    assert parser(datausa.normalise) is parser(None) is parse


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"[1]",
        b'"text"',
        b"{}",
        b"{}{}",
        b'{"wiki": "a", "wiki": "b"}',
        json.dumps(EVENT).encode(),
        json.dumps(EVENT, ensure_ascii=False).encode(),
        json.dumps(EVENT, ensure_ascii=False).encode("latin-1"),
        json.dumps(EVENT).encode()[:-1],
        json.dumps(EVENT | {"title": "\ud800"}).encode(),
        json.dumps(EVENT | {"meta": []}).encode(),
        json.dumps(EVENT | {"type": 147}).encode(),
    ],
)
def test_what_is_parsed_in_part_has_the_fate_of_what_is_parsed_whole(value):
    assert outcome(parser(recentchange.normalise), value) == outcome(parse, value)


@given(st.binary(max_size=3), st.integers(0, 200))
def test_an_event_with_any_broken_bytes_has_the_same_fate_parsed_in_part_or_whole(broken, at):
    value = json.dumps(EVENT, ensure_ascii=False).encode()
    value = value[:at] + broken + value[at + len(broken) :]
    assert outcome(parser(recentchange.normalise), value) == outcome(parse, value)
