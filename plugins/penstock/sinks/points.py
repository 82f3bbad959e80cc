"""The identities of points, and the points that one landing has written."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Bits: TypeAlias = npt.NDArray[np.uint64]
Checks: TypeAlias = npt.NDArray[np.uint32]
Rows: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]

_IDENTITY_SEED = 0x9E3779B97F4A7C15
_KEY_SEED = 0xD1B54A32D192ED03

_NEVER = np.iinfo(np.int64).min
_GROWTH = 4


@dataclass(frozen=True)
class Points:
    """Some rows as points: a hash of what makes the point, one of the record's key, and its as-of time in µs.

    Their times are all within `span`, both ends included. The two hashes have 96 bits together: among 100 million
    points, two that differ are taken for one with a chance of one in 10^13.
    """

    identities: Bits
    keys: Checks
    as_of: npt.NDArray[np.int64]
    span: tuple[int, int]

    def __len__(self) -> int:
        return len(self.identities)

    def take(self, rows: Rows) -> Points:
        """Those of `rows`."""
        return Points(self.identities[rows], self.keys[rows], self.as_of[rows], self.span)


def identities(tags: Sequence[pa.Array], times: npt.NDArray[np.int64]) -> Bits:
    """A hash of each point's tags and time; a null tag is as good as an empty one."""
    return _combined([*map(_bits, tags), times.view(np.uint64)], _IDENTITY_SEED, len(times))


def key_checks(key: Sequence[pa.Array], rows: int) -> Checks:
    """A hash of each record's key."""
    return (_combined([*map(_bits, key)], _KEY_SEED, rows) >> np.uint64(32)).astype(np.uint32)


def _combined(columns: Sequence[Bits], seed: int, rows: int) -> Bits:
    combined = np.full(rows, seed, np.uint64)
    for column in columns:
        combined = _mixed(combined ^ _mixed(column + np.uint64(_IDENTITY_SEED)))
        combined += np.uint64(seed)
    return combined


def _mixed(bits: Bits) -> Bits:
    """Steele, Lea and Flood's SplitMix64: every bit of the answer depends on every bit."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Bits = bits ^ (bits >> np.uint64(31))
    return mixed


def _bits(column: pa.Array) -> Bits:
    """64 bits a value that are equal where the values are."""
    if pa.types.is_string(column.type) or pa.types.is_dictionary(column.type):
        encoded = column.dictionary_encode()
        hashes = [_text_bits(each) for each in encoded.dictionary.to_pylist()]
        codes = encoded.indices.fill_null(len(hashes)).to_numpy()
        bits: Bits = np.array([*hashes, _text_bits("")], np.uint64)[codes]
        return bits
    values = column.to_numpy(zero_copy_only=False)
    wide: npt.NDArray[Any] = values.astype(np.float64 if values.dtype.kind == "f" else np.int64)
    return wide.view(np.uint64)


def _text_bits(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True)
class Verdict:
    """What is to become of some points: rows = fresh + duplicates + taken.

    `write` are the rows to be written: the fresh ones, where `is_fresh`, and duplicates that are newer than what this
    landing has written. `taken` are those whose point another record of this landing has.
    """

    write: Rows
    is_fresh: Mask
    duplicates: int
    taken: Rows


@dataclass
class _Run:
    """Remembered points in the order of their identities."""

    points: Points

    def overlaps(self, points: Points) -> bool:
        """Whether any of `points` can be here at all: in records ordered by time, hardly ever."""
        return self.points.span[0] <= points.span[1] and points.span[0] <= self.points.span[1]

    def find(self, wanted: Bits) -> tuple[Mask, Rows]:
        """Which of `wanted` are here, and where."""
        at = np.searchsorted(self.points.identities, wanted)
        at[at == len(self.points)] = 0
        return self.points.identities[at] == wanted, at

    def renew(self, at: Rows, as_of: npt.NDArray[np.int64]) -> None:
        """Those `at` these places were written with a newer as-of time."""
        self.points = replace(self.points, as_of=self.points.as_of.copy())
        self.points.as_of[at] = as_of


class WrittenPoints:
    """The points that one landing has written, with the newest as-of time that it wrote each with.

    Takes 12 bytes a point where all have one as-of time, else 20.
    """

    def __init__(self) -> None:
        self._runs: list[_Run] = []

    def judge(self, points: Points) -> Verdict:
        """Say which of `points` to write.

        The first record to come has the point. Of its repeats the newest counts, and of equally old ones the first.
        """
        order = np.argsort(points.identities, kind="stable")
        sorted_points = points.take(order)
        begins = np.ones(len(order), np.bool_)
        begins[1:] = sorted_points.identities[1:] != sorted_points.identities[:-1]
        known, owner, newest = self._remembered(sorted_points.take(np.flatnonzero(begins)))
        if begins.all() and not known.any():
            return Verdict(np.arange(len(order)), begins, 0, np.empty(0, np.int64))
        group = np.cumsum(begins) - 1
        own = sorted_points.keys == owner[group]
        newer = np.flatnonzero(own & (sorted_points.as_of > newest[group]))
        ranked = newer[np.lexsort((order[newer], -sorted_points.as_of[newer], group[newer]))]
        best = ranked[np.unique(group[ranked], return_index=True)[1]]
        write, fresh = order[best], ~known[group[best]]
        arrival = np.argsort(write)
        taken = np.sort(order[~own])
        duplicates = len(order) - len(taken) - int(fresh.sum())
        return Verdict(write[arrival], fresh[arrival], duplicates, taken)

    def _remembered(self, points: Points) -> tuple[Mask, Checks, npt.NDArray[np.int64]]:
        """Of each point: whether it was written, by which record, and the as-of time; else its own record, and none."""
        known = np.zeros(len(points), np.bool_)
        owner, newest = points.keys.copy(), np.full(len(points), _NEVER)
        for run in self._overlapping(points):
            here, at = run.find(points.identities)
            known |= here
            owner[here] = run.points.keys[at[here]]
            newest[here] = run.points.as_of[at[here]]
        return known, owner, newest

    def remember(self, points: Points) -> None:
        """These were written, each identity at most once."""
        new = np.ones(len(points), np.bool_)
        for run in self._overlapping(points):
            here, at = run.find(points.identities)
            if here.any():
                run.renew(at[here], points.as_of[here])
                new &= ~here
        if new.any():
            self._add(_sorted([points.take(np.flatnonzero(new))]))

    def _overlapping(self, points: Points) -> list[_Run]:
        return [run for run in self._runs if run.overlaps(points)]

    def _add(self, points: Points) -> None:
        """As a new run, or together with the last ones, so that there are few."""
        together = [points]
        while self._runs and len(self._runs[-1].points) <= _GROWTH * sum(map(len, together)):
            together.append(self._runs.pop().points)
        self._runs.append(_Run(_sorted(together) if len(together) > 1 else points))


def _sorted(parts: Sequence[Points]) -> Points:
    every = np.concatenate([each.identities for each in parts])
    order = np.argsort(every, kind="stable")
    keys = np.concatenate([each.keys for each in parts])[order]
    stamps = np.unique(np.concatenate([each.as_of[:: max(1, len(each) - 1)] for each in parts]))
    same = len(stamps) == 1 and all((each.as_of == stamps[0]).all() for each in parts)
    as_of = (
        np.broadcast_to(stamps[0], len(every))  # takes no memory
        if same
        else np.concatenate([each.as_of for each in parts])[order]
    )
    span = min(each.span[0] for each in parts), max(each.span[1] for each in parts)
    return Points(every[order], keys, as_of, span)
