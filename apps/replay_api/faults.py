"""Faults that a test or a person switches on: what a real host does on its bad days."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fastapi import Response

_HTML = "<html><body><h1>Bad gateway</h1></body></html>"
_LIMIT = "{} API request limit exceeded. Please try again {}."


RETRY_AFTER_SECONDS = 2
"""What the fault `429` asks for."""


class Kind(StrEnum):
    """What goes wrong."""

    LIMIT_MINUTE = "429-minute"
    LIMIT_HOUR = "429-hour"
    LIMIT_DAY = "429-day"
    CONCURRENT = "429-concurrent"
    REFUSED = "400"
    SERVER_ERROR = "500"
    UNAVAILABLE = "503"
    SLOW = "slow"
    TRUNCATED = "truncated"
    HTML = "html"
    ERROR_WITH_200 = "200-error"
    BAD_VALUE = "bad-value"
    NULL_BLOCK = "null-block"
    UNDEFINED_UNIT = "undefined-unit"
    WRONG_UNIT = "wrong-unit"
    SHORT_COLUMN = "short-column"
    MISSING_ROWS = "missing-rows"
    NOT_FOUND = "404"
    NO_DATA = "no-data"
    EMPTY_DATA = "empty-data"
    NEGATIVE_POPULATION = "negative-population"
    NO_POPULATION = "no-population"
    NO_YEAR = "no-year"
    JUNK_ROW = "junk-row"
    REVISED = "revised"
    TOO_MANY = "429"
    CLOSE = "close"
    STALL = "stall"
    HALF_FRAME = "half-frame"
    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "out-of-order"
    CANARY = "canary"
    JUNK_FRAME = "junk-frame"


STREAM_KINDS = frozenset(
    {Kind.CLOSE, Kind.STALL, Kind.HALF_FRAME, Kind.DUPLICATE, Kind.OUT_OF_ORDER, Kind.CANARY, Kind.JUNK_FRAME}
)
"""Those that spoil a stream while it flows."""

REQUEST_KINDS = frozenset(Kind) - STREAM_KINDS


_ERRORS: Mapping[Kind, tuple[int, str]] = {
    Kind.LIMIT_MINUTE: (429, _LIMIT.format("Minutely", "in one minute")),
    Kind.LIMIT_HOUR: (429, _LIMIT.format("Hourly", "in the next hour")),
    Kind.LIMIT_DAY: (429, _LIMIT.format("Daily", "tomorrow")),
    Kind.CONCURRENT: (429, "Too many concurrent requests"),
    Kind.TOO_MANY: (429, "Too Many Requests"),
    Kind.REFUSED: (400, "Refused on request"),
    Kind.NOT_FOUND: (404, "Not found"),
    Kind.SERVER_ERROR: (500, "Internal Server Error"),
    Kind.UNAVAILABLE: (503, "Service Unavailable"),
    Kind.ERROR_WITH_200: (200, "Unexpected error while streaming data: timeoutReached"),
}


@dataclass
class Fault:
    """One fault: how many more requests it hits, and how long `slow` or a fault of a stream takes, in seconds.

    It hits only requests whose path begins with `path`, and streams that are open there.
    """

    kind: Kind
    times: int = 1
    seconds: float = 0.0
    path: str = "/"


class Faults:
    """The faults that are switched on, first in, first to hit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: deque[Fault] = deque()

    def add(self, fault: Fault) -> None:
        """Switch one on, after those that already are."""
        with self._lock:
            self._pending.append(fault)

    def clear(self) -> None:
        """Switch all off."""
        with self._lock:
            self._pending.clear()

    def pending(self) -> list[Fault]:
        """Those that are on."""
        with self._lock:
            return list(self._pending)

    def next(self, path: str, kinds: Collection[Kind] = REQUEST_KINDS) -> Fault | None:
        """The fault of the next request, which is to `path` and is counted; or, of STREAM_KINDS, of its stream."""
        if not self._pending:
            return None
        with self._lock:
            hits = (each for each in self._pending if each.kind in kinds and path.startswith(each.path))
            fault = next(hits, None)
            if fault is not None:
                fault.times -= 1
                if fault.times < 1:
                    self._pending.remove(fault)
            return fault


def error(status: int, reason: str, *, reason_first: bool) -> Response:
    """An error body; the real one has its two keys in either order."""
    body: dict[str, Any] = {"reason": reason, "error": True} if reason_first else {"error": True, "reason": reason}
    return Response(json.dumps(body, separators=(",", ":"), ensure_ascii=False), status, media_type="application/json")


def instead(kind: Kind, *, reason_first: bool) -> Response | None:
    """What is answered in place of the data, or None for a fault that spoils the data."""
    if kind is Kind.HTML:
        return Response(_HTML, media_type="text/html")
    if kind in _ERRORS:
        status, reason = _ERRORS[kind]
        response = error(status, reason, reason_first=reason_first)
        if kind is Kind.TOO_MANY:
            response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return response
    return None


def spoil(kind: Kind, body: str) -> str:
    """The weather in `body` with the fault in it."""
    if kind is Kind.TRUNCATED:
        return body[: len(body) // 2]
    if kind not in _SPOILERS:
        return body
    answer = json.loads(body)
    for place in answer if isinstance(answer, list) else [answer]:
        for block in ("hourly", "daily"):
            if block in place:
                _SPOILERS[kind](place[block], place[f"{block}_units"])
    return json.dumps(answer, separators=(",", ":"), ensure_ascii=False)


def _first_variable(columns: Mapping[str, Any]) -> str:
    return next(name for name in columns if name != "time")


def _bad_value(columns: dict[str, list[Any]], _units: dict[str, str]) -> None:
    columns[_first_variable(columns)][0] = "n/a"


def _null_block(columns: dict[str, list[Any]], _units: dict[str, str]) -> None:
    for name in columns.keys() - {"time"}:
        columns[name] = [None] * len(columns[name])


def _undefined_unit(columns: dict[str, list[Any]], units: dict[str, str]) -> None:
    name = _first_variable(columns)
    columns[name], units[name] = [None] * len(columns[name]), "undefined"


def _wrong_unit(columns: dict[str, list[Any]], units: dict[str, str]) -> None:
    units[_first_variable(columns)] = "furlong"


def _short_column(columns: dict[str, list[Any]], _units: dict[str, str]) -> None:
    columns[_first_variable(columns)].pop()


def _missing_rows(columns: dict[str, list[Any]], _units: dict[str, str]) -> None:
    for values in columns.values():
        del values[len(values) // 2 :]


_SPOILERS: Mapping[Kind, Callable[[dict[str, list[Any]], dict[str, str]], None]] = {
    Kind.BAD_VALUE: _bad_value,
    Kind.NULL_BLOCK: _null_block,
    Kind.UNDEFINED_UNIT: _undefined_unit,
    Kind.WRONG_UNIT: _wrong_unit,
    Kind.SHORT_COLUMN: _short_column,
    Kind.MISSING_ROWS: _missing_rows,
}
