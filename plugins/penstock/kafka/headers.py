"""The headers of Penstock's records: which attempt of which batch a record belongs to, and why one was set aside."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from penstock.core.errors import Fatal

BATCH_ID = "batch_id"
AS_OF = "as_of"
REASON = "reason"
SOURCE_TOPIC = "source_topic"
SOURCE_PARTITION = "source_partition"
SOURCE_OFFSET = "source_offset"
REPLAY_OF = "replay_of"
"""The dead letter that a record is the replay of."""


def attempt(batch_id: str, as_of: datetime) -> list[tuple[str, str | bytes | None]]:
    """The headers that every record of one attempt carries."""
    return [(BATCH_ID, batch_id.encode()), (AS_OF, stamp(as_of).encode())]


def stamp(time: datetime) -> str:
    """`time` in ISO 8601, in UTC, with microseconds. Raises Fatal where it has no time zone."""
    if time.tzinfo is None:
        raise Fatal(f"the as-of time {time.isoformat()} has no time zone: give it in UTC")
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def text(headers: Mapping[str, bytes], name: str) -> str | None:
    """The value of one header, or None where it is absent. Bytes that are no UTF-8 show as they are."""
    value = headers.get(name)
    return None if value is None else value.decode(errors="backslashreplace")


def time(headers: Mapping[str, bytes], name: str = AS_OF) -> datetime | None:
    """The time that `stamp` wrote, or None where the header is absent. Raises Fatal where it is no such time."""
    value = text(headers, name)
    if value is None:
        return None
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except ValueError as error:
        raise Fatal(f"the header {name} is {value!r}, not a time in ISO 8601") from error
