"""What each hop hands to the next: plain counts and offsets, small enough for an XCom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from penstock.core.record import Value


@dataclass(frozen=True)
class OffsetRange:
    """Offsets [start, end) of one partition that hold a batch's records.

    Other writers' records, aborted ones and transaction markers may lie between, so a range's length is not a count.
    """

    partition: int
    start: int
    end: int


@dataclass(frozen=True)
class Replayed:
    """A dead letter of a batch that was put on the topic again: where it lies now, and as of when it is.

    `replaced` is the partition and offset of the record whose place it takes, or None where that never was on the
    topic.
    """

    partition: int
    offset: int
    as_of: datetime
    replaced: tuple[int, int] | None = None


@dataclass(frozen=True)
class Produced:
    """What one committed attempt to produce a batch put on its topic.

    fetched = acked: every record of the source was acknowledged by the broker, on the topic or, for `rejected` of
    them, on its dead-letter topic. `as_of` is the UTC time at which the fetch began.

    On a shared topic, `taken_up` of these records are others', who had them acknowledged; they are those in `claimed`
    that no batch's headers name. Each is as of its own timestamp.

    `replays` are those of its dead letters, and of its landing's, that have landed since: they are `rejected` no more.
    """

    batch_id: str
    topic: str
    schema_id: int
    as_of: datetime
    fetched: int
    acked: int
    rejected: int
    ranges: tuple[OffsetRange, ...]
    taken_up: int = 0
    claimed: tuple[OffsetRange, ...] = ()
    replays: tuple[Replayed, ...] = ()

    @property
    def on_topic(self) -> int:
        """How many of its records the topic must hold: all but those that went to the dead letters at once."""
        return self.acked - self.rejected

    def with_claim(self, claimed: Sequence[OffsetRange], taken_up: int) -> Produced:
        """With others' records beside its own."""
        return replace(
            self,
            fetched=self.fetched + taken_up,
            acked=self.acked + taken_up,
            taken_up=taken_up,
            claimed=tuple(claimed),
        )

    def with_replays(self, replays: Sequence[Replayed]) -> Produced:
        """With some of its dead letters on the topic."""
        added = sum(each.replaced is None for each in replays)
        return replace(self, rejected=self.rejected - added, replays=(*self.replays, *replays))

    def to_json(self) -> dict[str, Any]:
        """Only JSON types, for an XCom, a request file or the ledger. Replays come later, and are left out."""
        return {name: value for name, value in asdict(self).items() if name != "replays"} | {
            "as_of": self.as_of.isoformat(),
            "ranges": [asdict(each) for each in self.ranges],
            "claimed": [asdict(each) for each in self.claimed],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Produced:
        """Read what `to_json` wrote."""
        return cls(
            **data
            | {
                "as_of": datetime.fromisoformat(data["as_of"]),
                "ranges": tuple(OffsetRange(**each) for each in data["ranges"]),
                "claimed": tuple(OffsetRange(**each) for each in data.get("claimed", ())),
            }
        )


@dataclass(frozen=True)
class Landed:
    """What the landing job did with one batch.

    read = landed + rejected + duplicates. `duplicates` repeat a key of the same batch; `foreign` records of other
    batches lay within the offset ranges and were left to their own.
    """

    batch_id: str
    read: int
    landed: int
    rejected: int
    duplicates: int = 0
    foreign: int = 0

    def with_replays(self, replays: Sequence[Replayed]) -> Landed:
        """With dead letters of the batch that have landed: some had been rejected by landing, some by produce."""
        added = sum(each.replaced is None for each in replays)
        return replace(
            self,
            read=self.read + added,
            landed=self.landed + len(replays),
            rejected=self.rejected - (len(replays) - added),
        )

    def to_json(self) -> dict[str, Any]:
        """Only JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Landed:
        """Read what `to_json` wrote."""
        return cls(**data)


@dataclass(frozen=True)
class Extent:
    """Where in a table the rows of one batch are: partition keys, and the event times from `first` to `last`.

    In InfluxDB, whose points have no partition key, these are their tag values. Times are the contract's physical
    values (ms or days since the epoch), both inclusive.
    """

    partitions: tuple[tuple[Value, ...], ...]
    first: int
    last: int

    def to_json(self) -> dict[str, Any]:
        """Only JSON types."""
        return {"partitions": [list(each) for each in self.partitions], "first": self.first, "last": self.last}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Extent:
        """Read what `to_json` wrote."""
        return cls(tuple(tuple(each) for each in data["partitions"]), data["first"], data["last"])

    @classmethod
    def around(cls, extents: Sequence[Extent]) -> Extent | None:
        """The extent that covers all of `extents`, or None where there are none."""
        if not extents:
            return None
        partitions = dict.fromkeys(partition for extent in extents for partition in extent.partitions)
        return cls(tuple(partitions), min(each.first for each in extents), max(each.last for each in extents))


@dataclass(frozen=True)
class Count:
    """The rows of an extent, by who wrote them last: the batch itself, or another with a newer or an older as-of time.

    A batch has landed whole where own + newer is at least what it landed; `older` rows in its place are missing ones.
    """

    own: int
    newer: int = 0
    older: int = 0
