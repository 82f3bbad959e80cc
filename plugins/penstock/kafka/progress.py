"""How far a reader of a partition is that keeps more in mind than an offset: the metadata of its commits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Progress:
    """Where a counter of a partition goes on after a restart, and what it must know there.

    `offset` is the first record to be read again. Those before `position` have been dealt with: of them, only records
    of minutes that are not closed are counted anew. `newest` is the newest event time so far; all minutes before
    `closed_before` are closed. Both are in ms since the epoch, None before the first record. `late` counts records so
    far that came after their minute was closed.
    """

    offset: int
    position: int
    newest: int | None = None
    closed_before: int | None = None
    late: int = 0

    @classmethod
    def read(cls, offset: int, metadata: str | None) -> Progress:
        """What `metadata` says beside a committed `offset`. Another program's tells nothing but the offset."""
        found = _parsed(metadata)
        if found is None or found["position"] < offset:
            return cls(offset, offset)
        return cls(offset, found["position"], found.get("newest"), found.get("closed_before"), found.get("late") or 0)

    def metadata(self) -> str:
        """All but the offset, as a line of JSON; well below the 4,096 bytes that brokers take by default."""
        told = {
            "position": self.position,
            "newest": self.newest,
            "closed_before": self.closed_before,
            "late": self.late,
        }
        return json.dumps(told, separators=(",", ":"))


def _parsed(metadata: str | None) -> dict[str, Any] | None:
    try:
        # What the client hands over may have stray bytes after its end.
        found, _ = _DECODER.raw_decode(metadata or "")
    except ValueError:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("position"), int):
        return None
    others = (found.get(name) for name in ("newest", "closed_before", "late"))
    return found if all(value is None or isinstance(value, int) for value in others) else None
