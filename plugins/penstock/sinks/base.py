"""What every sink offers, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias

import pyarrow as pa

from penstock.core.counts import Count, Extent

AsOf: TypeAlias = datetime | pa.Array
"""One time for all rows, or an int64 of µs since the epoch for each."""


@dataclass(frozen=True)
class Written:
    """What became of the rows of one `Sink.write`: rows = landed + duplicates + rejects.

    `rejects` names each row that the sink refused for its own content, by its index in the given rows, with the reason.
    """

    landed: int
    duplicates: int = 0
    rejects: tuple[tuple[int, str], ...] = ()


class Sink(Protocol):
    """One table, written by one landing.

    An instance remembers which keys it has written for each as-of time: a record that repeats a key of its batch is
    counted as a duplicate, and the first one stands.
    """

    def setup(self) -> None:
        """Create the table, or bring it up to the contract. Raises Fatal where that would change what is there."""
        ...

    def write(self, rows: pa.RecordBatch, as_of: AsOf) -> Written:
        """Write rows that keep the contract, effectively once: writing them again gives the same table.

        Columns are the contract's fields by name; one that is missing is all null. A row written with a newer `as_of`
        stays as it is, and an absent value leaves what is there. Returns when all rows are safe.

        Raises Retry where the sink stays away, Fatal where it will never take such rows, or no as-of time for each.
        """
        ...

    def count(self, extent: Extent, as_of: datetime) -> Count:
        """Count the rows within `extent`, in bounded memory. Raises Retry where the sink stays away."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
