"""What flows from a source to a topic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

Value: TypeAlias = float | int | str | bool | None

Record: TypeAlias = dict[str, Value]
"""One row as {field name: Avro physical value}: a timestamp is an int of ms since the epoch, a date an int of days.

Physical values, not datetimes, because every record is encoded once and never read as a date on the way.
"""


@dataclass(frozen=True)
class Unusable:
    """What a source got in the place of a record: `raw` as JSON types, and why no record can be made of it."""

    raw: Any
    reason: str
