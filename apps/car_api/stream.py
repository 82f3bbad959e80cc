"""The sales as they happen, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

An event's id is the sale's, so a client that reconnects with Last-Event-ID gets those it has missed. Nothing is queued
for it meanwhile: they are computed when it asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta

import msgspec

from apps.car_api.interval import BadQuestion
from apps.car_api.sales import Sales, is_sale, moment_of, next_sale, next_tick, sale

LONGEST_ABSENCE = timedelta(days=1)
"""How far back a client is told what it has missed: 14,400 sales, or 4 MB."""

_HEARTBEAT_SECONDS = 15.0
"""Proxies commonly close a connection on which a minute passes in silence."""

_RECONNECT_MS = 2_000
_BATCH = 50
"""Sales that are computed at once: about a ms in which nobody else is served."""

_MOST_DIGITS = 19


class Stream:
    """The stream to one client, from the sale after `last_id`, or, where it names none, from the next one on."""

    def __init__(self, last_id: str | None, now: Callable[[], datetime], stopping: asyncio.Event) -> None:
        """Raises BadQuestion where `last_id` is no id of a sale."""
        self._now = now
        self._stopping = stopping
        upcoming = next_tick(now())
        earliest = next_tick(now() - LONGEST_ABSENCE)
        wanted = upcoming if last_id is None else min(_id(last_id) + 1, upcoming)
        self._next = max(wanted, earliest)
        self._left_out = len(Sales(wanted, earliest))

    async def frames(self) -> AsyncIterator[str]:
        """Events and, in between, comments, until the server stops."""
        yield f"retry: {_RECONNECT_MS}\n\n"
        if self._left_out:
            yield f": {self._left_out} sales are too long ago: ask /api/car_transactions for them\n\n"
        if not is_sale(next_tick(self._now())):
            yield self._closed()
        while not self._stopping.is_set():
            due = list(Sales(self._next, next_tick(self._now())).ids(_BATCH))
            if due:
                yield "".join(map(_event, due))
                self._next = due[-1] + 1
                await asyncio.sleep(0)  # others' turn, where there is much to catch up on
            elif await self._waited_in_vain():
                yield self._closed()

    async def _waited_in_vain(self) -> bool:
        """Wait for the next sale, the end of the server, or the time of a heartbeat, which is when this is true."""
        until_sale = (moment_of(next_sale(self._next)) - self._now()).total_seconds()
        try:
            await asyncio.wait_for(self._stopping.wait(), min(max(until_sale, 0.0), _HEARTBEAT_SECONDS))
        except TimeoutError:
            return until_sale > _HEARTBEAT_SECONDS
        return False

    def _closed(self) -> str:
        return f": the next sale is at {moment_of(next_sale(self._next)):%Y-%m-%dT%H:%M:%SZ}\n\n"


def _event(tick: int) -> str:
    return f"id: {tick}\ndata: {msgspec.json.encode(sale(tick)).decode()}\n\n"


def _id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise BadQuestion(f"Last-Event-ID is {text[:50]!r}, not the id of a sale")
    return int(text)
