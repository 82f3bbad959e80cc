"""Rows as the points of an InfluxDB measurement, under the batch's as-of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from penstock.core import settings
from penstock.core.contract import Contract
from penstock.core.counts import Count, Extent
from penstock.sinks import influxdb_measurement
from penstock.sinks.base import AsOf, Written
from penstock.sinks.columns import physical_rows
from penstock.sinks.influxdb_http import InfluxHttp, Series, quoted
from penstock.sinks.influxdb_recall import recall
from penstock.sinks.line_protocol import AS_OF, NANOSECONDS, LineProtocol, Times, point_times, unstorable_tags
from penstock.sinks.patience import PATIENCE_SECONDS
from penstock.sinks.points import Mask, Points, Rows, WrittenPoints, identities, key_checks

_REQUEST_LINES = 10_000
_REQUEST_BYTES = 4 << 20
_MILLISECOND = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_TIME = 9_223_372_036_854_775_806  # and its negative: InfluxDB's range, in ns
_OUT_OF_TIME = "its event time is outside of 1677-09-21 to 2262-04-11, which is what InfluxDB can keep"


class InfluxSink:
    """The Sink of one measurement.

    A point is what InfluxDB takes for one: measurement, tags and time, in which the contract's spread field is. A point
    carries the as-of time of who wrote it. InfluxDB has no write times, so the sink itself must keep older rows from
    newer points:

    * `contested`, it asks before each write for newer points at the rows' times, and leaves those rows out. Between
      question and write another writer may come; who cannot rule that out holds a lock on the measurement.
    * Otherwise whoever lands has asked once, with `newest`, and keeps others away meanwhile: rows are written at once.
    * `endless`, it belongs to a landing that never ends and cannot keep its points in memory: before each write it
      recalls from the measurement what is there at the rows' times, and takes it for its own. It needs that lock too.

    `patience` is how long InfluxDB may be away, in seconds.
    """

    def __init__(
        self,
        where: settings.Influx,
        measurement: str,
        contract: Contract,
        *,
        patience: float = PATIENCE_SECONDS,
        contested: bool = True,
        endless: bool = False,
        compress: bool = False,
    ) -> None:
        self._where = where
        self._measurement = measurement
        self._contract = contract
        self._contested = contested and not endless
        self._endless = endless
        self._protocol = LineProtocol(measurement, contract)
        self._http = InfluxHttp(where, patience=patience, compress=compress)
        self._written = WrittenPoints()

    def __repr__(self) -> str:
        return f"InfluxSink({self._where!r}, {self._measurement})"

    def setup(self) -> None:
        """Check that the bucket can be written, and that the measurement, where there is one, fits the contract.

        InfluxDB makes measurements and fields by itself. Raises Fatal where a field has another type there.
        """
        influxdb_measurement.check(self._http, self._where, self._measurement, self._contract)

    def write(self, rows: pa.RecordBatch, as_of: AsOf) -> Written:
        """See Sink.write. `as_of` is one for all rows, or of each its own, as an int64 array of µs since the epoch.

        A repeat of a record is a duplicate, whatever its as-of time: the newest stands. A record of another key at the
        same tags and time would take the other's place, so that the later one is rejected.
        """
        rows = physical_rows(rows, self._contract)
        stamps = _stamps(as_of, rows.num_rows)
        landed = duplicates = 0
        rejects: list[tuple[int, str]] = []
        for begin, end in _requests(rows):
            written = self._write(rows.slice(begin, end - begin), stamps[begin:end])
            landed += written.landed
            duplicates += written.duplicates
            rejects += ((begin + row, reason) for row, reason in written.rejects)
        return Written(landed, duplicates, tuple(rejects))

    def _write(self, rows: pa.RecordBatch, stamps: Times) -> Written:
        """Write the rows of one request."""
        rows = _with_encoded(rows, self._contract.tags)
        times, storable = point_times(rows, self._contract)
        rejects = _unstorable(rows, self._contract, storable)
        good = np.setdiff1d(np.arange(rows.num_rows), list(rejects)) if rejects else np.arange(rows.num_rows)
        points = self._points(rows, times, stamps, good)
        if self._endless:
            there = recall(self._http, self._measurement, self._contract, points.take(good), times[good])
            self._written.remember(there)
        verdict = self._written.judge(points.take(good))
        rejects |= {int(row): self._taken(rows, times, int(row)) for row in good[verdict.taken]}
        write = good[verdict.write]
        refused = self._send(rows, times, stamps, write[~self._superseded(points, write)])
        landed = ~np.isin(write, list(refused))
        self._written.remember(points.take(write[landed]))
        fresh_refused = int((verdict.is_fresh & ~landed).sum())
        return Written(
            landed=int(verdict.is_fresh.sum()) - fresh_refused,
            duplicates=verdict.duplicates - (len(refused) - fresh_refused),
            rejects=tuple(sorted((rejects | refused).items())),
        )

    def newest(self, extent: Extent) -> datetime | None:
        """The newest as-of time of all points, of any tags, with event times within the extent; None without any."""
        newest = self._newest(self._within(extent))
        return None if newest is None else _EPOCH + timedelta(microseconds=newest)

    def count(self, extent: Extent, as_of: datetime) -> Count:
        """See Sink.count; the extent's partitions are values of the contract's tags, in its order."""
        mine = _microseconds(as_of)
        grouped = f" GROUP BY {', '.join(map(quoted, self._contract.tags))}" if self._contract.tags else ""
        query = "; ".join(
            f'SELECT count("{AS_OF}") FROM {quoted(self._measurement)} '  # noqa: S608 - InfluxQL cannot bind names
            f'WHERE {self._within(extent)} AND "{AS_OF}" {whose} {mine}{grouped}'
            for whose in ("=", ">", "<")
        )
        wanted = {tuple(value or "" for value in each) for each in extent.partitions}

        def total(answer: Iterator[Series]) -> Count:
            counts: Counter[int] = Counter()
            for series in answer:
                if tuple(series.tags.get(name, "") for name in self._contract.tags) in wanted:
                    counts[series.statement] += sum(row[1] for row in series.rows)
            return Count(own=counts[0], newer=counts[1], older=counts[2])

        return self._http.ask(query, total)

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def _points(self, rows: pa.RecordBatch, times: Times, stamps: Times, good: Rows) -> Points:
        """All rows as points; their span is that of the `good` ones."""
        tags = [rows.column(name) for name in self._contract.tags]
        key = [rows.column(name) for name in self._contract.key]
        span = (int(times[good].min()), int(times[good].max())) if len(good) else (0, 0)
        return Points(identities(tags, times), key_checks(key, rows.num_rows), stamps, span)

    def _taken(self, rows: pa.RecordBatch, times: Times, row: int) -> str:
        tags = "".join(f", {name} {rows.column(name)[row].as_py()!r}" for name in self._contract.tags)
        return (
            f"another record has its point, {self._measurement}{tags}, time {times[row]} ns: "
            f"InfluxDB keeps one for the same tags and time"
        )

    def _superseded(self, points: Points, chosen: Rows) -> Mask:
        """Which of the `chosen` points must not be written, because they are there with a newer as-of time."""
        superseded = np.zeros(len(chosen), np.bool_)
        if not self._contested or not len(chosen):
            return superseded
        own = points.take(chosen)
        oldest = int(own.as_of.min())
        within = f"time >= {own.span[0]} AND time <= {own.span[1]}"
        newest = self._newest(within)
        if newest is None or newest <= oldest:
            return superseded
        tags = self._contract.tags
        order = np.argsort(own.identities)
        listed = "".join(f", {quoted(name)}::tag" for name in tags)
        query = (
            f'SELECT "{AS_OF}"::field{listed} FROM {quoted(self._measurement)} '  # noqa: S608 - InfluxQL cannot bind names
            f'WHERE {within} AND "{AS_OF}" > {oldest}'
        )

        def mark(answer: Iterator[Series]) -> None:
            for series in filter(lambda each: each.rows, answer):
                found = np.array([row[:2] for row in series.rows], np.int64)
                columns = [pa.array([row[at] for row in series.rows], pa.string()) for at in range(2, 2 + len(tags))]
                wanted = identities(columns, found[:, 0].copy())
                at = np.searchsorted(own.identities, wanted, sorter=order)
                at[at == len(order)] = 0
                there = order[at]
                superseded[there[(own.identities[there] == wanted) & (found[:, 1] > own.as_of[there])]] = True

        self._http.ask(query, mark)
        return superseded

    def _newest(self, within: str) -> int | None:
        """The newest as-of time, in µs, of the points that InfluxQL's condition holds for."""
        query = f'SELECT max("{AS_OF}") FROM {quoted(self._measurement)} WHERE {within}'  # noqa: S608 - InfluxQL cannot bind names
        stamps = self._http.ask(query, lambda answer: [row[1] for series in answer for row in series.rows])
        return stamps[0] if stamps else None

    def _send(self, rows: pa.RecordBatch, times: Times, stamps: Times, chosen: Rows) -> dict[int, str]:
        """Write the `chosen` rows; return {row: reason} of those that InfluxDB refuses."""
        if not len(chosen):
            return {}
        if len(chosen) < rows.num_rows:
            rows, times, stamps = rows.take(pa.array(chosen)), times[chosen], stamps[chosen]
        same = bool((stamps == stamps[0]).all())
        lines = self._protocol.lines(rows, times, int(stamps[0]) if same else pa.array(stamps))
        return {int(chosen[at]): reason for at, reason in self._refused(lines, 0, len(lines))}

    def _refused(self, lines: pa.StringArray, begin: int, end: int) -> Iterator[tuple[int, str]]:
        """Write lines [begin, end); yield those that are refused.

        InfluxDB tells what it found wrong, and not always with which lines: halves are written apart until a single
        line is to blame. Lines that are written again on the way make the same points.
        """
        _, offsets, text = lines.buffers()
        bounds = np.frombuffer(offsets, np.int32)
        reason = self._http.write(text.slice(int(bounds[begin]), int(bounds[end] - bounds[begin])).to_pybytes())
        if reason is None:
            return
        if end - begin == 1:
            yield begin, reason
            return
        middle = (begin + end) // 2
        yield from self._refused(lines, begin, middle)
        yield from self._refused(lines, middle, end)

    def _within(self, extent: Extent) -> str:
        """InfluxQL's condition on the time. The spread puts points up to 1 ms behind their event time."""
        unit = NANOSECONDS[self._contract.by_name[self._contract.event_time].kind]
        first, end = extent.first * unit, extent.last * unit + _MILLISECOND
        return f"time >= {max(first, -_LAST_TIME)} AND time < {min(end, _LAST_TIME)}"


def unstorable_rows(rows: pa.RecordBatch, contract: Contract) -> dict[int, str]:
    """{row: why InfluxDB could never keep it}, of rows that keep the contract."""
    rows = _with_encoded(physical_rows(rows, contract), contract.tags)
    return _unstorable(rows, contract, point_times(rows, contract)[1])


def _unstorable(rows: pa.RecordBatch, contract: Contract, storable: Mask) -> dict[int, str]:
    rejects = dict.fromkeys(np.flatnonzero(~storable).tolist(), _OUT_OF_TIME)
    return rejects | dict(unstorable_tags(rows, contract.tags))


def _microseconds(as_of: datetime) -> int:
    return (as_of - _EPOCH) // timedelta(microseconds=1)


def _stamps(as_of: AsOf, rows: int) -> Times:
    """The as-of time of each row, in µs."""
    if isinstance(as_of, datetime):
        return np.full(rows, _microseconds(as_of))
    stamps: Times = as_of.to_numpy()
    return stamps


def _with_encoded(rows: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
    """The rows with these columns dictionary-encoded, once for all that goes by distinct values."""
    columns = dict(zip(rows.schema.names, rows.columns, strict=True))
    return pa.RecordBatch.from_pydict(columns | {name: columns[name].dictionary_encode() for name in names})


def _requests(rows: pa.RecordBatch) -> Iterator[tuple[int, int]]:
    """(begin, end) of the rows of each request."""
    begin = 0
    while begin < rows.num_rows:
        length = min(_REQUEST_LINES, rows.num_rows - begin)
        while length > 1 and rows.slice(begin, length).nbytes > _REQUEST_BYTES:
            length //= 2
        yield begin, begin + length
        begin += length
