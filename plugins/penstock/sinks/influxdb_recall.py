"""What a measurement has at the points of some rows, for a landing that cannot remember all it ever wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from penstock.core.contract import Contract
from penstock.sinks.influxdb_http import InfluxHttp, Series, quoted
from penstock.sinks.line_protocol import AS_OF, NANOSECONDS, Times
from penstock.sinks.points import Points, Rows, identities, key_checks

_GAP = 3_600_000_000_000
"""Nanoseconds without a row that are rather left out of the question."""

_MOST_STRETCHES = 32

_Row: TypeAlias = Sequence[Any]


def recall(http: InfluxHttp, measurement: str, contract: Contract, points: Points, times: Times) -> Points:
    """Those of `points`, at `times` in ns, that the measurement has: whose records they are, and as of when.

    Memory is bounded by `points`, though all that lies between them is looked at.
    """
    columns = [AS_OF, *_key_fields(contract), *contract.tags]
    listed = ", ".join(f"{quoted(name)}::{'tag' if name in contract.tags else 'field'}" for name in columns)
    query = "; ".join(
        f"SELECT {listed} FROM {quoted(measurement)} WHERE time >= {first} AND time <= {last}"  # noqa: S608 - InfluxQL cannot bind names
        for first, last in _stretches(times)
    )
    wanted = np.unique(points.identities)

    def read(answer: Iterator[Series]) -> list[Points]:
        return [_found(each.rows, columns, contract, wanted) for each in answer if each.rows]

    return _joined(http.ask(query, read) if query else [], points.span)


def _key_fields(contract: Contract) -> list[str]:
    return [name for name in contract.key if name not in {contract.event_time, *contract.tags}]


def _stretches(times: Times) -> Iterator[tuple[int, int]]:
    """The first and last of times that lie close together: a few stretches, without the widest gaps between them."""
    if not len(times):
        return
    ordered = np.unique(times)
    gaps = np.diff(ordered)
    widest = np.argsort(gaps, kind="stable")[::-1][: _MOST_STRETCHES - 1]
    cuts = np.sort(widest[gaps[widest] > _GAP]) + 1
    for stretch in np.split(ordered, cuts):
        yield int(stretch[0]), int(stretch[-1])


def _found(rows: Sequence[_Row], columns: Sequence[str], contract: Contract, wanted: Any) -> Points:
    """The points among `rows` of an answer that are `wanted`; what another program wrote has no as-of time."""
    ours = [row for row in rows if None not in row[1 : 2 + len(_key_fields(contract))]]
    at = {name: position for position, name in enumerate(columns, start=1)}
    times = np.array([row[0] for row in ours], np.int64)
    tags = [pa.array([row[at[name]] for row in ours], pa.string()) for name in contract.tags]
    there = identities(tags, times)
    chosen: Rows = np.flatnonzero(np.isin(there, wanted))
    some = [ours[row] for row in chosen]
    key = [_column(name, some, at, contract) for name in contract.key]
    as_of = np.array([row[1] for row in some], np.int64)
    return Points(there[chosen], key_checks(key, len(some)), as_of, (0, 0))


def _column(name: str, rows: Sequence[_Row], at: dict[str, int], contract: Contract) -> pa.Array:
    """A part of the records' key. The spread has put the time up to 1 ms behind the event time."""
    if name == contract.event_time:
        unit = NANOSECONDS[contract.by_name[name].kind]
        return pa.array([row[0] // unit for row in rows], pa.int64())
    if name in contract.tags:
        return pa.array([row[at[name]] for row in rows], pa.string())
    return pa.array([row[at[name]] for row in rows])


def _joined(parts: Sequence[Points], span: tuple[int, int]) -> Points:
    def all_of(part: Callable[[Points], Any], kind: Any) -> Any:
        return np.concatenate([np.empty(0, kind), *(part(each) for each in parts)])

    return Points(
        all_of(lambda each: each.identities, np.uint64),
        all_of(lambda each: each.keys, np.uint32),
        all_of(lambda each: each.as_of, np.int64),
        span,
    )
