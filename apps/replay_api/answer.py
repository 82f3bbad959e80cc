"""The body of an answer, written column by column: a year of a hundred places is some million values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import numpy as np

from apps.replay_api.query import DAY, Query
from apps.replay_api.variables import DAILY, HOURLY, MOMENTS, Daily
from apps.replay_api.weather import Array, Hourly, Place
from penstock.core.contract import Contract

_DIGITS = {
    "%": 0,
    "°": 0,
    "wmo code": 0,
    "": 0,
    "°C": 1,
    "km/h": 1,
    "hPa": 1,
    "W/m²": 1,
    "J/kg": 1,
    "h": 1,
    "mm": 2,
    "cm": 2,
    "m": 2,
    "m/s": 2,
    "s": 2,
    "kPa": 2,
    "MJ/m²": 2,
    "m³/m³": 3,
}
"""Decimals by unit: https://github.com/open-meteo/open-meteo/blob/main/Sources/App/Helper/SiUnit.swift"""

_HOUR = timedelta(hours=1)
_MS_PER_VALUE = 5e-5


def bodies(query: Query, contracts: Mapping[str, Contract], now: datetime) -> Iterator[str]:
    """The JSON object of each location, in the order of the question."""
    offsets = [query.utc_offset(longitude, now) for _, longitude in query.coordinates]
    for at, (coordinate, (offset, zone, abbreviation)) in enumerate(zip(query.coordinates, offsets, strict=True)):
        place = Place.nearest(*coordinate)
        days = (query.last - query.first).days + 1
        values = days * (24 * len(query.variables["hourly"]) + len(query.variables["daily"]))
        head = {
            "latitude": place.latitude,
            "longitude": place.longitude,
            "generationtime_ms": round(_MS_PER_VALUE * values, 4),
            "utc_offset_seconds": int(offset.total_seconds()),
            "timezone": zone,
            "timezone_abbreviation": abbreviation,
            "elevation": place.elevation,
        }
        if at:
            head["location_id"] = at
        blocks = [
            _block(block, names, contracts[block], place, _Axis(query.first, days, offset))
            for block, names in query.variables.items()
            if names
        ]
        yield ",".join([_json(head)[:-1], *blocks]) + "}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class _Axis:
    """The days of an answer whose times are local, `offset` ahead of UTC."""

    def __init__(self, first: date, days: int, offset: timedelta) -> None:
        start = datetime(first.year, first.month, first.day, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
        self.days = days
        self.local_start = start / _HOUR
        self.offset = offset / _HOUR

    def local(self, step: timedelta) -> Array:
        """The local hours of the rows, counted from the epoch."""
        return self.local_start + np.arange(self.days * (DAY // step), dtype=np.float64) * (step / _HOUR)

    def utc(self, step: timedelta) -> Array:
        """The same in UTC."""
        return self.local(step) - self.offset


def _block(block: str, names: tuple[str, ...], contract: Contract, place: Place, axis: _Axis) -> str:
    units = {
        name: "iso8601" if name in {"time", *MOMENTS} else contract.by_name[name].unit for name in ("time", *names)
    }
    hourly = block == "hourly"
    step = _HOUR if hourly else DAY
    times = _times(axis.local(step), "m" if hourly else "D")
    columns = [f'"time":{times}']
    at, on = Hourly(place, axis.utc(step)), Daily(place, axis.utc(step))
    for name in names:
        values = HOURLY[name](at) if hourly else DAILY[name](on)
        text = _times(values + axis.offset, "m") if name in MOMENTS else _numbers(values, _DIGITS[units[name] or ""])
        columns.append(f'"{name}":{text}')
    return f'"{block}_units":{_json(units)},"{block}":{{{",".join(columns)}}}'


def _times(hours: Array, unit: Literal["m", "D"]) -> str:
    minutes = np.rint(hours * 60).astype("datetime64[m]")
    return _json(np.datetime_as_string(minutes, unit=unit).tolist())


def _numbers(values: Array, digits: int) -> str:
    """A JSON array. Each distinct value is formatted once: rounded weather repeats a lot."""
    scale = 10**digits
    distinct, positions = np.unique(np.rint(values * scale).astype(np.int64), return_inverse=True)
    texts = np.array([f"{value / scale:.{digits}f}" for value in distinct.tolist()], dtype=object)
    return f"[{','.join(texts[positions].tolist())}]"
