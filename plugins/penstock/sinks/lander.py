"""What Spark's Python workers do: judge records and write the good ones, a whole Arrow batch at a time."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.core import settings
from penstock.core.counts import OffsetRange, Produced
from penstock.core.errors import PenstockError
from penstock.kafka import headers
from penstock.kafka.dead_letters import Rejected, forward
from penstock.sinks.base import Sink
from penstock.sinks.catalogue import Address, open_sink
from penstock.sinks.columns import Mask, physical_rows, taken, violations
from penstock.sinks.decode import decoder
from penstock.sinks.json_rows import Decoded
from penstock.sinks.keys import Indices
from penstock.sinks.landing import Request, Tally

OUTCOME_DDL = (
    "batch int, read bigint, landed bigint, rejected bigint, duplicates bigint, foreign bigint, "
    "error_kind string, error string"
)
"""What a task answers, in Spark's DDL: a row for each batch it saw, or one row with the error that ended it."""

_OUTCOME = pa.schema(
    [
        ("batch", pa.int32()),
        *((name, pa.int64()) for name in ("read", "landed", "rejected", "duplicates", "foreign")),
        ("error_kind", pa.string()),
        ("error", pa.string()),
    ]
)

_FOREIGN = -1
_REJECTS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Lander:
    """The function for `mapInArrow`: batches of (partition, offset, timestamp, headers, record) in, outcomes out.

    `record` is what decode.py says. An error is answered, not raised, so that the driver sees its sentence and not
    Spark's account of it.
    """

    request: Request
    kafka: settings.Kafka
    where: Address
    contested: bool = True

    def __call__(self, windows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Land all `windows`, then answer."""
        try:
            task = _Task(self.request, self.kafka, self._sink())
            for window in windows:
                task.land(window)
            task.forward_rejects()
        except PenstockError as error:
            yield _failed(error)
        else:
            yield _done(task.tallies)

    def _sink(self) -> Sink:
        asked = self.request
        return open_sink(
            asked.sink, self.where, asked.contract, patience=asked.patience, contested=self.contested, shared=True
        )


class _Task:
    """One Spark task: the sink it writes to, what it counted, and the rejects it still has to forward."""

    def __init__(self, request: Request, kafka: settings.Kafka, sink: Sink) -> None:
        self.tallies: defaultdict[int, Tally] = defaultdict(Tally)
        self._request = request
        self._kafka = kafka
        self._sink = sink
        self._decode = decoder(request)
        self._attempts = Attempts(request.batches)
        self._rejects: list[Rejected] = []

    def land(self, window: pa.RecordBatch) -> None:
        """Land the records of one Arrow batch."""
        owner, others = self._attempts.owners(window)
        for batch, foreign in self._attempts.foreign(window, owner):
            self.tallies[batch] += Tally(foreign=foreign)
        for batch in np.unique(owner[owner != _FOREIGN]).tolist():
            self._land(batch, _chosen(window, (owner == batch) & ~others), by_others=False)
            self._land(batch, _chosen(window, (owner == batch) & others), by_others=True)
        if len(self._rejects) >= _REJECTS_AT_ONCE:
            self.forward_rejects()

    def _land(self, batch: int, window: pa.RecordBatch, *, by_others: bool) -> None:
        if not window.num_rows:
            return
        produced = self._request.batches[batch]
        decoded = self._decode(window, produced, by_others=by_others)
        rows, where, rejects = self._judged(decoded)
        as_of = _timestamps(window, where) if by_others else produced.as_of
        written = self._sink.write(rows, as_of)
        rejects |= {int(where[row]): reason for row, reason in written.rejects}
        partitions, offsets = window.column("partition"), window.column("offset")
        self._rejects += [
            Rejected(self._request.topic, partitions[row].as_py(), offsets[row].as_py(), reason)
            for row, reason in rejects.items()
        ]
        self.tallies[batch] += Tally(window.num_rows, written.landed, len(rejects), written.duplicates)

    def _judged(self, decoded: Decoded) -> tuple[pa.RecordBatch, Indices, dict[int, str]]:
        """The rows that keep the contract, where each of them is in the window, and what is wrong with the others."""
        contract = self._request.contract
        rows, where, broken = physical_rows(decoded.rows, contract), decoded.where, dict(decoded.rejects)
        violating = violations(rows, contract)
        broken |= {int(where[row]): reason for row, reason in violating.items()}
        good = np.setdiff1d(np.arange(rows.num_rows), list(violating)) if violating else np.arange(rows.num_rows)
        return taken(rows, good), where[good], broken

    def forward_rejects(self) -> None:
        """Copy the rejected records to the dead letters."""
        deadline = time.monotonic() + self._request.patience
        forward(self._kafka, self._request.dead_letter_topic, self._rejects, deadline=deadline)
        self._rejects = []


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
        entries, parents = found.flatten(), pc.list_parent_indices(found).to_numpy()
        names, values = pc.struct_field(entries, "key"), pc.struct_field(entries, "value")

        def header(name: str) -> pa.Array:
            of_name = pc.equal(names, name).to_numpy(zero_copy_only=False)
            at = np.full(len(found), -1)
            at[parents[of_name]] = np.flatnonzero(of_name)  # a repeated header counts by its last value
            return values.take(pa.array(at, mask=at < 0))

        ids = header(headers.BATCH_ID)
        batch = pc.index_in(ids, value_set=self._ids)
        same = pc.fill_null(pc.equal(header(headers.AS_OF), self._as_of.take(batch)), False)  # noqa: FBT003 - Arrow's value
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


def _within(wanted: OffsetRange, partitions: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64]) -> Mask:
    within: Mask = (partitions == wanted.partition) & (offsets >= wanted.start) & (offsets < wanted.end)
    return within


def _chosen(window: pa.RecordBatch, rows: Mask) -> pa.RecordBatch:
    return window if rows.all() else window.filter(pa.array(rows))


def _timestamps(window: pa.RecordBatch, where: Indices) -> pa.Array:
    """The Kafka timestamps of some rows, in µs since the epoch."""
    return window.column("timestamp").take(pa.array(where)).cast(pa.timestamp("us", "UTC")).cast(pa.int64())


def _done(tallies: dict[int, Tally]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(
        [{"batch": batch, **vars(tally)} for batch, tally in tallies.items()], schema=_OUTCOME
    )


def _failed(error: PenstockError) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"error_kind": type(error).__name__, "error": str(error)}], schema=_OUTCOME)
