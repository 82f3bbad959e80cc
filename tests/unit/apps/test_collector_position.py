from __future__ import annotations

import json

import pytest

from apps.recentchange_collector import change
from apps.recentchange_collector.position import OVERLAP_MS, WINDOW_MS, Position

NOW = 1_795_320_000
NOW_MS = NOW * 1000
MINUTE = NOW // 60


@pytest.fixture
def position() -> Position:
    return Position(clock=lambda: NOW)


def event_id(ms: int, *, active_last: bool = False) -> str:
    entries = [{"topic": "eqiad", "partition": 0, "timestamp": ms}, {"topic": "codfw", "partition": 0, "offset": -1}]
    return json.dumps(entries[::-1] if active_last else entries)


def stored(position: Position, tmp_path) -> Position:
    path = tmp_path / "position.json"
    path.write_bytes(position.encoded("file"))
    return Position.read(path)


@pytest.mark.parametrize("active_last", [False, True])
def test_a_resume_begins_a_few_seconds_early_whichever_data_centre_is_active(position, active_last):
    position.advance(event_id(NOW_MS, active_last=active_last))
    resumed = json.loads(position.resume_id())
    assert resumed == json.loads(event_id(NOW_MS - OVERLAP_MS, active_last=active_last))


def test_the_position_goes_forward_only(position):
    position.advance(event_id(NOW_MS))
    for other in (event_id(NOW_MS - 3), "", "nonsense", "{}", '[{"offset":-1}]', event_id(NOW_MS + 10**9)):
        position.advance(other)
    assert position.last_id == event_id(NOW_MS)


def test_ids_are_known_for_the_window(position):
    position.advance(event_id(NOW_MS))
    position.take("early", NOW)
    position.advance(event_id(NOW_MS + WINDOW_MS))
    position.take("later", NOW)
    assert position.knows("early")
    position.advance(event_id(NOW_MS + WINDOW_MS + 1))
    position.take("last", NOW)
    assert not position.knows("early")
    assert position.knows("later")


def test_all_survives_being_stored(position, tmp_path):
    position.advance(event_id(NOW_MS))
    position.take("id", NOW)
    gap = position.lose()
    position.advance(event_id(NOW_MS + 1))
    again = stored(position, tmp_path)
    assert again.knows("id")
    assert (again.last_id, again.newest_ms) == (event_id(NOW_MS + 1), NOW_MS + 1)
    assert (again.gaps, again.files) == ([gap], 1)


def test_minutes_count_distinct_changes_of_the_last_day(position, tmp_path):
    for number, made in enumerate([NOW, NOW + 59, NOW - 60, NOW - 90_000, NOW + 10**8, None]):
        position.take(str(number), made)
    position.encoded(None)
    assert position.minutes == {MINUTE: 2, MINUTE - 1: 1}


def test_what_is_lost_is_noted_and_the_next_request_is_for_now(position):
    position.advance(event_id(NOW_MS - 30_000))
    gap = position.lose()
    assert gap.seconds == 30
    assert gap.end == "2026-11-22T04:00:00.000+00:00"
    assert position.resume_id() is None


def test_an_event_is_known_by_its_id():
    read = change.read('{"meta":{"id":"a","dt":"2026-11-22T04:00:00.5Z","domain":"de.wikipedia.org"},"id":5}')
    assert read.identity == "a"
    assert read.made == NOW + 0.5
    assert not read.canary
    assert not read.odd


def test_canaries_are_known_by_their_domain():
    assert change.read('{"$schema":"/mediawiki/recentchange/1.0.1","meta":{"id":"a","domain":"canary"}}').canary


@pytest.mark.parametrize(
    "data", ["", "{", "[]", "1", '{"meta":[]}', '{"meta":{"id":5}}', '{"meta":{"id":""}}', "[" * 10**5]
)
def test_odd_data_is_kept_and_is_the_same_when_it_comes_again(data):
    read = change.read(data)
    assert read.odd
    assert read.line == data.encode()
    assert read.identity == change.read(data).identity


@pytest.mark.parametrize("dt", ["2026-11-22T04:00:00Z", "2026-11-22T05:00:00+01:00"])
def test_times_have_any_offset(dt):
    assert change.read(json.dumps({"meta": {"id": "a", "dt": dt}})).made == NOW


@pytest.mark.parametrize("dt", ["2026-11-22T04:00:00", "no", 5, None])
def test_a_time_that_is_none_is_no_reason_to_lose_the_event(dt):
    read = change.read(json.dumps({"meta": {"id": "a", "dt": dt}}))
    assert read.made is None
    assert not read.odd


def test_data_in_several_lines_becomes_one():
    assert change.read('{"meta":\n{"id":"a"}}').line == b'{"meta": {"id":"a"}}'
