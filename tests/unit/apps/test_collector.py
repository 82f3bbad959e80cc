from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import requests
from httpx_sse import ServerSentEvent

from apps.recentchange_collector import collector as collector_module
from apps.recentchange_collector import feed as feed_module
from apps.recentchange_collector import status
from apps.recentchange_collector.collector import Collector, State
from apps.recentchange_collector.feed import Feed, back_off, user_agent
from apps.recentchange_collector.position import Position
from apps.recentchange_collector.spool import STATE_FOLDER, Spool
from apps.replay_api import changes
from apps.status_server import BadQuestion
from penstock.core.errors import Fatal
from penstock.core.settings import WikiCollector
from tests.recentchange import PATH, fault, ids, missing_and_repeated, spooled

RATE = 200
LIVE = "https://stream.wikimedia.org/v2/stream/recentchange"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(collector_module, "back_off", lambda failures: 0.05)
    monkeypatch.setattr(collector_module, "FULL_POLL_SECONDS", 0.05)


def run(
    url: str,
    folder: Path,
    until: Callable[[State], bool],
    *,
    limit: int = 1 << 30,
    file_bytes: int = 100_000,
    file_seconds: float = 0.1,
    idle: float = 5.0,
    each: Callable[[State], None] = lambda state: None,
    rate: int = RATE,
    query: str = "",
) -> State:
    """Collect until the state is as wanted; `each` is called again and again meanwhile."""
    state = State()

    async def collect() -> None:
        with Spool(folder, limit) as spool:
            feed = Feed(f"{url}{PATH}?rate={rate}{query}", "", idle)
            running = asyncio.create_task(Collector(feed, spool, file_bytes, file_seconds, state).run())
            async with asyncio.timeout(120):
                while not until(state) and not running.done():
                    await asyncio.sleep(0.01)
                    each(state)
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    asyncio.run(collect())
    return state


def events(number: int) -> Callable[[State], bool]:
    """So many events, and all of the overlap with what was there before."""
    return lambda state: state.events >= number and time.time() - (state.newest or 0) < 0.5


def assert_whole(folder: Path, rate: int = RATE) -> None:
    assert missing_and_repeated(spooled(folder), changes.Feed(rate)) == ([], 0)


def resumed_from(folder: Path, seconds: float) -> None:
    """A position from which there is something to catch up on."""
    position = Position()
    ms = int((time.time() - seconds) * 1000)
    position.advance(json.dumps([{"topic": "eqiad.mediawiki.recentchange", "partition": 0, "timestamp": ms}]))
    with Spool(folder, 1 << 30) as spool:
        spool.hand_on([], position)


def test_every_change_is_spooled_once_as_it_came_and_canaries_are_not(replay, tmp_path):
    resumed_from(tmp_path, 15)
    state = run(replay, tmp_path, events(2_500))
    lines = spooled(tmp_path)
    assert len(lines) == state.events
    assert state.canaries > 0
    assert len(list(tmp_path.glob("*.jsonl"))) > 5
    assert_whole(tmp_path)


def test_a_canary_is_not_spooled_and_the_position_goes_past_it(tmp_path):
    """A quiet feed sends nothing but canaries: a position that stood still would become too old to resume from."""
    place = json.dumps(
        [{"topic": "eqiad.mediawiki.recentchange", "partition": 0, "timestamp": int(time.time() * 1000)}]
    )
    canary = {"meta": {"id": "a", "domain": "canary", "dt": datetime.now(UTC).isoformat()}}
    with Spool(tmp_path, 1 << 30) as spool:
        collector = Collector(Feed("http://localhost:1", "", 1.0), spool, 100_000, 0.1, State())
        collector._take(ServerSentEvent(data=json.dumps(canary), id=place))
        assert collector._handed_on()
        assert spool.position().last_id == place
    assert spooled(tmp_path) == []


def test_a_file_is_finished_in_time_even_if_nothing_more_comes(replay, tmp_path):
    state = run(replay, tmp_path, lambda state: state.bytes > 0, each=lambda state: None)
    assert state.full is None
    assert_whole(tmp_path)


def test_the_first_position_is_stored_at_once_so_that_a_crash_loses_nothing_after_it(replay, tmp_path):
    state = run(
        replay, tmp_path, lambda state: state.files > 0 or state.events > 100, file_bytes=1 << 30, file_seconds=3_600
    )
    assert state.events <= 100
    with Spool(tmp_path, 1 << 30) as spool:
        assert spool.position().resume_id()
    assert spooled(tmp_path)


def test_a_restart_goes_on_where_it_was(replay, tmp_path):
    for _ in range(4):
        run(replay, tmp_path, events(60))
    assert_whole(tmp_path)


@pytest.mark.parametrize("kind", ["close", "half-frame", "duplicate", "out-of-order", "canary"])
def test_nothing_is_lost_or_doubled_by_a_fault_of_the_stream(replay, tmp_path, kind):
    resumed_from(tmp_path, 1)

    spoilt: list[float] = []

    def spoil(state: State) -> None:
        if state.events > 100 and not spoilt:
            fault(replay, kind, seconds=0.1)
            spoilt.append(time.time())

    state = run(replay, tmp_path, lambda state: bool(spoilt) and (state.newest or 0) > spoilt[0] + 1, each=spoil)
    assert requests.get(f"{replay}/faults", timeout=5).json() == []
    assert_whole(tmp_path)
    assert (state.connections > 1) == (kind in {"close", "half-frame"})
    if kind in {"close", "half-frame", "duplicate"}:
        assert state.repeats > 0


def test_a_connection_that_the_server_ends_is_resumed(replay, tmp_path):
    state = run(replay, tmp_path, lambda state: state.connections > 3, query="&lasts=0.3")
    assert_whole(tmp_path)
    assert state.repeats > 0


def test_a_silent_connection_is_given_up(replay, tmp_path):
    fault(replay, "stall", seconds=60)
    state = run(replay, tmp_path, events(50), idle=0.5)
    assert state.connections > 1
    assert_whole(tmp_path)


@pytest.mark.parametrize("kind", ["500", "503", "429-hour", "html"])
def test_a_host_in_trouble_is_asked_again(replay, tmp_path, kind):
    fault(replay, kind, times=3)
    seen: set[str | None] = set()
    state = run(replay, tmp_path, events(50), each=lambda state: seen.add(state.away))
    assert state.connections == 4
    assert any(away and "127.0.0.1" in away for away in seen)
    assert_whole(tmp_path)


def test_the_wait_that_the_host_asks_for_is_waited(replay, tmp_path, monkeypatch):
    waits = []
    sleep = asyncio.sleep

    async def noted(seconds):
        waits.append(seconds)
        await sleep(min(seconds, 0.1))

    monkeypatch.setattr(collector_module.asyncio, "sleep", noted)
    fault(replay, "429")
    run(replay, tmp_path, events(10))
    assert any(2 <= wait <= 3 for wait in waits)


def test_an_id_that_is_too_old_is_a_gap_that_is_told_and_kept(replay, tmp_path, caplog):
    resumed_from(tmp_path, 3_600)
    state = run(replay, tmp_path, events(50), query="&keeps=60")
    (gap,) = state.gaps
    assert 3_600 <= gap.seconds < 3_660
    assert "are lost" in caplog.text
    detail = status.health(state).detail
    assert detail["gaps"] == 1
    assert detail["lost_seconds"] == gap.seconds
    assert b"recentchange_collector_gaps_total 1.0" in status_text(state)
    assert run(replay, tmp_path, events(10)).gaps == [gap]
    assert_whole(tmp_path)


def status_text(state: State) -> bytes:
    from prometheus_client import generate_latest

    return generate_latest(status.registry(state))


def test_a_refusal_ends_it(replay, tmp_path):
    fault(replay, "404")
    with pytest.raises(ExceptionGroup) as raised:
        run(replay, tmp_path, events(10))
    assert raised.group_contains(Fatal, match="HTTP 404.*check RECENTCHANGE_URL")


def test_junk_is_kept_once(replay, tmp_path):
    fault(replay, "junk-frame", times=3)
    state = run(replay, tmp_path, events(60), query="&lasts=0.3")
    lines = spooled(tmp_path)
    assert state.odd == 2
    assert lines.count(b'{"cut": ') == 1
    assert lines.count(b'{"meta": {"dt": "no"}}') == 1
    assert len(set(ids(lines))) == len(lines) - 2


def test_a_full_spool_stops_the_reading_and_loses_nothing(replay, tmp_path):
    resumed_from(tmp_path, 15)
    seen = []

    def flume(state: State) -> None:
        assert sum(file.stat().st_size for file in tmp_path.glob("*.jsonl")) <= 500_000
        if state.full:
            seen.append((status.health(state).status, state.events))
        if len(seen) % 20 == 19:
            aside = tmp_path.parent / f"{tmp_path.name}-taken"
            aside.mkdir(exist_ok=True)
            for file in tmp_path.glob("*.jsonl"):
                file.rename(aside / file.name)

    state = run(replay, tmp_path, events(2_000), limit=500_000, each=flume)
    assert {health for health, _ in seen} == {HTTPStatus.SERVICE_UNAVAILABLE}
    assert len({number for _, number in seen[:15]}) == 1, "it went on reading"
    aside = tmp_path.parent / f"{tmp_path.name}-taken"
    lines = spooled(aside) + spooled(tmp_path)
    assert missing_and_repeated(lines, changes.Feed(RATE)) == ([], 0)
    assert len(lines) <= state.events


def test_counts_are_those_of_what_was_handed_on(replay, tmp_path):
    resumed_from(tmp_path, 70)
    run(replay, tmp_path, events(1_000), rate=20)
    state = run(replay, tmp_path, events(10), rate=20)
    asked = {"from": "2026-01-01T00:00:00Z", "to": "2100-01-01T00:00:00 00:00"}
    counted = status.counts(state, asked)["minutes"]
    by_minute: dict[str, int] = {}
    for line in spooled(tmp_path):
        minute = f"{json.loads(line)['meta']['dt'][:16]}:00Z"
        by_minute[minute] = by_minute.get(minute, 0) + 1
    assert counted == by_minute
    assert len(counted) >= 2


@pytest.mark.parametrize("question", [{}, {"from": "no", "to": "no"}, {"from": "2026-11-22T00:00", "to": "x"}])
def test_a_bad_question_is_told_why(question):
    with pytest.raises(BadQuestion, match=r"^from is "):
        status.counts(State(), question)


def test_health_tells_what_is_away_full_or_still():
    state = State()
    assert status.health(state).status == HTTPStatus.SERVICE_UNAVAILABLE
    state.away = None
    assert status.health(state).status == HTTPStatus.OK
    state.full = "the spool is full: Flume"
    assert status.health(state).detail["detail"].startswith("the spool is full: Flume")
    state.beat -= 60
    assert status.health(state).status == HTTPStatus.INTERNAL_SERVER_ERROR


def test_wikimedia_is_told_whom_to_contact():
    with pytest.raises(Fatal, match=r"stream.wikimedia.org asks for a contact: set WIKI_USER_AGENT_CONTACT"):
        Feed(LIVE, "", 30)
    assert user_agent(LIVE, "ops@example.org") == "penstock-recentchange-collector/0.1.0 (ops@example.org)"
    assert user_agent(LIVE, "https://example.org/bot").endswith(" (https://example.org/bot)")
    assert user_agent("http://127.0.0.1:8090/v2", "") == "penstock-recentchange-collector/0.1.0"


@pytest.mark.parametrize("contact", ["me", "a b@c", "x@y\r\nHost: z", "(x@y)", "é@y", "@"])
def test_a_contact_that_is_none_is_refused(contact):
    with pytest.raises(Fatal, match="neither a URL nor an e-mail address"):
        user_agent(LIVE, contact)


@pytest.mark.parametrize("url", ["", "stream.wikimedia.org", "ftp://x/", "http:///x"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(Fatal, match="not an http address"):
        Feed(url, "a@b", 30)


def test_the_user_agent_is_sent(monkeypatch):
    seen = SimpleNamespace(headers={})

    def answer(request: httpx.Request) -> httpx.Response:
        seen.headers = request.headers
        return httpx.Response(404, text="no")

    async def ask() -> None:
        feed = Feed(LIVE, "ops@example.org", 30)
        async with feed.client() as client, feed.events(client, "[1]"):
            pass

    client = partial(httpx.AsyncClient, transport=httpx.MockTransport(answer))
    monkeypatch.setattr(feed_module.httpx, "AsyncClient", client)
    with pytest.raises(Fatal):
        asyncio.run(ask())
    assert seen.headers["User-Agent"] == "penstock-recentchange-collector/0.1.0 (ops@example.org)"
    assert seen.headers["Last-Event-ID"] == "[1]"


def test_waits_grow_with_jitter_up_to_a_limit():
    assert 0 <= back_off(0) <= 1
    assert 4 <= back_off(3) <= 8
    assert 30 <= back_off(1_000) <= 60
    assert len({back_off(5) for _ in range(10)}) > 1


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("7", 7, 7),
        ("999999", 3_600, 3_600),
        (format_datetime(datetime.now(UTC) + timedelta(hours=24), usegmt=True), 3_600, 3_600),
        (format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True), 0, 0),
    ],
    ids=["seconds", "too-many-seconds", "tomorrow", "past"],
)
def test_both_forms_of_retry_after_are_understood(header, least, most):
    wait = feed_module._retry_after(httpx.Response(429, headers={"Retry-After": header}))
    assert least <= wait <= most


@pytest.mark.parametrize("header", ["", "soon", "-5"])
def test_a_retry_after_that_is_none_leaves_the_back_off(header):
    assert feed_module._retry_after(httpx.Response(429, headers={"Retry-After": header})) is None


@pytest.mark.parametrize(
    "environment",
    [{"WIKI_SPOOL_FILE_BYTES": "0"}, {"WIKI_IDLE_SECONDS": "-1"}, {"WIKI_SPOOL_BYTES": "1000"}],
)
def test_numbers_that_make_no_sense_are_refused(environment):
    with pytest.raises(Fatal, match="WIKI_"):
        WikiCollector.from_env(environment)


def test_settings_have_defaults():
    chosen = WikiCollector.from_env({"PENSTOCK_SPOOL": "/spool"})
    assert (chosen.url, chosen.folder) == (LIVE, Path("/spool/wiki"))
    assert (chosen.file_bytes, chosen.file_seconds, chosen.spool_bytes) == (8 << 20, 2, 1 << 30)
    assert STATE_FOLDER.startswith("."), "Flume would take the position for a file of changes"
