"""How old the newest landed data of each data set is, held against its limit.

The ledger tells, and nothing that lands anything is asked: what has stopped grows old.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from penstock.core.pipeline import Pipeline
from penstock.core.stream import Stream
from penstock.ledger.store import Ledger


@dataclass(frozen=True)
class Freshness:
    """`newest` is up to when data has landed and `age` the time since, or both are None where none has.

    That is the end of a pipeline's newest interval that landed anything, and of a stream's newest minute that is out.
    """

    data_set: str
    limit: timedelta
    newest: datetime | None
    age: timedelta | None

    @property
    def fresh(self) -> bool:
        """Whether something has landed and is not older than the limit."""
        return self.age is not None and self.age <= self.limit

    def __str__(self) -> str:
        if self.newest is None or self.age is None:
            return f"{self.data_set}: nothing has landed yet"
        judged = "fresh" if self.fresh else "stale"
        newest = f"{self.newest:%Y-%m-%d %H:%M} UTC"
        return f"{self.data_set}: {judged}, landed up to {newest}, {_short(self.age)} ago (limit {_short(self.limit)})"


def freshness(ledger: Ledger, data_sets: Iterable[Pipeline | Stream]) -> list[Freshness]:
    """Judge every stream, and every pipeline that has a schedule: one that only a person starts can't be late.

    Ages are by the database's clock. Raises Retry where the ledger is away.
    """
    judged = [each for each in data_sets if each.schedule is not None]
    newest = {
        **ledger.newest_landed([each.name for each in judged if not isinstance(each, Stream)]),
        **ledger.newest_minutes([each.name for each in judged if isinstance(each, Stream)]),
    }
    return [Freshness(each.name, each.freshness, *(newest[each.name] or (None, None))) for each in judged]


def _short(time: timedelta) -> str:
    """Whole minutes, as `2d 3h 5m`; a time that is not yet reached has a minus sign."""
    minutes = int(abs(time).total_seconds()) // 60
    parts = ((minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60, "m"))
    text = " ".join(f"{value}{unit}" for value, unit in parts if value) or "0m"
    return f"-{text}" if time < timedelta(0) and minutes else text
