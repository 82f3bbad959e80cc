"""Wikimedia's recent changes, as EventStreams sends them: what of an event is counted.

https://wikitech.wikimedia.org/wiki/Event_Platform/EventStreams_HTTP_Service
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

from penstock.core.errors import Reject
from penstock.core.record import Record

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


class Event(TypedDict, total=False):
    """The fields of an event that are read; nothing is known of their values."""

    meta: Any
    wiki: Any
    type: Any


def normalise(event: Event) -> Record:
    """The contract's record of one event. Raises Reject where it has no id, time, wiki or type that can be read.

    The time is `meta.dt`, when the event was made; `timestamp`, when the change was, has whole seconds only.
    """
    if not isinstance(event, Mapping):
        raise Reject(f"the event is a JSON {type(event).__name__}, not an object")
    meta = event.get("meta")
    if not isinstance(meta, Mapping):
        raise Reject("meta is missing")
    return {
        "id": _text("meta.id", meta.get("id")),
        "time": _time(_text("meta.dt", meta.get("dt"))),
        "wiki": _text("wiki", event.get("wiki")),
        "type": _text("type", event.get("type")),
    }


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise Reject(f"{name} is missing" if value in (None, "") else f"{name} is {value!r}, not a text")
    return value


def _time(text: str) -> int:
    """Ms since the epoch."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise Reject(f"meta.dt is {text!r}, not a time in ISO 8601") from None
    if time.tzinfo is None:
        raise Reject(f"meta.dt is {text!r}, without its UTC offset")
    return (time - _EPOCH) // _MS
