"""How old the newest landed data of each pipeline is, held against its limit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from penstock.core.pipeline import Pipeline
from penstock.ledger.store import Ledger


@dataclass(frozen=True)
class Freshness:
    """`newest` is the end of the newest interval that landed anything and `age` the time since, or both are None."""

    pipeline: str
    limit: timedelta
    newest: datetime | None
    age: timedelta | None

    @property
    def fresh(self) -> bool:
        """Whether something has landed and is not older than the limit."""
        return self.age is not None and self.age <= self.limit

    def __str__(self) -> str:
        if self.newest is None or self.age is None:
            return f"{self.pipeline}: nothing has landed yet"
        judged = "fresh" if self.fresh else "stale"
        newest = f"{self.newest:%Y-%m-%d %H:%M} UTC"
        return f"{self.pipeline}: {judged}, landed up to {newest}, {_short(self.age)} ago (limit {_short(self.limit)})"


def freshness(ledger: Ledger, pipelines: Iterable[Pipeline]) -> list[Freshness]:
    """Judge every pipeline that has a schedule: one that only a person starts can't be late.

    Ages are by the database's clock. Raises Retry where the ledger is away.
    """
    limits = {each.name: each.freshness for each in pipelines if each.schedule is not None}
    newest = ledger.newest_landed(list(limits))
    return [Freshness(name, limit, *(newest[name] or (None, None))) for name, limit in limits.items()]


def _short(time: timedelta) -> str:
    """Whole minutes, as `2d 3h 5m`; a time that is not yet reached has a minus sign."""
    minutes = int(abs(time).total_seconds()) // 60
    parts = ((minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60, "m"))
    text = " ".join(f"{value}{unit}" for value, unit in parts if value) or "0m"
    return f"-{text}" if time < timedelta(0) and minutes else text
