"""One budget of calls for all workers, kept in the ledger's PostgreSQL and timed by its clock."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import timedelta

import psycopg

from penstock.core.errors import Fatal, Retry
from penstock.core.settings import OpenMeteo
from penstock.ledger import postgres

log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 120.0

_LOCK = "SELECT pg_advisory_lock(%(lock)s)"

_PRUNE = "DELETE FROM calls WHERE host = %(host)s AND at < clock_timestamp() - %(longest)s"

_RECORD = "INSERT INTO calls (host, weight) VALUES (%(host)s, %(weight)s)"

# Newest first, a call and all later ones weigh `spent`. Where that and the new call are above a window's limit, this
# call has to leave the window first, which the newest such call does last.
_WAIT = """
    WITH recent AS (
        SELECT at, sum(weight) OVER (ORDER BY at DESC, id DESC) AS spent FROM calls WHERE host = %(host)s
    )
    SELECT extract(epoch FROM greatest(
        (SELECT until FROM blocks WHERE host = %(host)s),
        (
            SELECT max(recent.at + windows.length)
            FROM recent
            JOIN unnest(%(lengths)s::interval[], %(limits)s::numeric[]) AS windows (length, calls)
                ON recent.spent + %(weight)s::numeric > windows.calls
        )
    ) - clock_timestamp())::float
"""

_BLOCK = """
    INSERT INTO blocks (host, until) VALUES (%(host)s, clock_timestamp() + %(wait)s)
    ON CONFLICT (host) DO UPDATE SET until = greatest(blocks.until, excluded.until)
"""


class CallBudget:
    """Limits the calls of all workers that share one ledger: one request at a time per host, so many calls a window.

    The turn is a lock of the database session, so a worker that dies gives it back. The windows slide: no period of a
    window's length sees more calls than its limit, wherever the host's own clock puts its boundaries.
    """

    def __init__(
        self,
        url: str,
        windows: Mapping[timedelta, int],
        *,
        patience: float = _PATIENCE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`windows` is {length: calls}, 0 calls meaning no limit; waits up to `patience` seconds are waited here.

        Raises Fatal where `url` is no PostgreSQL address.
        """
        self._address = postgres.Address(url)
        self._windows = {length: calls for length, calls in windows.items() if calls}
        self._patience = patience
        self._sleep = sleep

    @classmethod
    def of(cls, settings: OpenMeteo, url: str) -> CallBudget:
        """The budget that the settings give Open-Meteo's hosts."""
        return cls(
            url,
            {
                timedelta(minutes=1): settings.per_minute,
                timedelta(hours=1): settings.per_hour,
                timedelta(days=1): settings.per_day,
            },
        )

    @contextmanager
    def spend(self, host: str, weight: float) -> Iterator[None]:
        """Wait for the turn at `host`, count one request as `weight` calls, and hold the turn while the block runs.

        A Retry with `retry_after` that leaves the block is the host's own wish: all workers keep to it. Raises Retry,
        with `retry_after` in seconds, where the turn or the budget is further away than the patience; Fatal where
        `weight` is above a window's limit, so that the request can never be made.
        """
        self._check_ever_fits(host, weight)
        with self._turn(host, weight) as session:
            if self._windows:
                with postgres.translated(self._address):
                    session.execute(_PRUNE, {"host": host, "longest": max(self._windows)})
                    session.execute(_RECORD, {"host": host, "weight": weight})
            try:
                yield
            except Retry as error:
                if error.retry_after:
                    self.blocked(host, error.retry_after)
                raise

    def blocked(self, host: str, wait: float) -> None:
        """Note that `host` asked for `wait` seconds without a call, counted from now."""
        with postgres.translated(self._address), closing(postgres.connect(self._address)) as session:
            session.execute(_BLOCK, {"host": host, "wait": timedelta(seconds=wait)})

    def _check_ever_fits(self, host: str, weight: float) -> None:
        for length, calls in self._windows.items():
            if weight > calls:
                raise Fatal(
                    f"one request to {host} counts as {weight:g} calls, above the limit of {calls} in {length}: "
                    "ask for less at once"
                )

    @contextmanager
    def _turn(self, host: str, weight: float) -> Iterator[postgres.Connection]:
        """A session that holds the host's lock at a time when `weight` calls fit. Closing it frees the lock."""
        deadline = time.monotonic() + self._patience
        # The lock's own time-out comes first; the statement's must not cut it short.
        with closing(postgres.connect(self._address, statement_timeout=self._patience + 30)) as session:
            with postgres.translated(self._address):
                self._take_lock(session, host, weight)
                self._wait_for_room(session, host, weight, deadline)
            yield session

    def _take_lock(self, session: postgres.Connection, host: str, weight: float) -> None:
        milliseconds = max(1, round(self._patience * 1000))  # 0 would wait for ever
        session.execute("SELECT set_config('lock_timeout', %s, false)", (f"{milliseconds}ms",))
        try:
            session.execute(_LOCK, {"lock": _lock_key(host)})
        except psycopg.errors.LockNotAvailable as error:
            raise Retry(
                f"other requests have kept {host} busy for {self._patience:g} s",
                retry_after=max(self._wait(session, host, weight), 1.0),
            ) from error

    def _wait_for_room(self, session: postgres.Connection, host: str, weight: float, deadline: float) -> None:
        while (wait := self._wait(session, host, weight)) > 0:
            if time.monotonic() + wait > deadline:
                raise Retry(f"the calls that {host} allows are used up for another {wait:.0f} s", retry_after=wait)
            log.info("waiting %.1f s for the budget of %s", wait, host)
            self._sleep(wait)

    def _wait(self, session: postgres.Connection, host: str, weight: float) -> float:
        """Seconds until `weight` more calls fit; not above 0 where they fit now."""
        parameters = {
            "host": host,
            "weight": weight,
            "lengths": list(self._windows),
            "limits": list(self._windows.values()),
        }
        ((wait,),) = session.execute(_WAIT, parameters).fetchall()
        return 0.0 if wait is None else float(wait)


def _lock_key(host: str) -> int:
    """A 64-bit advisory lock's key."""
    return int.from_bytes(hashlib.sha256(f"penstock.calls:{host}".encode()).digest()[:8], "big", signed=True)
