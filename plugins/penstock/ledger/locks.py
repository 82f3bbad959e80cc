"""Locks that end with the process that holds them, whatever becomes of it: PostgreSQL's advisory locks.

https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from penstock.core.errors import Retry
from penstock.ledger import postgres

_PAUSE_SECONDS = 0.2


def lock_key(name: str) -> int:
    """The 64-bit key under which PostgreSQL knows the lock."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


class Occupied(Retry):
    """Another process holds the lock."""


class Lock:
    """A lock that is held. Threads may share it."""

    def __init__(self, address: postgres.Address, session: postgres.Connection) -> None:
        self._address = address
        self._session = session

    def check(self) -> None:
        """Raise Retry where the lock was lost, because the session has ended or the database does not answer."""
        with postgres.translated(self._address):
            self._session.execute("SELECT 1")


@contextmanager
def held_lock(url: str, name: str, patience: float) -> Iterator[Lock]:
    """Hold the lock `name` during the block.

    Raises Occupied where another holds it for `patience` seconds, Retry where the database is away, and at the end
    where the lock was lost on the way: another may then have worked beside this one.
    """
    address = postgres.Address(url)
    with closing(postgres.connect(address)) as session:
        with postgres.translated(address):
            _acquire(session, name, time.monotonic() + patience)
        lock = Lock(address, session)
        yield lock
        lock.check()


def _acquire(session: postgres.Connection, name: str, deadline: float) -> None:
    while not session.execute("SELECT pg_try_advisory_lock(%s)", (lock_key(name),)).fetchone()[0]:  # type: ignore[index]  # one row, always
        if time.monotonic() > deadline:
            raise Occupied(f"another process has been {name} for too long: this one waits for the next try")
        time.sleep(_PAUSE_SECONDS)
