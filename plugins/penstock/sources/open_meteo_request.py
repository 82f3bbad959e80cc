"""One request to Open-Meteo: what it asks, its URL, its weight, and how much one may ask at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from math import inf
from urllib.parse import urlencode

from penstock.sources.dates import DAY
from penstock.sources.open_meteo_options import Location, Options

MAX_LOCATIONS = 100
"""Coordinates of one request: about 4,000 characters, so that the URL stays below the 8,190 that servers take."""

VARIABLES_PER_CALL = 10
DAYS_PER_CALL = 14

MAX_VALUES = 1_000_000
"""Values of one answer: about 10 MB of JSON and 60 MB once parsed."""


class Block(StrEnum):
    """The part of an answer that holds the rows."""

    HOURLY = "hourly"
    DAILY = "daily"

    @property
    def step(self) -> timedelta:
        """The time from one row to the next."""
        return DAY if self is Block.DAILY else timedelta(hours=1)

    @property
    def rows_per_day(self) -> int:
        """Rows that one location has a day."""
        return DAY // self.step


@dataclass(frozen=True)
class Days:
    """The days from `first` to `last`, both included."""

    first: date
    last: date

    @property
    def count(self) -> int:
        """How many they are."""
        return (self.last - self.first).days + 1

    def __str__(self) -> str:
        return f"{self.first} to {self.last}" if self.last > self.first else str(self.first)

    def within(self, other: Days) -> Days | None:
        """Those of the days that `other` has too."""
        first, last = max(self.first, other.first), min(self.last, other.last)
        return Days(first, last) if first <= last else None

    def cut(self, length: int) -> Iterator[Days]:
        """The same days in pieces of `length` days."""
        for start in range(0, self.count, length):
            first = self.first + DAY * start
            yield Days(first, min(self.last, first + DAY * (length - 1)))


@dataclass(frozen=True)
class Question:
    """What one request asks for: some variables at some locations on some days."""

    block: Block
    locations: tuple[Location, ...]
    variables: tuple[str, ...]
    days: Days

    def on(self, days: Days) -> Question:
        """The same question about other days."""
        return replace(self, days=days)

    def smallest(self) -> Question:
        """The same question about the first day of the first location."""
        return replace(self, locations=self.locations[:1], days=Days(self.days.first, self.days.first))

    def url(self, base: str) -> str:
        """The address that asks it of the API at `base`, in UTC."""
        query = {
            "latitude": ",".join(repr(place.latitude) for place in self.locations),
            "longitude": ",".join(repr(place.longitude) for place in self.locations),
            self.block: ",".join(self.variables),
            "start_date": self.days.first.isoformat(),
            "end_date": self.days.last.isoformat(),
            "timezone": "GMT",
        }
        return f"{base}{'&' if '?' in base else '?'}{urlencode(query, safe=',')}"

    @property
    def weight(self) -> float:
        """How many calls the request counts as.

        Ten variables over two weeks at one location are one call; more of either count in proportion, fewer do not
        count less: https://github.com/open-meteo/open-meteo/issues/438#issuecomment-1722945326
        """
        variables = len(self.variables) / VARIABLES_PER_CALL
        return len(self.locations) * max(1.0, variables, variables * self.days.count / DAYS_PER_CALL)


def questions(block: Block, options: Options, days: Days, heaviest: float = inf) -> Iterator[Question]:
    """Cut what `options` ask about `days` into requests that are within bounds, by locations first, then by days.

    None weighs more than `heaviest`, unless one day of one location does.
    """
    whole = Question(block, options.locations, options.variables, days)
    size = max(1, int(min(MAX_LOCATIONS, heaviest / whole.smallest().weight)))
    for start in range(0, len(options.locations), size):
        locations = options.locations[start : start + size]
        series = len(locations) * len(options.variables)
        days_by_values = MAX_VALUES / (block.rows_per_day * (series + len(locations)))
        days_by_weight = heaviest * VARIABLES_PER_CALL * DAYS_PER_CALL / series
        for piece in days.cut(max(1, int(min(days_by_values, days_by_weight)))):
            yield replace(whole, locations=locations, days=piece)
