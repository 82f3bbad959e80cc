"""What a dead letter carries, and how it is recognised."""

import json
import math
from datetime import UTC, datetime, timedelta, timezone

import pytest

from penstock.core.counts import OffsetRange
from penstock.core.errors import Fatal
from penstock.kafka import headers
from penstock.kafka.dead_letters import DeadLetter, Origin, _ranges
from penstock.kafka.reader import Message

AS_OF = datetime(2026, 11, 22, 8, 30, 0, 123456, tzinfo=UTC)


class Outbox:
    """Keeps what it is sent as the message that would lie on the dead-letter topic."""

    def __init__(self):
        self.messages = []

    def send(self, value, key, timestamp, found):
        self.messages.append(Message("t.dlq", 0, len(self.messages), timestamp, key, value, dict(found)))


def sent(letter):
    outbox = Outbox()
    letter.send(outbox)
    return outbox.messages[0]


def message(**changes):
    values = {
        "topic": "t",
        "partition": 2,
        "offset": 17,
        "timestamp": 0,
        "key": None,
        "value": b"\x00raw",
        "headers": dict(headers.attempt("batch", AS_OF)),
    }
    return Message(**(values | changes))


def test_a_record_that_never_reached_its_topic_is_kept_as_json_without_an_origin():
    letter = DeadLetter.of_record({"place": 95.0, "name": "Zürich"}, "place is 95.0", "batch", AS_OF)
    found = sent(letter)
    assert json.loads(found.value) == {"place": 95.0, "name": "Zürich"}
    assert set(found.headers) == {"reason", "batch_id", "as_of"}
    assert DeadLetter.parse(found) == letter


def test_a_record_on_its_topic_is_kept_byte_for_byte_with_its_origin():
    letter = DeadLetter.of_message(message(), "no Avro")
    found = sent(letter)
    assert found.value == b"\x00raw"
    assert found.headers == {
        "reason": b"no Avro",
        "batch_id": b"batch",
        "as_of": b"2026-11-22T08:30:00.123456+00:00",
        "source_topic": b"t",
        "source_partition": b"2",
        "source_offset": b"17",
    }
    assert DeadLetter.parse(found) == letter


def test_what_no_batch_claims_has_no_batch():
    letter = DeadLetter.of_message(message(headers={}, value=None), "no value")
    assert (letter.batch_id, letter.as_of, letter.value) == (None, None, b"")
    assert set(sent(letter).headers) == {"reason", "source_topic", "source_partition", "source_offset"}


def test_the_id_is_the_same_for_the_same_record_and_no_other():
    def of(record, batch="batch", as_of=AS_OF):
        return DeadLetter.of_record(record, "any", batch, as_of).id

    assert of({"a": 1}) == of({"a": 1}, as_of=AS_OF + timedelta(hours=1))
    assert len({of({"a": 1}), of({"a": 2}), of({"a": 1}, batch="other")}) == 3
    assert DeadLetter.of_message(message(), "any").id == "t-2@17"
    assert sent(DeadLetter.of_message(message(), "any")).key == b"t-2@17"


def test_the_id_does_not_change_between_releases():
    assert DeadLetter.of_record({"a": 1}, "any", "batch", AS_OF).id == "batch#015abd7f5cc57a2d"


def test_nan_survives():
    value = sent(DeadLetter.of_record({"a": math.nan, "b": math.inf}, "not finite", "batch", AS_OF)).value
    assert math.isnan(json.loads(value)["a"])


def test_a_value_and_a_reason_too_long_for_a_message_are_cut():
    found = sent(DeadLetter.of_record({"a": "x" * 3_000_000}, "a is " + "x" * 3_000_000, "batch", AS_OF))
    assert len(found.value) + sum(map(len, found.headers.values())) < 1_000_000
    assert found.headers["reason"].endswith(b"(the value is cut: it had 3000008 bytes)")


def test_what_is_no_dead_letter_is_named_by_its_place():
    with pytest.raises(Fatal, match="t-2@17 has no header reason"):
        DeadLetter.parse(message())


def test_a_header_that_is_no_time_is_named():
    with pytest.raises(Fatal, match="header as_of is 'yesterday'"):
        headers.time({"as_of": b"yesterday"})


def test_a_time_is_written_in_utc_with_microseconds():
    there = datetime(2026, 11, 22, 10, 0, tzinfo=timezone(timedelta(hours=2)))
    assert headers.stamp(there) == "2026-11-22T08:00:00.000000+00:00"
    assert headers.time(dict(headers.attempt("batch", there))) == there


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(Fatal, match="no time zone"):
        headers.stamp(datetime(2026, 11, 22))  # noqa: DTZ001 - the very mistake


def test_bytes_that_are_no_text_still_show():
    assert headers.text({"reason": b"\xff!"}, "reason") == "\\xff!"


def test_near_offsets_are_read_in_one_range_and_far_ones_are_not():
    origins = [Origin("t", 0, offset) for offset in (5, 900, 10_000)] + [Origin("t", 1, 6), Origin("u", 0, 7)]
    assert _ranges(reversed(origins)) == {
        "t": [OffsetRange(0, 5, 901), OffsetRange(0, 10_000, 10_001), OffsetRange(1, 6, 7)],
        "u": [OffsetRange(0, 7, 8)],
    }
