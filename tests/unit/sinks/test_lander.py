"""What becomes of each record in Spark's Python workers."""

import json
import sys
from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest

from penstock.core.counts import OffsetRange, Produced
from penstock.core.errors import Fatal, Retry
from penstock.core.pipeline import CassandraTable, Wire
from penstock.core.settings import Cassandra, Kafka
from penstock.kafka import headers
from penstock.kafka.dead_letters import Rejected
from penstock.sinks import lander
from penstock.sinks.base import Written
from penstock.sinks.columns import arrow_schema
from penstock.sinks.lander import Lander
from penstock.sinks.landing import Request
from penstock.sinks.shares import Attempts
from tests.conformance import AS_OF, CONTRACT, record

HEADERS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
NULLABLE = pa.struct([field.with_nullable(True) for field in arrow_schema(CONTRACT)])

TABLE = CassandraTable("readings")

FIRST = Produced("hourly:1", "readings", 7, AS_OF, 3, 3, 0, (OffsetRange(0, 0, 10),))
SECOND = Produced("hourly:2", "readings", 7, AS_OF + timedelta(hours=1), 3, 3, 0, (OffsetRange(0, 5, 20),))


def attempt(produced):
    return headers.attempt(produced.batch_id, produced.as_of)


def window(rows, kind=NULLABLE):
    """An Arrow batch of (partition, offset, headers, record) rows, as Spark gives it. Offset N is of second N."""
    columns = list(zip(*rows, strict=True))
    found = [None if each is None else [{"key": key, "value": value} for key, value in each] for each in columns[2]]
    return pa.RecordBatch.from_arrays(
        [
            pa.array(columns[0], pa.int32()),
            pa.array(columns[1], pa.int64()),
            pa.array([1_000_000 * each for each in columns[1]], pa.timestamp("us", "UTC")),
            pa.array(found, HEADERS),
            pa.array(columns[3], kind),
        ],
        names=["partition", "offset", "timestamp", "headers", "record"],
    )


class TestAttempts:
    def owners(self, *found):
        rows = window([(0, at, each, None) for at, each in enumerate(found)])
        return Attempts([FIRST, SECOND]).owners(rows)[0].tolist()

    def test_a_record_belongs_to_the_attempt_in_its_headers(self):
        assert self.owners(attempt(SECOND), attempt(FIRST), attempt(SECOND)) == [1, 0, 1]

    def test_the_order_of_headers_and_other_ones_do_not_matter(self):
        assert self.owners([*reversed(attempt(SECOND)), ("trace", b"x")], [("trace", None), *attempt(FIRST)]) == [1, 0]

    def test_another_attempt_of_the_batch_is_foreign(self):
        other = headers.attempt(FIRST.batch_id, FIRST.as_of + timedelta(microseconds=1))
        assert self.owners(other, headers.attempt(FIRST.batch_id, SECOND.as_of)) == [-1, -1]

    def test_records_without_the_headers_are_foreign(self):
        assert self.owners(None, [], attempt(FIRST)[:1], attempt(FIRST)[1:], [("batch_id", None)]) == [-1] * 5

    def test_a_slice_of_a_batch_is_judged_by_its_own_rows(self):
        rows = window([(0, 0, attempt(FIRST), None), (0, 1, None, None), (0, 2, attempt(SECOND), None)])
        assert Attempts([FIRST, SECOND]).owners(rows.slice(1))[0].tolist() == [-1, 1]

    def test_foreign_records_are_counted_within_each_batchs_ranges(self):
        attempts = Attempts([FIRST, SECOND])
        found = [attempt(FIRST), None, attempt(SECOND), attempt(FIRST), None, None]
        rows = window([(0, offset, each, None) for offset, each in zip([0, 4, 5, 9, 19, 20], found, strict=True)])
        assert dict(attempts.foreign(rows, attempts.owners(rows)[0])) == {0: 2, 1: 2}

    def test_another_partition_is_in_no_range(self):
        attempts = Attempts([FIRST])
        rows = window([(1, 3, None, None)])
        assert list(attempts.foreign(rows, attempts.owners(rows)[0])) == []

    def test_a_record_without_headers_belongs_to_the_batch_that_claimed_it(self):
        claiming = replace(SECOND, claimed=(OffsetRange(0, 3, 5), OffsetRange(1, 0, 1)))
        rows = window([(0, offset, None, None) for offset in (2, 3, 4, 5)] + [(0, 4, attempt(FIRST), None)])
        owner, others = Attempts([FIRST, claiming]).owners(rows)
        assert owner.tolist() == [-1, 1, 1, -1, 0]
        assert others.tolist() == [False, True, True, False, False]

    def test_a_record_of_no_batch_of_ours_is_not_taken_up(self):
        claiming = replace(SECOND, claimed=(OffsetRange(0, 0, 10),))
        rows = window([(0, 1, headers.attempt("another:1", AS_OF), None), (0, 2, [("trace", b"x")], None)])
        assert Attempts([claiming]).owners(rows)[0].tolist() == [-1, 0]


class Recorder:
    """A sink and a dead-letter topic that remember what they were given."""

    def __init__(self):
        self.written = []
        self.letters = []
        self.refuse = {}
        self.error = None

    def write(self, rows, as_of):
        if self.error:
            raise self.error
        times = as_of.to_pylist() if isinstance(as_of, pa.Array) else [as_of] * rows.num_rows
        self.written += zip(rows.to_pylist(), times, strict=True)
        refused = tuple((at, why) for at, why in self.refuse.items() if at < rows.num_rows)
        return Written(rows.num_rows - len(refused), 0, refused)

    def forward(self, kafka, topic, rejects, *, deadline):
        self.letters += [(topic, each) for each in rejects]
        return len(rejects)


@pytest.fixture
def recorder(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(Lander, "_sink", lambda self: recorder)
    monkeypatch.setattr(lander, "forward", recorder.forward)
    return recorder


def land(*windows, batches=(FIRST, SECOND), **more):
    request = Request(CONTRACT, "readings", "readings.dlq", (TABLE,), tuple(batches), **more)
    kafka, cassandra = Kafka("k:1", "http://r"), Cassandra(("c",), 1, "u", "p", "k", 1)
    (answer,) = Lander(request, kafka, (cassandra,))(iter(windows))
    return answer.to_pylist()


def counts(outcome):
    return {name: value for name, value in outcome.items() if name not in {"error", "error_kind"}}


def test_good_records_are_written_under_their_batchs_as_of(recorder):
    outcomes = land(
        window([(0, 0, attempt(FIRST), record(0)), (0, 5, attempt(SECOND), record(5))]),
        window([(0, 6, attempt(SECOND), record(6))]),
    )
    assert recorder.written == [
        (record(0), FIRST.as_of),
        (record(5), SECOND.as_of),
        (record(6), SECOND.as_of),
    ]
    assert [counts(each) for each in outcomes] == [
        {"batch": 0, "read": 1, "landed": 1, "rejected": 0, "duplicates": 0, "foreign": 2},
        {"batch": 1, "read": 2, "landed": 2, "rejected": 0, "duplicates": 0, "foreign": 0},
    ]


def test_what_cannot_be_landed_goes_to_the_dead_letters_with_its_reason(recorder):
    recorder.refuse = {1: "the sink says no"}
    nothing = dict.fromkeys(record())
    (outcome,) = land(
        window(
            [
                (0, 0, attempt(FIRST), None),
                (0, 1, attempt(FIRST), nothing),
                (0, 2, attempt(FIRST), record(2)),
                (0, 3, attempt(FIRST), record(3, level=float("nan"))),
                (0, 4, attempt(FIRST), record(4)),
                (0, 5, attempt(FIRST), record(5, level=None)),
            ]
        ),
        batches=[FIRST],
    )
    assert [each for each, _ in recorder.written] == [record(2), record(4)]
    assert recorder.letters == [
        ("readings.dlq", Rejected("readings", 0, offset, reason))
        for offset, reason in [
            (0, "the value does not begin with the id of a schema of its batch"),
            (1, "the value does not decode by schema 7"),
            (3, "level is nan, not a finite number"),
            (5, "level is missing"),
            (4, "the sink says no"),
        ]
    ]
    assert counts(outcome) == {"batch": 0, "read": 6, "landed": 1, "rejected": 5, "duplicates": 0, "foreign": 0}


def test_foreign_records_are_neither_written_nor_rejected(recorder):
    (outcome,) = land(window([(0, 0, None, None), (0, 1, [], record(1))]), batches=[FIRST])
    assert recorder.written == recorder.letters == []
    assert counts(outcome) == {"batch": 0, "read": 0, "landed": 0, "rejected": 0, "duplicates": 0, "foreign": 2}


def test_a_task_without_records_answers_with_no_counts(recorder):
    assert land() == []


@pytest.mark.parametrize("error", [Retry("Cassandra is away"), Fatal("the table does not fit")])
def test_an_error_is_answered_in_its_own_words(recorder, error):
    recorder.error = error
    (outcome,) = land(window([(0, 0, attempt(FIRST), record(0))]))
    assert (outcome["error_kind"], outcome["error"]) == (type(error).__name__, str(error))


def test_rejects_are_forwarded_before_they_fill_the_memory(recorder, monkeypatch):
    monkeypatch.setattr(lander, "_REJECTS_AT_ONCE", 2)
    bad = [window([(0, at, attempt(FIRST), None)]) for at in range(4)]
    forwarded = []

    def watched():
        for each in bad:
            forwarded.append(len(recorder.letters))
            yield each

    request = Request(CONTRACT, "readings", "readings.dlq", (TABLE,), (FIRST,))
    kafka, cassandra = Kafka("k:1", "http://r"), Cassandra(("c",), 1, "u", "p", "k", 1)
    list(Lander(request, kafka, (cassandra,))(watched()))
    assert forwarded == [0, 0, 2, 2]
    assert len(recorder.letters) == 4


def upper(row):
    return {**row, "note": row["note"].upper()}


def test_json_records_are_decoded_and_those_of_others_normalised_and_as_of_their_timestamps(recorder):
    claiming = replace(FIRST, fetched=6, acked=6, taken_up=3, claimed=(OffsetRange(0, 3, 6),))
    values = [json.dumps(record(at)).encode() for at in range(6)]
    rows = [(0, at, attempt(FIRST) if at < 3 else None, value) for at, value in enumerate(values)]
    rows[1], rows[4] = (0, 1, attempt(FIRST), b"junk"), (0, 4, None, b'{"note": "alone"}')
    normaliser = f"{__name__}:upper"
    sys.modules.setdefault(__name__, sys.modules[upper.__module__])
    (outcome,) = land(window(rows, pa.binary()), batches=[claiming], wire=Wire.JSON, normaliser=normaliser)
    assert recorder.written == [
        (record(0), AS_OF),
        (record(2), AS_OF),
        (upper(record(3)), 3_000_000),
        (upper(record(5)), 5_000_000),
    ]
    assert [(each.offset, each.reason[:20]) for _, each in recorder.letters] == [
        (1, "the value is no JSON"),
        (4, "station is missing"),
    ]
    assert counts(outcome) == {"batch": 0, "read": 6, "landed": 4, "rejected": 2, "duplicates": 0, "foreign": 0}
