"""Counts a batch's rows in a Cassandra table by the write time of a column that every row has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from cassandra.cluster import Session
from cassandra.concurrent import execute_concurrent_with_args

from penstock.core.contract import Contract, Kind
from penstock.core.counts import Count, Extent
from penstock.core.record import Value
from penstock.sinks.cql import DATE_OF_EPOCH, write_timestamp

_CONCURRENCY = 16
_OWN, _NEWER, _OLDER = "own", "newer", "older"


class BatchCount:
    """Counts the rows of extents in `target`, a quoted table name."""

    def __init__(self, session: Session, target: str, contract: Contract) -> None:
        self._session = session
        self._contract = contract
        self._bounded = contract.clustering_key[:1] == (contract.event_time,)
        stamp = f'writetime("{contract.write_time_column()}")'
        conditions = [f'"{name}" = ?' for name in contract.partition_key]
        if self._bounded:
            conditions += [f'"{contract.event_time}" >= ?', f'"{contract.event_time}" <= ?']
        where = f"FROM {target} WHERE {' AND '.join(conditions)}"
        self._summary = session.prepare(f"SELECT count(*), count({stamp}), min({stamp}), max({stamp}) {where}")
        self._stamps = session.prepare(f"SELECT {stamp} {where}")

    def count(self, extent: Extent, as_of: datetime) -> Count:
        """One small query a partition; row by row only where a partition's rows were written at different times."""
        mine = write_timestamp(as_of)
        total: Counter[str] = Counter()
        for bound, (rows, stamped, first, last) in self._summaries(extent):
            if rows == stamped and rows and (first == last or first > mine or last < mine):
                total[_whose(first, mine)] += rows
            elif rows:
                total.update(_whose(stamp, mine) for (stamp,) in self._session.execute(self._stamps, bound))
        return Count(own=total[_OWN], newer=total[_NEWER], older=total[_OLDER])

    def _summaries(self, extent: Extent) -> Iterator[tuple[tuple[Value, ...], tuple[int, int, int, int]]]:
        """(bound values, summary) of each partition."""
        answers = execute_concurrent_with_args(
            self._session,
            self._summary,
            self._bound(extent),
            concurrency=_CONCURRENCY,
            raise_on_first_error=True,
            results_generator=True,
        )
        for bound, (_, answer) in zip(self._bound(extent), answers, strict=True):
            yield bound, answer.one()

    def _bound(self, extent: Extent) -> Iterator[tuple[Value, ...]]:
        kinds = [self._kind(name) for name in self._contract.partition_key]
        times = [_bindable(each, self._kind(self._contract.event_time)) for each in (extent.first, extent.last)]
        for partition in extent.partitions:
            values = [_bindable(value, kind) for value, kind in zip(partition, kinds, strict=True)]
            yield (*values, *times) if self._bounded else tuple(values)

    def _kind(self, name: str) -> Kind:
        field = self._contract.by_name.get(name)
        return field.kind if field else Kind.STRING


def _bindable(value: Value, kind: Kind) -> Value:
    """The physical value as the driver binds it: it takes an int for a date as CQL counts days."""
    return int(value or 0) + DATE_OF_EPOCH if kind is Kind.DATE else value


def _whose(stamp: int | None, mine: int) -> str:
    if stamp is None or stamp < mine:
        return _OLDER
    return _OWN if stamp == mine else _NEWER
