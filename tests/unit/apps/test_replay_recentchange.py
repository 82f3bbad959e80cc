from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any

import httpx
import pytest
import requests
from httpx_sse import ServerSentEvent, connect_sse

from apps.replay_api.changes import Feed
from apps.replay_api.wikis import wikis
from penstock.core.errors import Reject
from penstock.sources.recentchange import normalise

PATH = "/v2/stream/recentchange"
DAY_MS = 1_795_305_600_000


def frames(feed: Feed, start: int, count: int) -> list[tuple[list[dict[str, Any]], dict[str, Any]]]:
    """(id, event) of each."""
    found = []
    for number in range(start, start + count):
        event, ids, data, end, last = feed.frame(number).decode().split("\n")
        assert (event, end, last) == ("event: message", "", "")
        found.append((json.loads(ids.removeprefix("id: ")), json.loads(data.removeprefix("data: "))))
    return found


@pytest.fixture(scope="module")
def changes() -> list[tuple[list[dict[str, Any]], dict[str, Any]]]:
    feed = Feed(50)
    return frames(feed, feed.first(DAY_MS), 20_000)


def read(url: str, last_event_id: str | None = None, **query: object) -> Iterator[ServerSentEvent]:
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    with (
        httpx.Client(timeout=5) as client,
        connect_sse(client, "GET", f"{url}{PATH}", params=query, headers=headers) as source,
    ):
        source.response.raise_for_status()
        yield from source.iter_sse()


def id_at(ms: int) -> str:
    return json.dumps([{"topic": "eqiad.mediawiki.recentchange", "partition": 0, "timestamp": ms}])


def fault(url: str, kind: str, seconds: float = 0.0) -> None:
    requests.post(f"{url}/faults", json={"kind": kind, "path": PATH, "seconds": seconds}, timeout=5).raise_for_status()


def meta_id(event: ServerSentEvent) -> str:
    found: str = json.loads(event.data)["meta"]["id"]
    return found


def test_all_wikis_all_types_and_many_scripts_occur(changes):
    real = [event for _, event in changes if event["meta"]["domain"] != "canary"]
    types = Counter(event["type"] for event in real)
    assert set(types) == {"edit", "categorize", "log", "new"}
    assert types["edit"] > len(real) / 2
    by_wiki = Counter(event["wiki"] for event in real)
    assert len(by_wiki) > 300
    assert by_wiki.most_common(1)[0][0] == "commonswiki"
    assert set(by_wiki) <= {wiki.name for wiki in wikis()}
    assert {"памят", "تصن", "日本", "โบ", "தமி"} == {
        part for part in ("памят", "تصن", "日本", "โบ", "தமி") if part in str(real)
    }


def test_fields_are_odd_and_missing_as_in_the_real_stream(changes):
    real = [event for _, event in changes if event["meta"]["domain"] != "canary"]
    logs = [event for event in real if event["type"] == "log"]
    assert {type(event["log_params"]) for event in logs} == {list, dict}
    assert any("id" not in event for event in logs)
    assert any(event["log_id"] == 0 for event in logs)
    assert not any("notify_url" in event or "length" in event for event in logs)
    assert {"patrolled" in event for event in real if event["type"] == "edit"} == {True, False}
    assert all("old" not in event["length"] for event in real if event["type"] == "new")
    assert any(event["user"].startswith("~2026-") for event in real)
    assert max(event["meta"]["offset"] for event in real) > 2**32
    old = [event for event in real if "title_url" not in event]
    assert 0 < len(old) < len(real) / 100
    assert all("." not in event["meta"]["dt"] for event in old)
    size = sum(len(json.dumps(event, ensure_ascii=False).encode()) for event in real) / len(real)
    assert 900 < size < 1600


def test_a_few_per_mille_are_canaries_of_either_shape(changes):
    canaries = [event for _, event in changes if event["meta"]["domain"] == "canary"]
    assert 0 < len(canaries) < len(changes) / 100
    assert {event.get("wiki") for event in canaries} == {"canarywiki", None}


def test_every_other_change_meets_the_contract(changes):
    for _, event in changes:
        if event["meta"]["domain"] != "canary":
            assert normalise(event)["id"] == event["meta"]["id"]
    bare = next(event for _, event in changes if "type" not in event)
    with pytest.raises(Reject):
        normalise(bare)


def test_an_id_has_one_active_data_centre_which_may_be_either_and_come_first_or_last():
    feed, ways = Feed(1), set()
    for ids, event in frames(feed, feed.first(DAY_MS), 2_400):
        (active,) = [each for each in ids if "timestamp" in each]
        assert [each["offset"] for each in ids if each is not active] == [-1]
        assert active["topic"] == event["meta"]["topic"]
        ways.add((active["topic"], ids.index(active)))
    assert len(ways) == 4


def test_ids_are_fresh_and_differ_between_feeds(changes):
    feed = Feed(60)
    ids = {event["meta"]["id"] for _, event in changes}
    assert len(ids) == len(changes)
    assert ids.isdisjoint(feed.made(number).id for number in range(feed.first(DAY_MS), feed.first(DAY_MS + 60_000)))


def test_some_times_step_back_and_some_changes_share_a_millisecond():
    feed = Feed(2_000)
    times = [feed.made(number).time for number in range(feed.first(DAY_MS), feed.first(DAY_MS) + 10_000)]
    assert any(later < earlier for earlier, later in pairwise(times))
    assert any(later == earlier for earlier, later in pairwise(times))


def test_the_stream_starts_now_and_has_what_the_count_has(replay):
    asked = time.time()
    events = list(islice(read(replay, rate=1000), 200))
    sent = [json.loads(each.data) for each in events]
    made = [datetime.fromisoformat(each["meta"]["dt"]).timestamp() for each in sent]
    assert asked - 1.1 < min(made) < time.time()
    start, end = (datetime.fromtimestamp(at, UTC).isoformat() for at in (int(asked) - 2, int(time.time()) + 2))
    query = {"from": start, "to": end, "rate": "1000", "ids": "true"}
    lines = requests.get(f"{replay}{PATH}/sent", params=query, timeout=20).text.splitlines()
    known = {json.loads(line)["id"] for line in lines}
    assert {each["meta"]["id"] for each in sent if each["meta"]["domain"] != "canary"} <= known


def test_minutes_are_counted_by_meta_dt_without_canaries(replay):
    minute = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=1)
    start, end = minute + timedelta(seconds=30), minute + timedelta(minutes=3)
    query = {"from": start.isoformat(), "to": end.isoformat(), "rate": "200"}
    counted = requests.get(f"{replay}{PATH}/sent", params=query, timeout=20).json()
    assert list(counted["minutes"]) == [f"{minute + timedelta(minutes=each):%Y-%m-%dT%H:%M:00Z}" for each in range(3)]
    assert counted["total"] == sum(counted["minutes"].values())
    assert 150 * 200 * 0.99 < counted["total"] < 150 * 200
    ids = requests.get(f"{replay}{PATH}/sent", params=query | {"ids": "true"}, timeout=20).text.splitlines()
    assert len(ids) == counted["total"]


def test_what_is_not_yet_sent_is_not_counted(replay):
    start = datetime.fromtimestamp(int(time.time()) - 20, UTC).isoformat()
    counted = requests.get(f"{replay}{PATH}/sent", params={"from": start, "to": "2100-01-01T00:00:00Z"}, timeout=20)
    assert 20 * 50 * 0.9 < counted.json()["total"] < 60 * 50


def test_a_resume_delivers_from_the_ids_millisecond_on(replay):
    ms = int(time.time() * 1000) - 60_000
    feed = Feed(500)
    first = feed.first(ms)
    resumed = [meta_id(event) for event in islice(read(replay, id_at(ms), rate=500), 1_000)]
    assert resumed == [feed.made(number).id for number in range(first, first + 1_000)]


@pytest.mark.parametrize("last_event_id", [id_at(1), "nonsense", "{}", "[1]", "[]"])
def test_an_id_that_is_too_old_or_none_is_refused(replay, last_event_id):
    answer = requests.get(f"{replay}{PATH}", headers={"Last-Event-ID": last_event_id}, timeout=5)
    assert answer.status_code == 400


def test_a_connection_ends_after_its_time(replay):
    assert list(read(replay, rate=100, lasts=0.3))


def test_too_many_requests_come_with_the_time_to_wait(replay):
    fault(replay, "429")
    answer = requests.get(f"{replay}{PATH}", timeout=5)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")


def test_close_and_half_a_frame_end_an_open_stream(replay):
    for kind in ("close", "half-frame"):
        events = read(replay, rate=100)
        next(events)
        fault(replay, kind)
        assert all(json.loads(event.data) for event in events)


def test_a_stall_is_silence(replay):
    fault(replay, "stall", seconds=60)
    with (
        httpx.Client(timeout=0.5) as client,
        connect_sse(client, "GET", f"{replay}{PATH}") as source,
        pytest.raises(httpx.ReadTimeout),
    ):
        list(source.iter_sse())


def spoilt(url: str, kind: str, count: int) -> list[ServerSentEvent]:
    """The first events of a stream with the fault, which an earlier connection may take as well."""
    requests.post(f"{url}/faults", json={"kind": kind, "path": PATH, "times": 9, "seconds": 0}, timeout=5)
    past = id_at(int(time.time() * 1000) - 5_000)
    found = list(islice(read(url, past, rate=50), count))
    requests.delete(f"{url}/faults", timeout=5)
    return found


def test_duplicates_disorder_canaries_and_junk_are_among_the_frames(replay):
    ids = [meta_id(event) for event in spoilt(replay, "duplicate", 400)]
    assert max(Counter(ids).values()) > 1
    times = [json.loads(event.data)["meta"]["offset"] for event in spoilt(replay, "out-of-order", 200)]
    assert times == sorted(times, reverse=True)
    (canary,) = spoilt(replay, "canary", 1)
    assert json.loads(canary.data)["meta"]["domain"] == "canary"
    broken, many_lines = spoilt(replay, "junk-frame", 2)
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(broken.data)
    assert "id" not in json.loads(many_lines.data)["meta"]


def test_a_client_that_leaves_in_the_middle_of_much_to_catch_up_on_holds_nobody_up(replay):
    long_ago = id_at(int(time.time() * 1000) - 3_600_000)
    assert list(islice(read(replay, long_ago, rate=10_000), 10))
    assert list(islice(read(replay, rate=100), 10))
