"""What a measurement of InfluxDB holds of a batch, by other means than those that wrote it: its InfluxQL queries.

https://docs.influxdata.com/influxdb/v2/reference/api/influxdb-1x/query/
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import requests

from penstock.core.contract import Contract
from penstock.core.errors import Fatal, Retry
from penstock.core.record import Record
from penstock.core.settings import Influx
from penstock.sinks.line_protocol import AS_OF, NANOSECONDS, SPREAD

_TIMEOUT_SECONDS = 30.0
_HOUR = 3_600_000_000_000
_MS = 1_000_000


@dataclass(frozen=True)
class PointKey:
    """The identity of one point: `time` in ns since the epoch, and the tags' values in the contract's order."""

    time: int
    tags: tuple[str, ...]


class InfluxPoints:
    """Looks points up in one measurement."""

    def __init__(self, where: Influx, measurement: str, contract: Contract) -> None:
        self.name = measurement
        self._where = where
        self._contract = contract
        self._ns = NANOSECONDS[contract.by_name[contract.event_time].kind]
        columns = ", ".join(_identifier(name) for name in (AS_OF, *contract.tags))
        self._select = f"SELECT {columns} FROM {_identifier(measurement)} WHERE time >= {{}} AND time <= {{}}"  # noqa: S608 - InfluxQL cannot bind names; these are quoted

    def key(self, record: Record) -> PointKey:
        """The identity of the record's point."""
        contract = self._contract
        spread = int(record[contract.spread] or 0) % SPREAD if contract.spread else 0
        time = int(record[contract.event_time] or 0) * self._ns + spread
        return PointKey(time, tuple(str(record.get(name) or "") for name in contract.tags))

    def lacking(self, keys: Mapping[PointKey, int]) -> Iterator[PointKey]:
        """See Witness. Points are streamed, never all in memory."""
        wanted = dict(keys)
        for first, last in _clusters(sorted(each.time for each in keys)):
            for key, as_of in self._points(first, last):
                if key in wanted and as_of >= wanted[key]:
                    del wanted[key]
        yield from sorted(wanted, key=lambda key: (key.time, key.tags))

    def named(self, key: PointKey) -> str:
        """With the time to the nanosecond, which is part of the identity."""
        tags = ", ".join(f"{name} {value}" for name, value in zip(self._contract.tags, key.tags, strict=True))
        return f"(time {key.time} ns, {tags})"

    def _points(self, first: int, last: int) -> Iterator[tuple[PointKey, int]]:
        """The identity and as-of time, in µs, of every point from `first` to `last`, in ns."""
        for row in _rows(self._where, self._select.format(first, last)):
            yield PointKey(int(row["time"]), tuple(row[name] for name in self._contract.tags)), int(row[AS_OF])


class InfluxSums:
    """Adds the whole numbers of some fields of one measurement up, all points of a minute together."""

    def __init__(self, where: Influx, measurement: str, fields: Sequence[str]) -> None:
        self._where = where
        self._sums = [f"s{number}" for number in range(len(fields))]
        columns = ", ".join(
            f"sum({_identifier(each)}) AS {name}" for each, name in zip(fields, self._sums, strict=True)
        )
        self._select = (
            f"SELECT {columns} FROM {_identifier(measurement)} "  # noqa: S608 - as above
            "WHERE time >= {}ms AND time < {}ms GROUP BY time(1m) fill(none)"
        )

    def by_minute(self, first_ms: int, end_ms: int) -> dict[int, int]:
        """{minute: sum} of the minutes from `first_ms` to before `end_ms`, in ms since the epoch.

        Raises Retry where InfluxDB is away, Fatal where it refuses.
        """
        found = {
            int(row["time"]) // _MS: sum(int(float(row[name] or 0)) for name in self._sums)
            for row in _rows(self._where, self._select.format(first_ms, end_ms))
        }
        return {minute: number for minute, number in found.items() if number}


def _rows(where: Influx, query: str) -> Iterator[dict[str, str]]:
    """The answer's rows, streamed; times are in ns since the epoch."""
    return csv.DictReader(_lines(where, query))


def _lines(where: Influx, query: str) -> Iterator[str]:
    server = f"InfluxDB at {where.url}"
    asked = {"db": where.bucket, "epoch": "ns", "chunked": "true", "q": query}
    login = {"Authorization": f"Token {where.token}", "Accept": "application/csv"}
    try:
        with requests.post(
            f"{where.url}/query", data=asked, headers=login, stream=True, timeout=_TIMEOUT_SECONDS
        ) as answer:
            if answer.status_code != HTTPStatus.OK:
                raise _refusal(server, answer)
            answer.encoding = "utf-8"
            yield from _unbroken(answer.iter_lines(decode_unicode=True, delimiter="\n"))
    except requests.RequestException as error:
        raise Retry(f"{server} cannot be asked ({type(error).__name__}): is it running?") from error


def _unbroken(lines: Iterable[str]) -> Iterator[str]:
    """The lines of a CSV in several chunks, each of which may begin with the header again."""
    header = None
    for line in lines:
        if header is None:
            header = line
        elif not line or line == header:
            continue
        yield f"{line}\n"


def _refusal(where: str, answer: requests.Response) -> Retry | Fatal:
    said = f"{where} answered HTTP {answer.status_code}: {answer.text.strip()[:500]}"
    if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS or answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Retry(said)
    if answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return Fatal(f"{where} refuses the token: check INFLUXDB_TOKEN and its rights")
    return Fatal(said)


def _clusters(times: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The ranges of ascending times that have no gap of more than an hour."""
    first = previous = None
    for time in times:
        if first is None or previous is None:
            first = time
        elif time - previous > _HOUR:
            yield first, previous
            first = time
        previous = time
    if first is not None and previous is not None:
        yield first, previous


def _identifier(name: str) -> str:
    """Quoted as https://docs.influxdata.com/influxdb/v1/query_language/spec/#identifiers says."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
