"""What Spark's Python workers do: judge records and write the good ones, a whole Arrow batch at a time."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from penstock.core import settings
from penstock.core.errors import PenstockError
from penstock.kafka.dead_letters import Rejected, forward
from penstock.sinks.base import Sink
from penstock.sinks.catalogue import Address, open_sinks
from penstock.sinks.columns import taken
from penstock.sinks.decode import decoder
from penstock.sinks.json_rows import Decoded, judged
from penstock.sinks.landing import Request
from penstock.sinks.shares import ERROR, BatchShares, Share, Shares, StreamShares

_REJECTS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Lander:
    """The function for `mapInArrow`: batches of (partition, offset, timestamp, headers, record) in, outcomes out.

    `record` is what decode.py says. `shares` makes the account that each task keeps: of batches, or of all records. An
    error is answered, not raised, so that the driver sees its sentence and not Spark's account of it.
    """

    request: Request
    kafka: settings.Kafka
    where: tuple[Address, ...]
    contested: bool = True
    endless: bool = False
    shares: type[BatchShares | StreamShares] = BatchShares

    def __call__(self, windows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Land all `windows`, then answer."""
        shares = self.shares(self.request)
        try:
            task = _Task(self.request, self.kafka, self._sink(), shares)
            for window in windows:
                task.land(window)
            task.forward_rejects()
        except PenstockError as error:
            yield _failed(error, shares.outcome().schema)
        else:
            yield shares.outcome()

    def _sink(self) -> Sink:
        asked = self.request
        return open_sinks(
            asked.sinks,
            self.where,
            asked.contract,
            patience=asked.patience,
            contested=self.contested,
            endless=self.endless,
            shared=True,
        )


class _Task:
    """One Spark task: the sink it writes to, the account it keeps, and the rejects it still has to forward."""

    def __init__(self, request: Request, kafka: settings.Kafka, sink: Sink, shares: Shares) -> None:
        self._request = request
        self._kafka = kafka
        self._sink = sink
        self._shares = shares
        self._decode = decoder(request)
        self._rejects: list[Rejected] = []

    def land(self, window: pa.RecordBatch) -> None:
        """Land the records of one Arrow batch."""
        for share in self._shares.of(window):
            self._land(share, taken(window, share.rows))
        if len(self._rejects) >= _REJECTS_AT_ONCE:
            self.forward_rejects()

    def _land(self, share: Share, window: pa.RecordBatch) -> None:
        found = judged(_fit(self._decode(window, share), share), self._request.contract)
        written = self._sink.write(found.rows, share.as_of_rows(found.where))
        rejects = {**found.rejects, **{int(found.where[row]): reason for row, reason in written.rejects}}
        partitions, offsets = window.column("partition"), window.column("offset")
        self._rejects += [
            Rejected(self._request.topic, partitions[row].as_py(), offsets[row].as_py(), reason)
            for row, reason in rejects.items()
        ]
        self._shares.note(share, window, written, np.array(sorted(rejects), dtype=np.int64))

    def forward_rejects(self) -> None:
        """Copy the rejected records to the dead letters."""
        deadline = time.monotonic() + self._request.patience
        forward(self._kafka, self._request.dead_letter_topic, self._rejects, deadline=deadline)
        self._rejects = []


def _fit(decoded: Decoded, share: Share) -> Decoded:
    """Without the share's unfit records."""
    if not share.unfit:
        return decoded
    kept = np.flatnonzero(~np.isin(decoded.where, list(share.unfit)))
    return Decoded(taken(decoded.rows, kept), decoded.where[kept], {**decoded.rejects, **share.unfit})


def _failed(error: PenstockError, schema: pa.Schema) -> pa.RecordBatch:
    said = dict(zip(ERROR.names, (type(error).__name__, str(error)), strict=True))
    return pa.RecordBatch.from_pylist([said], schema=schema)
