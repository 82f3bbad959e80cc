"""Rows grouped by their table's partitions, and the keys that one landing has written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Indices: TypeAlias = npt.NDArray[np.int64]
Times: TypeAlias = npt.NDArray[np.int64]
Bits: TypeAlias = tuple[int | str, ...]


@dataclass(frozen=True)
class KeyColumns:
    """The key columns of some rows: `partition`, `others` of the clustering key, and the event time of each row.

    Rows that differ in their event time only are a series.
    """

    partition: Sequence[pa.Array]
    others: Sequence[pa.Array]
    times: Times

    def grouped(self) -> Indices:
        """The rows in the order of partition, series and event time; equal keys stay in the order they came in."""
        codes = [_codes(each) for each in (*self.partition, *self.others)]
        return np.lexsort((self.times, *reversed(codes)))

    def boundaries(self, order: Indices, *, of_series: bool) -> Indices:
        """Where in `order` each partition, or each series, begins; the last entry is the end of the last one."""
        columns = (*self.partition, *self.others) if of_series else self.partition
        begins = np.zeros(len(order), dtype=np.bool_)
        begins[:1] = True
        for column in columns:
            codes = _codes(column)[order]
            begins[1:] |= codes[1:] != codes[:-1]
        return np.append(np.flatnonzero(begins), len(order))

    def identities(self, rows: Indices) -> Iterator[Bits]:
        """What tells each row's series from all others."""
        return zip(*(_bits(each, rows) for each in (*self.partition, *self.others)), strict=True)


def _codes(column: pa.Array) -> npt.NDArray[Any]:
    """Integers that are equal where the values are."""
    if pa.types.is_string(column.type):
        column = column.dictionary_encode().indices
    values: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return values.view(f"i{values.itemsize}") if values.dtype.kind == "f" else values


def _bits(column: pa.Array, rows: Indices) -> list[int | str]:
    if pa.types.is_string(column.type):
        strings: list[int | str] = column.take(pa.array(rows)).to_pylist()
        return strings
    bits: list[int | str] = _codes(column)[rows].tolist()
    return bits


@dataclass
class _Series:
    """Event times of one series. Evenly spaced ones are kept as ranges, so that time series take no memory."""

    runs: list[range | Times] = field(default_factory=list)
    first: int = 0
    last: int = 0

    def add(self, times: Times) -> npt.NDArray[np.bool_] | None:
        """Remember `times`, which rise strictly; say which are new, or None where all are."""
        new = None
        if self.runs and times[0] <= self.last and times[-1] >= self.first:
            new = ~self._contains(times)
            times = times[new]
        if len(times):
            self._remember(times)
        return new

    def _contains(self, times: Times) -> npt.NDArray[np.bool_]:
        found = np.zeros(len(times), dtype=np.bool_)
        for run in self.runs:
            if run[0] <= times[-1] and run[-1] >= times[0]:
                if isinstance(run, range):
                    found |= (times >= run[0]) & (times <= run[-1]) & ((times - run[0]) % run.step == 0)
                else:
                    found |= np.isin(times, run, assume_unique=True)
        return found

    def _remember(self, times: Times) -> None:
        start, end = int(times[0]), int(times[-1])
        self.first = min(start, self.first) if self.runs else start
        self.last = max(end, self.last) if self.runs else end
        run = _compact(times)
        joined = _joined(self.runs[-1], run) if self.runs else None
        if joined is None:
            self.runs.append(run)
        else:
            self.runs[-1] = joined


def _compact(times: Times) -> range | Times:
    if len(times) == 1:
        return range(int(times[0]), int(times[0]) + 1)
    step = int(times[1]) - int(times[0])
    if (np.diff(times) == step).all():
        return range(int(times[0]), int(times[-1]) + 1, step)
    return times.copy()


def _joined(before: range | Times, after: range | Times) -> range | None:
    """Both as one range, where `after` goes on as `before` did."""
    if not isinstance(before, range) or not isinstance(after, range):
        return None
    step = after[0] - before[-1]
    if step <= 0 or any(len(each) > 1 and each.step != step for each in (before, after)):
        return None
    return range(before[0], after[-1] + 1, step)


class WrittenKeys:
    """The keys that one landing has written with one write timestamp.

    Rows with one key and one timestamp would be merged column by column, the greater value winning: so only the first
    is written. Memory grows with the number of series, and for unevenly spaced ones by 8 bytes a row.
    """

    def __init__(self) -> None:
        self._series: defaultdict[Bits, _Series] = defaultdict(_Series)

    def first_only(self, keys: KeyColumns) -> Indices:
        """Remember these rows; return, grouped, those whose key was not there yet, the first of each."""
        order = keys.grouped()
        bounds = keys.boundaries(order, of_series=True)
        times = keys.times[order]
        fresh = np.ones(len(order), dtype=np.bool_)
        fresh[1:] = times[1:] != times[:-1]
        fresh[bounds[:-1]] = True
        starts = order[bounds[:-1]]
        for (begin, end), identity in zip(pairs(bounds), keys.identities(starts), strict=True):
            once = np.flatnonzero(fresh[begin:end]) + begin
            new = self._series[identity].add(times[once])
            if new is not None:
                fresh[once] = new
        return order[fresh]


def pairs(bounds: Indices) -> Iterator[tuple[int, int]]:
    """The (begin, end) of each group between `bounds`."""
    return pairwise(bounds.tolist())
