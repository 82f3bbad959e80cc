"""Whose records a landing finds on a topic, as of when each is, and what became of them.

There are two answers: a batch landing knows the attempts it lands, and a stream takes every record by its headers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.core.counts import OffsetRange, Produced
from penstock.kafka import headers
from penstock.sinks.base import AsOf, Written
from penstock.sinks.columns import Mask
from penstock.sinks.keys import Indices
from penstock.sinks.landing import Request, Tally

Offsets: TypeAlias = npt.NDArray[np.int64]

_FOREIGN = -1

_ERROR = [("error_kind", pa.string()), ("error", pa.string())]
ERROR = pa.schema(_ERROR)
ERROR_DDL = "error_kind string, error string"
"""What a task answers in any case: the error that ended it, where one did."""


@dataclass(frozen=True)
class Share:
    """The records of a window that are landed alike.

    `rows` are where they stand in it, and `as_of` is theirs, one time or each its own. `by_others` says that no batch
    of ours produced them. `owner` is what the Shares know them by; `unfit` names those that cannot be landed, by their
    place among `rows`. `schema_id` is that of an Avro body.
    """

    rows: Indices
    as_of: AsOf
    owner: int
    by_others: bool
    schema_id: int = 0
    unfit: Mapping[int, str] = field(default_factory=dict)

    def as_of_rows(self, rows: Indices) -> AsOf:
        """Those of some rows, by their place among `rows`."""
        return self.as_of if isinstance(self.as_of, datetime) else self.as_of.take(pa.array(rows))


class Shares(Protocol):
    """Divides a task's windows, and keeps account of each share."""

    DDL: ClassVar[str]
    """What `outcome` has, in Spark's DDL, the error included."""

    def of(self, window: pa.RecordBatch) -> Iterator[Share]:
        """The shares of a window; a record that nobody asked for is in none."""
        ...

    def note(self, share: Share, window: pa.RecordBatch, written: Written, rejects: Indices) -> None:
        """Of the share's records, in `window` alone, those at `rejects` were refused."""
        ...

    def outcome(self) -> pa.RecordBatch:
        """What became of all records."""
        ...


class BatchShares:
    """The records of the request's batches, counted batch by batch."""

    DDL: ClassVar[str] = (
        f"batch int, read bigint, landed bigint, rejected bigint, duplicates bigint, foreign bigint, {ERROR_DDL}"
    )
    _SCHEMA = pa.schema(
        [
            ("batch", pa.int32()),
            *((name, pa.int64()) for name in ("read", "landed", "rejected", "duplicates", "foreign")),
            *_ERROR,
        ]
    )

    def __init__(self, request: Request) -> None:
        self._batches = request.batches
        self._attempts = Attempts(request.batches)
        self.tallies: defaultdict[int, Tally] = defaultdict(Tally)

    def of(self, window: pa.RecordBatch) -> Iterator[Share]:
        """See Shares; those of one batch are one share, those that it took up another."""
        owner, others = self._attempts.owners(window)
        for batch, foreign in self._attempts.foreign(window, owner):
            self.tallies[batch] += Tally(foreign=foreign)
        for batch in np.unique(owner[owner != _FOREIGN]).tolist():
            produced = self._batches[batch]
            own, taken_up = (np.flatnonzero((owner == batch) & mask) for mask in (~others, others))
            if len(own):
                yield Share(own, produced.as_of, batch, by_others=False, schema_id=produced.schema_id)
            if len(taken_up):
                yield Share(
                    taken_up, _timestamps(window, taken_up), batch, by_others=True, schema_id=produced.schema_id
                )

    def note(self, share: Share, window: pa.RecordBatch, written: Written, rejects: Indices) -> None:
        """See Shares."""
        self.tallies[share.owner] += Tally(window.num_rows, written.landed, len(rejects), written.duplicates)

    def outcome(self) -> pa.RecordBatch:
        """A row for each batch."""
        rows = [{"batch": batch, **vars(tally)} for batch, tally in self.tallies.items()]
        return pa.RecordBatch.from_pylist(rows, schema=self._SCHEMA)


class Attempts:
    """Tells which of the attempts that are to be landed a record belongs to."""

    def __init__(self, batches: Sequence[Produced]) -> None:
        self._ids = pa.array([each.batch_id.encode() for each in batches], pa.binary())
        self._as_of = pa.array([headers.stamp(each.as_of).encode() for each in batches], pa.binary())
        self._ranges = [(batch, each) for batch, produced in enumerate(batches) for each in produced.ranges]
        self._claims = [(batch, each) for batch, produced in enumerate(batches) for each in produced.claimed]

    def owners(self, window: pa.RecordBatch) -> tuple[npt.NDArray[np.int64], Mask]:
        """The batch of each record, or -1 where it is of another attempt or of none; and which others wrote.

        A record is a batch's by its headers, or because it has none and lies where the batch has claimed.
        """
        owner, headless = self._by_headers(window.column("headers"))
        others = np.zeros(window.num_rows, dtype=np.bool_)
        if self._claims and headless.any():
            partitions, offsets = window.column("partition").to_numpy(), window.column("offset").to_numpy()
            for batch, each in self._claims:
                within = _within(each, partitions, offsets) & headless
                owner[within] = batch
                others |= within
        return owner, others

    def _by_headers(self, found: pa.ListArray) -> tuple[npt.NDArray[np.int64], Mask]:
        """The batch of each record by its headers, or -1; and which name none."""
        ids, stamps = header_values(found, headers.BATCH_ID, headers.AS_OF)
        batch = pc.index_in(ids, value_set=self._ids)
        same = pc.fill_null(pc.equal(stamps, self._as_of.take(batch)), False)  # noqa: FBT003 - Arrow's value
        owner = np.where(same.to_numpy(zero_copy_only=False), pc.fill_null(batch, _FOREIGN).to_numpy(), _FOREIGN)
        return owner.astype(np.int64), ids.is_null().to_numpy(zero_copy_only=False)

    def foreign(self, window: pa.RecordBatch, owner: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """(batch, how many records of others the window has within a range of it)."""
        partitions, offsets = window.column("partition").to_numpy(), window.column("offset").to_numpy()
        present = set(np.unique(partitions).tolist())
        for batch, each in self._ranges:
            if each.partition in present:
                others = _within(each, partitions, offsets) & (owner != batch)
                if count := int(others.sum()):
                    yield batch, count


@dataclass(frozen=True)
class Author:
    """Who wrote some records: an attempt at a batch, or others, with neither id nor time."""

    batch_id: str | None = None
    as_of: datetime | None = None

    def to_json(self) -> dict[str, str | None]:
        """Only JSON types."""
        return {"batch_id": self.batch_id, "as_of": headers.stamp(self.as_of) if self.as_of else None}


class StreamShares:
    """Every record, as of the time in its headers, or where it names no batch, as of its own timestamp.

    What is kept account of are offsets and not counts, so that a repeated micro-batch adds nothing.
    """

    DDL: ClassVar[str] = (
        "partition int, batch_id string, as_of string, read array<struct<start: bigint, end: bigint>>, "
        f"rejected array<struct<start: bigint, end: bigint>>, {ERROR_DDL}"
    )
    _RANGES = pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64())]))
    _SCHEMA = pa.schema(
        [
            ("partition", pa.int32()),
            ("batch_id", pa.string()),
            ("as_of", pa.string()),
            ("read", _RANGES),
            ("rejected", _RANGES),
            *_ERROR,
        ]
    )

    def __init__(self, _request: Request) -> None:
        self._authors: list[Author] = []
        self._read: defaultdict[tuple[int, int], list[Offsets]] = defaultdict(list)
        self._rejected: defaultdict[tuple[int, int], list[Offsets]] = defaultdict(list)

    def of(self, window: pa.RecordBatch) -> Iterator[Share]:
        """See Shares; each attempt's are one share, and others' are another."""
        ids, stamps = header_values(window.column("headers"), headers.BATCH_ID, headers.AS_OF)
        attempts = pc.binary_join_element_wise(ids, stamps.fill_null(b""), b"\0").dictionary_encode()
        codes = attempts.indices.fill_null(_FOREIGN).to_numpy()
        for code in np.unique(codes[codes != _FOREIGN]).tolist():
            rows = np.flatnonzero(codes == code)
            yield self._attempt(rows, ids[int(rows[0])].as_py(), stamps[int(rows[0])].as_py())
        headless = np.flatnonzero(codes == _FOREIGN)
        if len(headless):
            yield Share(headless, _timestamps(window, headless), self._number(Author()), by_others=True)

    def _attempt(self, rows: Indices, batch_id: bytes, stamp: bytes | None) -> Share:
        name = batch_id.decode(errors="backslashreplace").replace("\0", "\\0")  # PostgreSQL keeps no zero byte
        as_of = _time(stamp)
        if as_of is not None:
            return Share(rows, as_of, self._number(Author(name, as_of)), by_others=False)
        said = "no header as_of" if stamp is None else f"the header as_of {stamp!r}, which is no time"
        unfit = dict.fromkeys(range(len(rows)), f"the record names the batch {name} and has {said}")
        return Share(rows, datetime.fromtimestamp(0, UTC), self._number(Author(name)), by_others=False, unfit=unfit)

    def _number(self, author: Author) -> int:
        if author not in self._authors:
            self._authors.append(author)
        return self._authors.index(author)

    def note(self, share: Share, window: pa.RecordBatch, written: Written, rejects: Indices) -> None:  # noqa: ARG002
        """See Shares."""
        partitions, offsets = window.column("partition").to_numpy(), window.column("offset").to_numpy()
        for partition in np.unique(partitions).tolist():
            here = partitions == partition
            self._read[share.owner, partition].append(offsets[here])
            self._rejected[share.owner, partition].append(offsets[rejects[here[rejects]]])

    def outcome(self) -> pa.RecordBatch:
        """A row for each author and partition, with the ranges of offsets [start, end)."""
        rows = [
            {
                "partition": partition,
                **self._authors[owner].to_json(),
                "read": _ranges(found),
                "rejected": _ranges(self._rejected[owner, partition]),
            }
            for (owner, partition), found in self._read.items()
        ]
        return pa.RecordBatch.from_pylist(rows, schema=self._SCHEMA)


def header_values(found: pa.ListArray, *names: str) -> list[pa.Array]:
    """Of each of `names` the header's value in each record, null where it has none; of repeated ones the last."""
    entries, parents = found.flatten(), pc.list_parent_indices(found).to_numpy()
    keys, values = pc.struct_field(entries, "key"), pc.struct_field(entries, "value")

    def header(name: str) -> pa.Array:
        of_name = pc.equal(keys, name).to_numpy(zero_copy_only=False)
        at = np.full(len(found), -1)
        at[parents[of_name]] = np.flatnonzero(of_name)
        return values.take(pa.array(at, mask=at < 0))

    return [header(name) for name in names]


def _within(wanted: OffsetRange, partitions: npt.NDArray[np.int32], offsets: Offsets) -> Mask:
    within: Mask = (partitions == wanted.partition) & (offsets >= wanted.start) & (offsets < wanted.end)
    return within


def _timestamps(window: pa.RecordBatch, rows: Indices) -> pa.Array:
    """The Kafka timestamps of some rows, in µs since the epoch."""
    return window.column("timestamp").take(pa.array(rows)).cast(pa.timestamp("us", "UTC")).cast(pa.int64())


def _time(stamp: bytes | None) -> datetime | None:
    """The time that `headers.stamp` wrote, or None where this is none, or of no zone."""
    try:
        found = datetime.fromisoformat((stamp or b"").decode())
    except (ValueError, UnicodeDecodeError):
        return None
    return found.astimezone(UTC) if found.tzinfo else None


def _ranges(parts: Sequence[Offsets]) -> list[dict[str, int]]:
    """The offsets as ranges [start, end), in their order."""
    offsets = np.unique(np.concatenate(parts)) if parts else np.empty(0, np.int64)
    if not len(offsets):
        return []
    stretches = np.split(offsets, np.flatnonzero(np.diff(offsets) > 1) + 1)
    return [{"start": int(each[0]), "end": int(each[-1]) + 1} for each in stretches]
