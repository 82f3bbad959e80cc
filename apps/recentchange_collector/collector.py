"""The collector: follows the feed, drops repeats and canaries, and hands the rest on to the spool."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field

import httpx
from httpx_sse import ServerSentEvent

from apps.recentchange_collector.change import read
from apps.recentchange_collector.feed import Feed, TooOld, back_off
from apps.recentchange_collector.position import Gap
from apps.recentchange_collector.spool import Full, Spool
from penstock.core.errors import Retry

log = logging.getLogger(__name__)

FULL_POLL_SECONDS = 1.0
"""How often a full spool is looked at."""

BEAT_SECONDS = 1.0


@dataclass
class State:
    """What others may know of the collector. Numbers of events count since the process began."""

    events: int = 0
    repeats: int = 0
    canaries: int = 0
    odd: int = 0
    bytes: int = 0
    files: int = 0
    spool_bytes: int = 0
    connections: int = 0
    failures: int = 0
    """Attempts in a row that brought no event."""
    newest: float | None = None
    """The `meta.dt` of the last event, in seconds since the epoch."""
    away: str | None = "not connected yet"
    """Why the feed sends nothing, None where it does."""
    full: str | None = None
    """Why nothing can be handed on, None where it can."""
    gaps: list[Gap] = field(default_factory=list)
    minutes: Counter[int] = field(default_factory=Counter)
    """{minutes since the epoch: distinct changes}: those that were handed on."""
    beat: float = field(default_factory=time.monotonic)
    """When the event loop last had a turn, by the monotonic clock."""


class Collector:
    """Takes events from `feed` into `spool`: files of at most `file_bytes`, finished after `file_seconds`."""

    def __init__(self, feed: Feed, spool: Spool, file_bytes: int, file_seconds: float, state: State) -> None:
        self._feed = feed
        self._spool = spool
        self._file_bytes = file_bytes
        self._file_seconds = file_seconds
        self._state = state
        self._position = spool.position()
        self._stored_id = self._position.last_id
        self._lines: list[bytes] = []
        self._size = 0
        self._pending = asyncio.Event()
        self._due = 0.0
        self._show()

    async def run(self) -> None:
        """Collect until cancelled; then hand on what there is. Raises Fatal where going on makes no sense."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow_for_ever())
                tasks.create_task(self._finish_in_time())
                tasks.create_task(self._beat())
        finally:
            if not self._handed_on():
                log.warning("%d changes are not handed on; they are taken from the feed again", len(self._lines))

    async def _follow_for_ever(self) -> None:
        async with self._feed.client() as client:
            while True:
                asked = await self._follow(client)
                wait = asked + random.uniform(0, 1) if asked is not None else back_off(self._state.failures)
                await asyncio.sleep(wait)

    async def _follow(self, client: httpx.AsyncClient) -> float | None:
        """One connection, until it ends; the wait in seconds that the feed asks for before the next one."""
        self._state.connections += 1
        self._state.failures += 1
        try:
            async with self._feed.events(client, self._position.resume_id()) as events, aclosing(events):
                async for event in events:
                    self._take(event)
                    if self._size >= self._file_bytes or self._state.full or self._is_new:
                        await self._hand_on()
            log.info("%s closed the connection, as it does every 15 minutes", self._feed.name)
            if self._state.failures:
                self._state.away = f"{self._feed.name} closes connections before it sends anything"
        except TooOld as refusal:
            await self._lose(refusal)
        except Retry as error:
            self._state.away = str(error)
            log.warning("%s; attempt %d", error, self._state.failures)
            return error.retry_after
        return None

    @property
    def _is_new(self) -> bool:
        """Whether a restart would begin from its own time on: so the first position is stored at once."""
        return self._stored_id is None and self._position.last_id is not None

    async def _lose(self, refusal: TooOld) -> None:
        gap = self._position.lose()
        log.error("LOST: %s. The changes from %s to %s (%.0f s) are lost", refusal, gap.start, gap.end, gap.seconds)
        self._state.away = str(refusal)
        await self._hand_on()

    def _take(self, event: ServerSentEvent) -> None:
        if not event.data:  # it is no event then, by the rules of server-sent events
            return
        state, position, change = self._state, self._position, read(event.data)
        state.failures, state.away = 0, None
        position.advance(event.id)
        self._plan()
        if change.canary:
            state.canaries += 1
        elif position.knows(change.identity):
            state.repeats += 1
        else:
            position.take(change.identity, change.made)
            self._lines.append(change.line)
            self._size += len(change.line) + 1
            state.events += 1
            state.odd += change.odd
            state.newest = change.made or state.newest

    def _plan(self) -> None:
        """A file is due so long after its first event; a position without a file as well."""
        if not self._pending.is_set():
            self._due = time.monotonic() + self._file_seconds
            self._pending.set()

    async def _finish_in_time(self) -> None:
        while True:
            await self._pending.wait()
            if (wait := self._due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            else:
                await self._hand_on()

    async def _hand_on(self) -> None:
        """Returns once it is done: while the spool is full, nobody reads the connection."""
        while not self._handed_on():  # noqa: ASYNC110 - Flume does not tell when it has made room
            await asyncio.sleep(FULL_POLL_SECONDS)

    def _handed_on(self) -> bool:
        try:
            self._spool.hand_on(self._lines, self._position)
        except Full as error:
            if self._state.full is None:
                log.warning("%s; nothing is read until there is room", error)
            self._state.full = str(error)
            return False
        finally:
            self._state.spool_bytes = self._spool.bytes
        self._state.bytes += self._size
        self._lines, self._size, self._state.full = [], 0, None
        self._stored_id = self._position.last_id
        self._pending.clear()
        self._show()
        return True

    def _show(self) -> None:
        self._state.minutes = Counter(self._position.minutes)
        self._state.gaps = self._position.gaps
        self._state.files = self._position.files
        self._state.spool_bytes = self._spool.bytes

    async def _beat(self) -> None:
        while True:
            self._state.beat = time.monotonic()
            await asyncio.sleep(BEAT_SECONDS)
