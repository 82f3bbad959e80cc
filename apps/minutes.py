"""What a program has counted per minute of event time, and the answer to who asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from apps.status_server import BadQuestion

MINUTE_MS = 60_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def minute_of(at_ms: int) -> int:
    """When the minute of an event time begins. Both are in ms since the epoch."""
    return at_ms - at_ms % MINUTE_MS


def to_text(minute: int) -> str:
    """A time in ms since the epoch, in ISO 8601 with whole seconds: 2026-11-22T15:01:00Z."""
    return (_EPOCH + minute * _MS).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_text(text: str) -> int:
    """In ms since the epoch. Raises ValueError where the text is no time in ISO 8601 with its UTC offset."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text} has no UTC offset")
    return (time - _EPOCH) // _MS


def answer(counts: Mapping[int, int], question: Mapping[str, str]) -> dict[str, Any]:
    """The counts of the minutes that begin from `from` on and before `to`; without these, of all.

    `counts` is {minute in ms since the epoch: events}. Raises BadQuestion.
    """
    first, end = _bound(question, "from"), _bound(question, "to")
    chosen = {
        to_text(minute): count
        for minute, count in sorted(counts.items())
        if (first is None or minute >= first) and (end is None or minute < end)
    }
    return {"minutes": chosen}


def _bound(question: Mapping[str, str], name: str) -> int | None:
    if name not in question:
        return None
    try:
        return from_text(question[name])
    except ValueError:
        raise BadQuestion(
            f"{name} is {question[name]!r}: give a time in ISO 8601 with its UTC offset, such as 2026-11-22T15:01:00Z"
        ) from None
