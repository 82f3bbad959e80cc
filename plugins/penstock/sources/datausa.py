"""The population of a nation by year, from Data USA (https://datausa.io).

An answer holds all years there are, whatever day it is asked on, so the data interval of a run narrows nothing: every
run fetches every year, and a year that comes again replaces the same row. 2020 is not among them, because the American
Community Survey has no 1-year estimate of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from penstock.core.batch import Interval
from penstock.core.errors import Fatal, Reject, Retry
from penstock.core.record import Record, Unusable
from penstock.sources.dates import EPOCH
from penstock.sources.http import JsonClient

_MS = timedelta(milliseconds=1)
_EXCERPT = 200

_NAMES: Mapping[str, tuple[str, ...]] = {
    "ID_Nation": ("ID_Nation", "ID Nation", "Nation ID"),
    "Nation": ("Nation",),
    "Slug_Nation": ("Slug_Nation", "Slug Nation", "Nation Slug"),
    "ID_Year": ("ID_Year", "ID Year", "Year ID", "Year"),
    "Year": ("Year", "ID_Year", "ID Year", "Year ID"),
    "Population": ("Population",),
}
"""What a field of the contract is called: there, in the API that ended in 2026, and in the one that replaced it."""


@dataclass(frozen=True)
class DataUsa:
    """The source of the population; `url` is the whole question, as `core.settings.datausa_url` has it."""

    url: str

    @property
    def addresses(self) -> tuple[str, ...]:
        """The one URL."""
        return (self.url,)

    def resolve(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """There is nothing to choose: raises Fatal for any option."""
        if options:
            raise Fatal(f"unknown options: {', '.join(sorted(options))}; the population has none")
        return {}

    def fetch(self, interval: Interval, options: Mapping[str, Any]) -> Iterator[Record | Unusable]:  # noqa: ARG002 - no year is of an interval
        """Yield one record for each row of the answer, whatever the interval; `normalise` says which are unusable.

        Raises Retry where the service fails or has no rows, Fatal where it refuses or its answer has another shape.
        """
        self.resolve(options)
        with JsonClient() as client:
            answer = client.get(self.url)
        for row in self._rows(answer):
            try:
                yield normalise(row)
            except Reject as reject:
                yield Unusable(row, str(reject))

    def _rows(self, answer: Any) -> list[Any]:
        rows = answer.get("data") if isinstance(answer, Mapping) else None
        if not isinstance(rows, list):
            raise Fatal(
                f"{self._host} answers without a list of rows under `data`: check DATAUSA_URL. The answer begins "
                f"{str(answer)[:_EXCERPT]!r}"
            )
        if not rows:
            raise Retry(
                f"{self._host} answers with no rows at all: its data set may be loading, or DATAUSA_URL is wrong"
            )
        return rows

    @property
    def _host(self) -> str:
        address = urlsplit(self.url)
        return f"{address.netloc}{address.path}"


def normalise(row: Any) -> Record:
    """The contract's record of one row, in the words of either API or of the contract itself.

    Raises Reject where the row is no object, lacks a value, or has a year or a population that is no whole number.
    The bounds of the values are the contract's to judge.
    """
    if not isinstance(row, Mapping):
        raise Reject(f"the row is no object but {_shown(row)}")
    record: Record = {name: _first(row, names) for name, names in _NAMES.items()}
    if record["ID_Year"] is None:
        raise Reject("the year is missing")
    year = _year("ID_Year", record["ID_Year"])
    record["ID_Year"], record["Year"] = year, _year("Year", record["Year"])
    record["time"] = (datetime(year, 1, 1, tzinfo=UTC) - EPOCH) // _MS
    record["Population"] = _people(record["Population"])
    if record["Slug_Nation"] is None and isinstance(record["Nation"], str):
        record["Slug_Nation"] = _slug(record["Nation"])
    for name, value in record.items():
        if value is None:
            raise Reject(f"{name} is missing")
    return record


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _year(name: str, value: Any) -> int:
    """The former API writes years as "2021"."""
    year = int(value) if isinstance(value, str) and re.fullmatch(r"\d{1,4}", value, re.ASCII) else _whole(value)
    if year is None or not MINYEAR <= year <= MAXYEAR:
        raise Reject(f"{name} is {_shown(value)}, not a year")
    return year


def _people(value: Any) -> int | None:
    """The present API writes populations as 331893745.0."""
    if value is None:
        return None
    if (people := _whole(value)) is None:
        raise Reject(f"Population is {_shown(value)}, not a whole number")
    return people


def _whole(value: Any) -> int | None:
    """An int, or a float without a fraction; None for anything else."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _slug(name: str) -> str:
    """A name as it stands in addresses: `united-states`."""
    return re.sub(r"[\W_]+", "-", name.lower()).strip("-")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}..."
