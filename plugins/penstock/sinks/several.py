"""Several sinks as one: a record has landed where it is in all of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa

from penstock.core.counts import Count, Extent
from penstock.core.errors import Fatal
from penstock.sinks.base import AsOf, Sink, Written
from penstock.sinks.columns import taken


@dataclass(frozen=True)
class Several:
    """The Sink of `sinks`, at least one, which tell records apart by one key.

    They are written one after the other; what one refuses, those after it do not get.
    """

    sinks: tuple[Sink, ...]

    def setup(self) -> None:
        """Set up each."""
        for sink in self.sinks:
            sink.setup()

    def write(self, rows: pa.RecordBatch, as_of: AsOf) -> Written:
        """See Sink.write. Duplicates are those of the first: the others find the same."""
        first, *others = self.sinks
        written = first.write(rows, as_of)
        rejects = dict(written.rejects)
        for sink in others:
            kept = np.setdiff1d(np.arange(rows.num_rows), list(rejects))
            refused = sink.write(taken(rows, kept), _of(as_of, kept)).rejects
            rejects |= {int(kept[row]): reason for row, reason in refused}
        landed = written.landed - (len(rejects) - len(written.rejects))
        return Written(landed, written.duplicates, tuple(sorted(rejects.items())))

    def count(self, extent: Extent, as_of: datetime) -> Count:  # noqa: ARG002 - Sink's signature
        """Raises Fatal: each sink is to be asked for itself."""
        raise Fatal("several sinks have no count in common: ask each of them")

    def close(self) -> None:
        """Close each."""
        for sink in self.sinks:
            sink.close()


def _of(as_of: AsOf, rows: np.ndarray) -> AsOf:
    return as_of if isinstance(as_of, datetime) else as_of.take(pa.array(rows))
