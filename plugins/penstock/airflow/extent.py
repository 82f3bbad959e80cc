"""Where in a table a batch's rows belong: noted while its records pass, before anything is written.

Reconciliation counts there, so that its count rests on what was fetched and not on what landing says it wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from penstock.core.contract import Contract, Kind
from penstock.core.counts import Extent
from penstock.core.record import Record, Unusable, Value

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS_PER_DAY = timedelta(days=1) // timedelta(milliseconds=1)


class ExtentOf:
    """Collects the partition keys, or tag values, and the range of event times of a batch.

    Memory is bounded by the number of partitions or tag sets.
    """

    def __init__(self, contract: Contract) -> None:
        self._time = contract.event_time
        bucketed = {bucket.name: bucket.of for bucket in contract.buckets}
        self._key = [
            (bucketed.get(name, name), name in bucketed, contract.by_name[bucketed.get(name, name)])
            for name in contract.partition_key or contract.tags
        ]
        self._partitions: dict[tuple[Value, ...], None] = {}
        self._first: int | None = None
        self._last: int | None = None

    def watch(self, records: Iterable[Record | Unusable]) -> Iterator[Record | Unusable]:
        """Yield `records` unchanged. One with a key that cannot be written is left out of account."""
        for record in records:
            if not isinstance(record, Unusable):
                self._note(record)
            yield record

    def _note(self, record: Record) -> None:
        time = record.get(self._time)
        if type(time) is not int or any(field.violation(record.get(name)) for name, _, field in self._key):
            return
        try:
            partition = tuple(
                _month(record[name], field.kind) if is_bucket else _one_zero(record[name])
                for name, is_bucket, field in self._key
            )
        except OverflowError:  # a time beyond the calendar
            return
        self._partitions[partition] = None
        self._first = time if self._first is None else min(self._first, time)
        self._last = time if self._last is None else max(self._last, time)

    def extent(self) -> Extent | None:
        """Where the records so far belong, or None where none had a key."""
        if self._first is None or self._last is None:
            return None
        return Extent(tuple(self._partitions), self._first, self._last)


def _month(time: Any, kind: Kind) -> str:
    return _month_of_day(time if kind is Kind.DATE else time // _MS_PER_DAY)


@cache
def _month_of_day(day: int) -> str:
    """The label of a month's bucket, as core.contract.Bucket has it."""
    return f"{_EPOCH + timedelta(days=day):%Y-%m}"


def _one_zero(value: Value) -> Value:
    """-0.0 and 0.0 are one number and, to Cassandra, two keys; rows are written under 0.0."""
    return value + 0.0 if isinstance(value, float) else value
