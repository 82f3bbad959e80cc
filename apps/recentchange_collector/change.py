"""What the collector must know of an event's data; the data itself goes on as it came."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

_CANARY = "canary"


class _Meta(msgspec.Struct):
    id: Any = None
    domain: Any = None
    dt: Any = None


class _Event(msgspec.Struct):
    meta: _Meta


_EVENTS = msgspec.json.Decoder(_Event)


class Change(NamedTuple):
    """`line` is the data on one line, `identity` the same in every repetition.

    `made` is `meta.dt` in seconds since the epoch, None where it has none that can be read. An `odd` one has no
    `meta.id`, or is no JSON object at all: what reads the topic judges it.
    """

    line: bytes
    identity: str
    made: float | None
    canary: bool
    odd: bool


def read(data: str) -> Change:
    """Of an event's data, which may have come in several lines: JSON means the same in one."""
    line = data.replace("\n", " ").encode()
    try:
        meta = _EVENTS.decode(line).meta
    except (msgspec.DecodeError, RecursionError):
        meta = _Meta()
    named = isinstance(meta.id, str) and meta.id != ""
    identity = meta.id if named else hashlib.blake2b(line, digest_size=16).hexdigest()
    return Change(line, identity, _seconds(meta.dt), meta.domain == _CANARY, not named)


def _seconds(text: Any) -> float | None:
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return time.timestamp() if time.tzinfo else None
