"""What a run of Open-Meteo may be asked for: locations and variables, checked before anything is fetched."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple

from penstock.core.errors import Fatal

OPTIONS = ("latitudes", "longitudes", "variables")


class Location(NamedTuple):
    """A coordinate as it was asked for, in degrees WGS84: the identity of the rows."""

    latitude: float
    longitude: float


@dataclass(frozen=True)
class Options:
    """Checked options. `latitudes` and `longitudes` belong together by position."""

    locations: tuple[Location, ...]
    variables: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The same options in the form in which they are given."""
        return {
            "latitudes": [place.latitude for place in self.locations],
            "longitudes": [place.longitude for place in self.locations],
            "variables": list(self.variables),
        }

    @classmethod
    def parse(cls, given: Mapping[str, Any], defaults: Mapping[str, Any], known: Sequence[str]) -> Options:
        """Check `given`, with `defaults` for what it leaves out, against the `known` variable names.

        A list may be given as one, as comma-separated text or as JSON text. Locations that repeat are taken once.
        Raises Fatal, naming the valid values.
        """
        if unknown := sorted(given.keys() - set(OPTIONS)):
            raise Fatal(f"unknown options: {', '.join(unknown)}; known are {', '.join(OPTIONS)}")
        latitudes, longitudes, variables = (_entries(name, given.get(name)) for name in OPTIONS)
        if not latitudes and not longitudes:
            latitudes, longitudes = list(defaults["latitudes"]), list(defaults["longitudes"])
        return cls(_locations(latitudes, longitudes), _variables(variables or defaults["variables"], known))


def _entries(name: str, value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            return _json_entries(name, value)
        return [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, int | float):
        return [value]
    if isinstance(value, Iterable) and not isinstance(value, Mapping | bytes):
        return list(value)
    raise Fatal(f"{name} is {value!r}: give a list, or one text with commas between the values")


def _json_entries(name: str, text: str) -> list[Any]:
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        raise Fatal(f"{name} is {text!r}, which begins like a JSON list and is none: {error}") from error
    return list(entries)


def _locations(latitudes: Sequence[Any], longitudes: Sequence[Any]) -> tuple[Location, ...]:
    if len(latitudes) != len(longitudes):
        raise Fatal(
            f"{len(latitudes)} latitudes and {len(longitudes)} longitudes: give one longitude for each latitude, "
            "in the same order"
        )
    pairs = [
        Location(_degrees("latitudes", at, latitude, 90), _degrees("longitudes", at, longitude, 180))
        for at, (latitude, longitude) in enumerate(zip(latitudes, longitudes, strict=True), start=1)
    ]
    return tuple(dict.fromkeys(pairs))


def _degrees(name: str, at: int, value: Any, limit: int) -> float:
    try:
        degrees = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        degrees = math.nan
    if not -limit <= degrees <= limit:
        raise Fatal(f"number {at} of {name} is {value!r}: give degrees from -{limit} to {limit}, such as 52.52")
    return degrees + 0.0  # makes one zero of -0.0 and 0.0


def _variables(names: Sequence[Any], known: Sequence[str]) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(str(name) for name in names))
    if unknown := [name for name in chosen if name not in known]:
        raise Fatal(
            f"unknown variables: {', '.join(_with_hint(name, known) for name in unknown)}. "
            f"The {len(known)} known ones are {', '.join(known)}"
        )
    return chosen


def _with_hint(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, n=3)
    return f"{name} (did you mean {' or '.join(close)}?)" if close else name
