"""What a stream makes of the records that it finds."""

import json

import pyarrow as pa
import pytest

from penstock.core.pipeline import InfluxMeasurement, Wire
from penstock.core.settings import Influx, Kafka
from penstock.kafka import headers
from penstock.sinks import lander
from penstock.sinks.base import Written
from penstock.sinks.lander import Lander
from penstock.sinks.landing import Request
from penstock.sinks.shares import StreamShares
from tests.conformance import AS_OF, CONTRACT, LATER, record
from tests.unit.sinks.test_lander import Recorder, window

FIRST, SECOND = headers.attempt("hourly:1", AS_OF), headers.attempt("hourly:1", LATER)


@pytest.fixture
def recorder(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(Lander, "_sink", lambda self: recorder)
    monkeypatch.setattr(lander, "forward", recorder.forward)
    return recorder


def land(*windows):
    request = Request(CONTRACT, "readings", "readings.dlq", (InfluxMeasurement("readings"),), (), wire=Wire.JSON)
    where = Influx("http://influx", "org", "bucket", "token")
    (answer,) = Lander(request, Kafka("k:1", "http://r"), (where,), endless=True, shares=StreamShares)(iter(windows))
    return [
        {name: value for name, value in each.items() if not name.startswith("error")} for each in answer.to_pylist()
    ]


def rows(*found, partition=0):
    """A window of (offset, headers, value) records."""
    return window([(partition, *each) for each in found], pa.binary())


def value(number):
    return json.dumps(record(number)).encode()


def ranges(*pairs):
    return [{"start": start, "end": end} for start, end in pairs]


def account(batch_id, as_of, read, rejected=(), partition=0):
    as_of = headers.stamp(as_of) if as_of else None
    return {"partition": partition, "batch_id": batch_id, "as_of": as_of, "read": read, "rejected": list(rejected)}


def test_every_attempt_is_landed_as_of_its_headers_and_others_as_of_their_timestamps(recorder):
    outcome = land(rows((0, FIRST, value(0)), (1, None, value(1)), (2, SECOND, value(2)), (3, FIRST, value(3))))
    assert recorder.written == [
        (record(0), AS_OF),
        (record(3), AS_OF),
        (record(2), LATER),
        (record(1), 1_000_000),
    ]
    assert outcome == [
        account("hourly:1", AS_OF, ranges((0, 1), (3, 4))),
        account("hourly:1", LATER, ranges((2, 3))),
        account(None, None, ranges((1, 2))),
    ]


def test_the_account_joins_windows_and_keeps_partitions_apart(recorder):
    outcome = land(
        rows((5, FIRST, value(0)), (6, FIRST, b"junk")),
        rows((7, FIRST, value(1))),
        rows((5, FIRST, b"{}"), partition=2),
    )
    assert outcome == [
        account("hourly:1", AS_OF, ranges((5, 8)), ranges((6, 7))),
        account("hourly:1", AS_OF, ranges((5, 6)), ranges((5, 6)), partition=2),
    ]
    assert [(each.partition, each.offset) for _, each in recorder.letters] == [(0, 6), (2, 5)]


def test_what_the_sink_refuses_is_rejected_by_its_offset(recorder):
    recorder.write = lambda rows, as_of: Written(rows.num_rows - 1, 0, ((1, "another record has its point"),))
    outcome = land(rows((3, FIRST, b"junk"), (4, FIRST, value(0)), (9, FIRST, value(1))))
    assert outcome == [account("hourly:1", AS_OF, ranges((3, 5), (9, 10)), ranges((3, 4), (9, 10)))]


@pytest.mark.parametrize(
    ("stamp", "reason"),
    [
        ([], "the record names the batch x and has no header as_of"),
        ([(headers.AS_OF, b"noon")], "the record names the batch x and has the header as_of b'noon', which is no time"),
        ([(headers.AS_OF, b"2026-01-01T00:00:00")], "which is no time"),
    ],
)
def test_a_record_of_a_batch_without_a_time_is_set_aside_and_lands_nowhere(recorder, stamp, reason):
    outcome = land(rows((0, [(headers.BATCH_ID, b"x"), *stamp], value(0)), (1, FIRST, value(1))))
    assert recorder.written == [(record(1), AS_OF)]
    assert next(each.reason for _, each in recorder.letters).endswith(reason)
    assert outcome[0] == account("x", None, ranges((0, 1)), ranges((0, 1)))


def test_a_micro_batch_without_records_has_no_account(recorder):
    assert land() == land(rows((0, FIRST, value(0))).slice(0, 0)) == []


def test_an_account_of_offsets_is_the_same_however_often_it_is_taken(recorder):
    found = rows((0, FIRST, value(0)), (1, None, b"junk"))
    assert land(found) == land(found)
