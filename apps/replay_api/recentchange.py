"""Wikimedia's stream of recent changes, as server-sent events.

Query parameters: `rate`, changes a second; `lasts`, seconds after which the server ends a connection; `keeps`, seconds
that an id may be old. The stream goes by the machine's clock, whatever `/clock` says. Faults of the stream also hit the
connections that are open.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any

from fastapi import FastAPI, Header, HTTPException, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime
from starlette.requests import Request

from apps.replay_api.changes import MOST, Feed, Made
from apps.replay_api.faults import STREAM_KINDS, Fault, Faults, Kind

PATH = "/v2/stream/recentchange"

RATE = 50
"""About the live feed's."""

LASTS_SECONDS = 900.0
KEEPS_SECONDS = 7 * 86_400.0

LONGEST_COUNT = 20_000_000
"""Changes that are counted in one answer: about a minute's work."""

_BATCH = 500
"""Frames of one chunk: 0.7 MB, about 6 ms of work."""

_TICK_SECONDS = 0.01
_MS = 1000
_MINUTE_MS = 60 * _MS
_JUNK = b'event: message\ndata: {"cut": \n\nevent: message\ndata: {"meta":\ndata: {"dt": "no"}}\n\n'

Rate = Annotated[int, Query(ge=1, le=MOST, description="Changes a second.")]


def add_recent_changes(app: FastAPI, faults: Faults, refused: Callable[[Request], Response | None]) -> None:
    """Add the stream and its independent count. `refused` is what a request is answered in place of the stream."""

    @app.get(PATH, response_class=StreamingResponse, summary="Recent changes in the shape of EventStreams")
    async def recent_changes(
        request: Request,
        rate: Rate = RATE,
        lasts: Annotated[float, Query(gt=0)] = LASTS_SECONDS,
        keeps: Annotated[float, Query(gt=0)] = KEEPS_SECONDS,
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> Response:
        if (refusal := refused(request)) is not None:
            return refusal
        feed, now = Feed(rate), time.time()
        first = feed.first(round(now * _MS)) if last_event_id is None else _resumed(feed, last_event_id, now - keeps)
        connection = _Connection(feed, first, now + lasts, faults, app.state.stopping)
        return StreamingResponse(connection.chunks(), media_type="text/event-stream")

    @app.get(f"{PATH}/sent", summary="What the stream has sent with a meta.dt in an interval, canaries left out")
    def sent(
        start: Annotated[AwareDatetime, Query(alias="from")],
        to: AwareDatetime,
        rate: Rate = RATE,
        *,
        ids: Annotated[bool, Query(description="Their ids, one JSON object a line.")] = False,
    ) -> Response:
        """Counts by minute. Computed, not remembered: a duplicate counts once, and what no client took counts too."""
        now_ms = round(time.time() * _MS)
        start_ms, end_ms = (round(each.timestamp() * _MS) for each in (start, to))
        if (min(end_ms, now_ms) - start_ms) * rate > LONGEST_COUNT * _MS:
            raise HTTPException(400, f"these are more than {LONGEST_COUNT} changes: ask for a shorter interval")
        made = (each for each in Feed(rate).between(start_ms, end_ms, now_ms) if not each.canary)
        if ids:
            return StreamingResponse(_lines(made), media_type="application/x-ndjson")
        minutes = Counter(each.time // _MINUTE_MS for each in made)
        return Response(json.dumps(_counts(minutes)), media_type="application/json")


def _counts(minutes: Counter[int]) -> dict[str, Any]:
    by_minute = {
        f"{datetime.fromtimestamp(each * 60, UTC):%Y-%m-%dT%H:%M:%SZ}": minutes[each] for each in sorted(minutes)
    }
    return {"total": minutes.total(), "minutes": by_minute}


def _lines(made: Iterable[Made]) -> Iterator[str]:
    rest = iter(made)
    while part := list(islice(rest, _BATCH)):
        yield "".join(f'{{"id":"{each.id}","ms":{each.time}}}\n' for each in part)


def _resumed(feed: Feed, last_event_id: str, oldest: float) -> int:
    """The number of the first change from the id's time on. The real stream leaves out others of the same ms, too."""
    try:
        ms = max(entry["timestamp"] for entry in json.loads(last_event_id) if "timestamp" in entry)
        number = feed.first(int(ms))
    except (ValueError, TypeError, KeyError):
        raise HTTPException(400, "Last-Event-ID is not an id of this stream") from None
    if ms < oldest * _MS:
        raise HTTPException(400, "Last-Event-ID is too old: its offsets are no longer there")
    return number


class _Connection:
    """One client's stream, from change `number` on until the time `end`."""

    def __init__(self, feed: Feed, number: int, end: float, faults: Faults, stopping: asyncio.Event) -> None:
        self._feed = feed
        self._next = number
        self._end = end
        self._faults = faults
        self._stopping = stopping
        self._fault: Fault | None = None
        self._fault_ends = 0.0

    async def chunks(self) -> AsyncIterator[bytes]:
        """The frames as their time comes, or as fast as the client takes them where it has some to catch up on."""
        yield b":ok\n\n"
        while not self._stopping.is_set() and (now := time.time()) < self._end:
            kind = self._spoilt_by(now)
            if kind is Kind.CLOSE:
                return
            until = min(self._feed.first(round(now * _MS)), self._next + _BATCH)
            if kind is Kind.STALL or until <= self._next:
                await self._wait(now)
                continue
            frames = [self._feed.frame(number) for number in range(self._next, until)]
            if kind is Kind.HALF_FRAME:
                yield frames[0][: len(frames[0]) // 2]
                return
            yield b"".join(self._spoilt(frames, kind))
            self._next = until
            await asyncio.sleep(0)  # others' turn, and that of the news that the client is gone

    async def _wait(self, now: float) -> None:
        """Until there is a next change, or the server stops."""
        seconds = max(_TICK_SECONDS, min(self._feed.moment(self._next) - now, 0.1))
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def _spoilt_by(self, now: float) -> Kind | None:
        """The fault that is on, for its `seconds` at least and for one chunk at least."""
        if self._fault and now >= self._fault_ends:
            self._fault = None
        if self._fault is None and (fault := self._faults.next(PATH, STREAM_KINDS)):
            self._fault, self._fault_ends = fault, now + fault.seconds
        return self._fault.kind if self._fault else None

    def _spoilt(self, frames: list[bytes], kind: Kind | None) -> list[bytes]:
        if kind is Kind.DUPLICATE:
            return [*frames, *frames]
        if kind is Kind.OUT_OF_ORDER:
            return frames[::-1]
        if kind is Kind.CANARY:
            return [self._feed.canary(self._next), *frames]
        return [_JUNK, *frames] if kind is Kind.JUNK_FRAME else frames
