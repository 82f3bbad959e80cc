"""An answer of Open-Meteo: checked as a whole, then read row by row.

What is wrong with the answer's shape stops the run: it would be wrong for every row. What is wrong with one value is
left in its record as it came, and the contract sends that record to the dead letters.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any

from penstock.core.batch import Interval
from penstock.core.contract import Contract, Kind
from penstock.core.errors import Fatal, Retry
from penstock.core.record import Record, Value
from penstock.sources.dates import DAY, EPOCH, midnight
from penstock.sources.open_meteo_options import Location
from penstock.sources.open_meteo_request import Block, Question

log = logging.getLogger(__name__)

_MS = timedelta(milliseconds=1)

_ISO_TIME = "iso8601"
_UNKNOWN_UNIT = "undefined"
"""The unit of a variable that the answering model does not have; all its values are null."""


def records(answer: Any, question: Question, contract: Contract, interval: Interval, host: str) -> Iterator[Record]:
    """The rows of `answer` that lie in `interval`, location by location in the order of the question.

    Raises Fatal where the answer is not one to `question`, and Retry where it lacks rows it should have.
    """
    places = answer if isinstance(answer, list) else [answer]
    if len(places) != len(question.locations):
        raise Fatal(f"{host} answers {len(places)} locations where {len(question.locations)} were asked")
    for at, (location, place) in enumerate(zip(question.locations, places, strict=True)):
        if not isinstance(place, dict) or place.get("location_id", at) != at:
            raise Fatal(f"{host} answers the location number {at + 1} with something else: {str(place)[:200]}")
        where = f"{host} at {location.latitude},{location.longitude}"
        yield from _Place(place, location, question, contract, where).rows(interval)


class _Place:
    """The part of an answer that is about one location."""

    def __init__(
        self, body: Mapping[str, Any], location: Location, question: Question, contract: Contract, where: str
    ) -> None:
        self._question = question
        self._contract = contract
        self._where = where
        self._offset = self._utc_offset(body)
        self._times, self._columns = self._checked_columns(body)
        self._common: Record = {
            "latitude": location.latitude,
            "longitude": location.longitude,
            "grid_latitude": body.get("latitude"),
            "grid_longitude": body.get("longitude"),
            "elevation": body.get("elevation"),
        }

    def rows(self, interval: Interval) -> Iterator[Record]:
        """The records in `interval`. Raises Retry where one of them is missing."""
        start, end = self._position(interval.start), self._position(interval.end)
        self._check_complete(start, end)
        names = ("time", *self._question.variables)
        for row in zip(self._times, *self._columns, strict=True):
            if start <= row[0] < end:
                yield self._common | dict(zip(names, row, strict=True))

    def _position(self, instant: datetime) -> int:
        """The first time of a row, as a row has it, that is not before `instant`."""
        unit = DAY if self._question.block is Block.DAILY else _MS
        return -((EPOCH - instant) // unit)

    def _utc_offset(self, body: Mapping[str, Any]) -> timedelta:
        seconds = body.get("utc_offset_seconds", 0)
        if not isinstance(seconds, int):
            raise Fatal(f"{self._where}: utc_offset_seconds is {seconds!r}, not a number of seconds")
        return timedelta(seconds=seconds)

    def _checked_columns(self, body: Mapping[str, Any]) -> tuple[list[int], list[Sequence[Value]]]:
        block = self._question.block
        columns, units = body.get(block), body.get(f"{block}_units")
        if not isinstance(columns, dict) or not isinstance(units, dict):
            raise Fatal(f"{self._where}: the answer has no {block} block with units; its keys are {', '.join(body)}")
        wanted = ("time", *self._question.variables)
        if missing := [name for name in wanted if not isinstance(columns.get(name), list)]:
            raise Fatal(f"{self._where}: the {block} block lacks {', '.join(missing)}; it has {', '.join(columns)}")
        lengths = {name: len(columns[name]) for name in wanted}
        if len(set(lengths.values())) > 1:
            raise Fatal(f"{self._where}: the {block} columns differ in length: {lengths}")
        self._check_units(columns, units)
        return self._parsed_times(columns["time"]), [self._column(name, columns[name]) for name in wanted[1:]]

    def _check_units(self, columns: Mapping[str, Sequence[Value]], units: Mapping[str, Any]) -> None:
        for name in ("time", *self._question.variables):
            field = self._contract.by_name[name]
            expected = _ISO_TIME if field.kind in {Kind.TIMESTAMP, Kind.DATE} else field.unit
            unit = units.get(name)
            unknown = unit == _UNKNOWN_UNIT and all(value is None for value in columns[name])
            if unit != expected and not unknown:
                raise Fatal(
                    f"{self._where}: {name} comes in {unit!r}, and the contract {self._contract.where} has "
                    f"{expected!r}: no value may be stored in a wrong unit"
                )

    def _parsed_times(self, texts: Sequence[Any]) -> list[int]:
        """The times as the contract has them: days as the answer names them, hours as ms in UTC."""
        try:
            if self._question.block is Block.DAILY:
                times = [(date.fromisoformat(text) - EPOCH.date()).days for text in texts]
            else:
                times = [_utc_ms(text, self._offset) for text in texts]
        except (TypeError, ValueError) as error:
            raise Fatal(f"{self._where}: a {self._question.block} time cannot be read: {error}") from error
        for position, (before, after) in enumerate(pairwise(times), start=1):
            if after <= before:
                raise Fatal(f"{self._where}: the time {texts[position]} follows {texts[position - 1]}")
        return times

    def _column(self, name: str, values: Sequence[Value]) -> Sequence[Value]:
        if self._contract.by_name[name].kind is not Kind.TIMESTAMP:
            return values
        return [self._instant(value) for value in values]

    def _instant(self, value: Value) -> Value:
        """An ISO 8601 time as ms in UTC; what is none stays as it is."""
        if not isinstance(value, str):
            return value
        try:
            return _utc_ms(value, self._offset)
        except ValueError:
            return value

    def _check_complete(self, start: int, end: int) -> None:
        """Raise Retry unless each row of [start, end) is there that the asked days have in the answer's UTC offset."""
        block = self._question.block
        offset = timedelta(0) if block is Block.DAILY else self._offset
        expected = self._time_axis(offset, start, end)
        if outside := len(self._time_axis(timedelta(0), start, end)) - len(expected):
            hours = offset / timedelta(hours=1)
            log.warning("%s: answers in GMT%+g, not in GMT: %d rows are left out", self._where, hours, outside)
        if missing := sorted(set(expected).difference(self._times)):
            raise Retry(
                f"{self._where}: {len(missing)} of {len(expected)} {block} rows are not there yet, the first of them "
                f"{self._text(missing[0])}"
            )

    def _time_axis(self, offset: timedelta, start: int, end: int) -> list[int]:
        """The times in [start, end) of the rows that the asked days have in the UTC offset `offset`."""
        days, block = self._question.days, self._question.block
        first, last = (self._position(midnight(day) - offset) for day in (days.first, days.last + DAY))
        step = 1 if block is Block.DAILY else block.step // _MS
        return [time for time in range(first, last, step) if start <= time < end]

    def _text(self, time: int) -> str:
        unit = DAY if self._question.block is Block.DAILY else _MS
        return (EPOCH + time * unit).strftime("%Y-%m-%d" if unit is DAY else "%Y-%m-%dT%H:%MZ")


@lru_cache(maxsize=2**16)  # the locations of an answer share their times
def _utc_ms(local: str, offset: timedelta) -> int:
    """A local time such as 2026-03-31T07:00 as ms since the epoch."""
    return (datetime.fromisoformat(local).replace(tzinfo=UTC) - offset - EPOCH) // _MS
