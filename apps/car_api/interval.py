"""The parameters of a question about an interval, each checked and refused in one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from apps.car_api.sales import EPOCH, Sales, sale
from penstock.core.batch import Interval
from penstock.core.record import Record

LONGEST = timedelta(days=31)
"""The longest interval: about 450,000 sales, in 90 pages."""

MOST = 10_000
"""Sales of one page: about 2.6 MB of JSON."""

_CLOCKS_DIFFER = timedelta(seconds=5)
"""How far another machine's clock may be ahead of this one's: a run asks as soon as its interval is over."""

_LARGEST_ID = 2**63 - 1


class BadQuestion(Exception):
    """The question cannot be answered; the message is one sentence."""


@dataclass(frozen=True)
class Question:
    """Which sales are asked for: those of `interval` with an id above `after`, at most `limit` of them."""

    interval: Interval
    after: int | None
    limit: int

    @classmethod
    def parse(cls, start: str | None, end: str | None, after: str | None, limit: str | None, now: datetime) -> Question:
        """Raises BadQuestion for what is missing, is no such value, or names a time that is not over by `now`."""
        first, last = _time("from", start), _time("to", end)
        if last <= first:
            raise BadQuestion(f"to ({_text(last)}) is not after from ({_text(first)})")
        if first < EPOCH:
            raise BadQuestion(f"from is {_text(first)}, and the first sale was at {_text(EPOCH)}")
        if last > now + _CLOCKS_DIFFER:
            raise BadQuestion(f"to is {_text(last)}, in the future: it is {_text(now)}")
        if last - first > LONGEST:
            raise BadQuestion(
                f"the interval is {last - first} long, and the longest one is {LONGEST.days} days: split it"
            )
        return cls(
            Interval(first, last),
            _whole("after", after, 0, _LARGEST_ID) if after is not None else None,
            _whole("limit", limit, 1, MOST) if limit is not None else MOST,
        )

    def answer(self) -> Page:
        """The page that it asks for."""
        whole = Sales.between(self.interval.start, self.interval.end)
        rest = Sales(max(whole.first, self.after + 1), whole.end) if self.after is not None else whole
        found = [sale(tick) for tick in rest.ids(self.limit)]
        more = len(rest) > len(found)
        return Page(len(whole), found, int(str(found[-1]["transaction_id"])) if more else None)


@dataclass(frozen=True)
class Page:
    """Some sales of an interval that has `total`, by their ids; `next` is the last one's where more follow."""

    total: int
    transactions: list[Record]
    next: int | None


def _time(name: str, text: str | None) -> datetime:
    if not text:
        raise BadQuestion(f"{name} is missing: give a time such as 2026-03-31T07:00:00Z")
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        hint = f"; a + must be written %2B: {text.replace(' ', '%2B')}" if " " in text.strip()[-7:] else ""
        raise BadQuestion(f"{name} is {text[:50]!r}, not a time such as 2026-03-31T07:00:00Z{hint}") from None
    if time.tzinfo is None:
        raise BadQuestion(f"{name} is {text!r}, without a UTC offset: write {text}Z")
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise BadQuestion(f"{name} is {text!r}, beyond the calendar") from None


def _whole(name: str, text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most):
        raise BadQuestion(f"{name} is {text[:50]!r}, not a whole number from {least} to {most}")
    return int(text)


def _text(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
