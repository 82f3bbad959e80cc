"""The services in the ledger: what outlives a restart of Airflow, and what a status page shows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.core.service import Desired, State
from penstock.ledger import postgres

_LONGEST_REASON = 1_000

_ADD = "INSERT INTO services (name) VALUES (%(name)s) ON CONFLICT (name) DO NOTHING"

_DESIRE = """
    INSERT INTO services (name, desired, desired_by) VALUES (%(name)s, %(desired)s, %(by)s)
    ON CONFLICT (name) DO UPDATE SET
        desired = excluded.desired, desired_by = excluded.desired_by, desired_since = clock_timestamp()
"""

_TAKE_WATCH = """
    INSERT INTO services (name, watcher, watched_since) VALUES (%(name)s, %(watcher)s, clock_timestamp())
    ON CONFLICT (name) DO UPDATE SET watcher = excluded.watcher, watched_since = excluded.watched_since
"""

# What a person did gives the service its whole budget back.
_ORDERS = """
    SELECT desired, desired_by, watcher,
        extract(epoch FROM clock_timestamp() - watched_since)::float AS watched_for,
        ARRAY(
            SELECT extract(epoch FROM clock_timestamp() - at)::float FROM service_restarts
            WHERE service = name AND at > greatest(desired_since, clock_timestamp() - %(window)s)
            ORDER BY at DESC
        ) AS restart_ages
    FROM services WHERE name = %(name)s
"""

_SEEN = """
    INSERT INTO services (name, state, reason, pid, seen)
    VALUES (%(name)s, %(state)s, %(reason)s, %(pid)s, clock_timestamp())
    ON CONFLICT (name) DO UPDATE SET
        state = excluded.state,
        reason = excluded.reason,
        pid = excluded.pid,
        seen = excluded.seen,
        since = CASE WHEN services.state = excluded.state THEN services.since ELSE excluded.seen END
"""

_RESTARTED = "INSERT INTO service_restarts (service, reason) VALUES (%(name)s, %(reason)s)"

_ROWS = """
    SELECT name, desired, desired_by, state, reason, since, pid, seen,
        (SELECT count(*) FROM service_restarts WHERE service = name AND at > clock_timestamp() - %(window)s) AS restarts
    FROM services
    WHERE %(names)s::text[] IS NULL OR name = ANY (%(names)s)
    ORDER BY name
"""


@dataclass(frozen=True)
class Orders:
    """What a watch must know before it acts. Times are in seconds, by the database's clock.

    `restart_ages` are those of the restarts in the budget's window since a person last acted, the youngest first.
    """

    desired: Desired = Desired.STARTED
    desired_by: str = "default"
    watcher: str | None = None
    watched_for: float | None = None
    restart_ages: tuple[float, ...] = ()


@dataclass(frozen=True)
class ServiceRow:
    """What the ledger says of one service. `since` is that of its state; `restarts` are those of the last day."""

    name: str
    desired: Desired
    desired_by: str
    state: State
    reason: str
    since: datetime
    pid: int | None
    seen: datetime | None
    restarts: int

    def to_json(self) -> dict[str, Any]:
        """Only JSON types; times in ISO 8601, in UTC."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(self).items()
        }


class Services:
    """The services' tables in the ledger at an address.

    It keeps one session, which threads may share, and makes a new one after a failure. All methods raise Retry where
    the database is away, and Fatal where it refuses.
    """

    def __init__(self, url: str) -> None:
        """Raises Fatal where `url` is no PostgreSQL address."""
        self._session = postgres.Kept(url)

    def __repr__(self) -> str:
        return f"Services({self._session.address})"

    def close(self) -> None:
        """End the session."""
        self._session.close()

    def desire(self, name: str, desired: Desired, by: str) -> None:
        """Write down what a person, `by` name, wants; the restart budget begins anew."""
        self._session.execute(_DESIRE, {"name": name, "desired": desired, "by": by})

    def take_watch(self, name: str, watcher: str) -> None:
        """Make `watcher` the one that may act; an earlier one finds out when it next asks for its orders."""
        self._session.execute(_TAKE_WATCH, {"name": name, "watcher": watcher})

    def orders(self, name: str, window: timedelta) -> Orders:
        """What a watch of `name` must know; the defaults where the ledger has not heard of it."""
        rows = self._session.execute(_ORDERS, {"name": name, "window": window})
        if not rows:
            return Orders()
        (row,) = rows
        ages = tuple(row.pop("restart_ages"))
        return Orders(Desired(row.pop("desired")), restart_ages=ages, **row)

    def seen(self, name: str, state: State, reason: str, pid: int | None) -> None:
        """Write down what a look has found."""
        self._session.execute(
            _SEEN, {"name": name, "state": state, "reason": reason[:_LONGEST_REASON].replace("\0", ""), "pid": pid}
        )

    def restarted(self, name: str, reason: str) -> None:
        """Count one restart; to be called before it is made, so that one that fails counts as well."""
        self._session.execute(_ADD, {"name": name})
        self._session.execute(_RESTARTED, {"name": name, "reason": reason[:_LONGEST_REASON].replace("\0", "")})

    def rows(self, names: Sequence[str] | None = None) -> list[ServiceRow]:
        """The services, all where no `names` are given, in the order of their names."""
        found = self._session.execute(
            _ROWS, {"names": None if names is None else list(names), "window": timedelta(days=1)}
        )
        return [
            ServiceRow(
                **row
                | {
                    "desired": Desired(row["desired"]),
                    "state": State(row["state"]),
                    "since": row["since"].astimezone(UTC),
                    "seen": row["seen"].astimezone(UTC) if row["seen"] else None,
                }
            )
            for row in found
        ]

    @contextmanager
    def only_one(self, name: str) -> Iterator[bool]:
        """Whether this is the only one, in any process, that is at work on the service while the block runs.

        The lock is that of a session of its own: it ends with its holder, however that ends.
        """
        address = self._session.address
        with postgres.translated(address), closing(postgres.connect(address)) as session:
            ((alone,),) = session.execute("SELECT pg_try_advisory_lock(%s)", (_lock_key(name),)).fetchall()
            yield bool(alone)


def _lock_key(name: str) -> int:
    """A 64-bit advisory lock's key."""
    return int.from_bytes(hashlib.sha256(f"penstock.services:{name}".encode()).digest()[:8], "big", signed=True)
