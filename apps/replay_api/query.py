"""The parameters of a request, checked as Open-Meteo checks them, and refused in its words."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAY = timedelta(days=1)
BLOCKS = ("hourly", "daily")

_DEFAULT_FORECAST_DAYS = 7
_MAX_FORECAST_DAYS = 16
_MAX_PAST_DAYS = 92


class BadRequest(Exception):
    """An HTTP 400 with this reason."""


class Parameters(Protocol):
    """The query string, in which a name may repeat."""

    def getlist(self, key: str) -> list[str]:
        """All values of one name."""
        ...


@dataclass(frozen=True)
class Window:
    """The days that a host has, counted from today; a date is fixed."""

    first: date | int
    last: int

    def on(self, today: date) -> tuple[date, date]:
        """The first and the last of them."""
        first = self.first if isinstance(self.first, date) else today + DAY * self.first
        return first, today + DAY * self.last


@dataclass(frozen=True)
class Query:
    """What is asked: coordinates in degrees, days (both included) in a time zone, variables of each block."""

    coordinates: tuple[tuple[float, float], ...]
    first: date
    last: date
    zone: str
    variables: Mapping[str, tuple[str, ...]]

    @classmethod
    def parse(
        cls, parameters: Parameters, window: Window, known: Mapping[str, Collection[str]], now: datetime
    ) -> Query:
        """Raises BadRequest with the reason that Open-Meteo gives."""
        zone = _last(parameters, "timezone") or "GMT"
        first, last = _days(parameters, window, now)
        return cls(
            coordinates=_coordinates(_split(parameters, "latitude"), _split(parameters, "longitude")),
            first=first,
            last=last,
            zone=zone,
            variables={block: _known(_split(parameters, block), known[block]) for block in BLOCKS},
        )

    def utc_offset(self, longitude: float, now: datetime) -> tuple[timedelta, str, str]:
        """The offset that holds now, which is applied to the whole answer, with the zone's name and abbreviation.

        `auto` is the whole hour nearest to the sun's. Raises BadRequest for no known zone.
        """
        name = f"Etc/GMT{-round(longitude / 15):+d}" if self.zone == "auto" else self.zone
        try:
            moment = now.astimezone(ZoneInfo(name))
        except (ZoneInfoNotFoundError, ValueError):
            raise BadRequest("Invalid timezone") from None
        return moment.utcoffset() or timedelta(0), name, moment.tzname() or name


def _split(parameters: Parameters, name: str) -> list[str]:
    return [part for value in parameters.getlist(name) for part in value.split(",") if part]


def _last(parameters: Parameters, name: str) -> str | None:
    values = parameters.getlist(name)
    return values[-1] if values else None


def _known(names: list[str], known: Collection[str]) -> tuple[str, ...]:
    for name in names:
        if name not in known:
            raise BadRequest(
                "Cannot initialize SurfaceAndPressureVariable<ForecastSurfaceVariable, ForecastPressureVariable> "
                f"from invalid String value {name} for key "
            )
    return tuple(names)


def _coordinates(latitudes: list[str], longitudes: list[str]) -> tuple[tuple[float, float], ...]:
    if not latitudes or not longitudes:
        raise BadRequest("Parameter 'latitude' and 'longitude' must not be empty")
    if len(latitudes) != len(longitudes):
        raise BadRequest("Parameter 'latitude' and 'longitude' must have the same number of elements")
    return tuple(
        (_degrees("Latitude", latitude, 90), _degrees("Longitude", longitude, 180))
        for latitude, longitude in zip(latitudes, longitudes, strict=True)
    )


def _degrees(name: str, text: str, limit: int) -> float:
    try:
        value = float(text)
    except ValueError:
        raise BadRequest(f"Cannot initialize Float from invalid String value {text} for key {name.lower()}") from None
    if math.isnan(value) or abs(value) > limit:
        raise BadRequest(f"{name} must be in range of -{limit} to {limit}°. Given: {value}.")
    return value


def _days(parameters: Parameters, window: Window, now: datetime) -> tuple[date, date]:
    today = now.astimezone(UTC).date()
    start, end = _last(parameters, "start_date"), _last(parameters, "end_date")
    if start is None and end is None:
        past = _count(parameters, "past_days", 0, _MAX_PAST_DAYS)
        ahead = _count(parameters, "forecast_days", _DEFAULT_FORECAST_DAYS, _MAX_FORECAST_DAYS)
        first, last = today - DAY * past, today + DAY * (ahead - 1)
    else:
        if start is None or end is None:
            raise BadRequest("Both 'start_date' and 'end_date' must be set in the url")
        first, last = _date(start), _date(end)
        if last < first:
            raise BadRequest("End-date must be larger or equals than start-date")
    earliest, latest = window.on(today)
    for name, day in (("start_date", first), ("end_date", last)):
        if not earliest <= day <= latest:
            raise BadRequest(f"Parameter '{name}' is out of allowed range from {earliest} to {latest}")
    return first, last


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadRequest("Invalid date format. Make sure to use 'YYYY-MM-DD'") from None


def _count(parameters: Parameters, name: str, default: int, limit: int) -> int:
    text = _last(parameters, name) or str(default)
    if not text.isdecimal() or int(text) > limit:
        label = name.replace("_", " ").capitalize()
        raise BadRequest(f"{label} is invalid. Allowed range 0 to {limit}. Given {text}.")
    return int(text)
