"""InfluxDB: cars' records of 300 bytes as points, against the vendor's client and against a POST per row.

Alone: `python -m tests.bench.bench_influx [RECORDS]`, with the addresses in the environment.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
from influxdb_client import Point, WritePrecision

from penstock.core.contract import Contract
from penstock.core.record import Record
from penstock.core.settings import INCLUDE, Influx
from penstock.sinks.columns import arrow_schema
from penstock.sinks.influxdb import InfluxSink
from penstock.sinks.influxdb_http import InfluxHttp
from penstock.sinks.line_protocol import AS_OF, LineProtocol, point_times
from tests.bench.lines import Line, at_least

if TYPE_CHECKING:
    from penstock.stack.context import Context

_RECORDS = 300_000
_CLIENT_RECORDS = 20_000
_POSTS = 2_000
_ROUNDS = 2
_TASKS = 2
"""Sinks that write at once, as a landing on two cores has them."""

_WINDOW = 10_000
_TAG_SETS = 200
_RECORD_BYTES = 300

_CONTRACT = Contract.load(INCLUDE / "avro" / "car-transactions-logs.avsc")
_JANUARY = 1_767_225_600_000
_STAMP = 1_767_225_600_000_000


def run(context: Context, scale: float) -> list[Line]:
    """Measure on the running stack; `scale` makes the load smaller."""
    return measure(context.environment(), round(_RECORDS * scale))


def measure(environment: Mapping[str, str], records: int) -> list[Line]:
    """Each with its baseline in turn, twice over; the better of each counts, as the machine is shared."""
    where = Influx.from_env(environment)
    windows = [as_rows(list(cars(start, _WINDOW))) for start in range(0, records, _WINDOW)]
    few = list(cars(0, _CLIENT_RECORDS))
    ours, client, posts, landing = ([0.0] * _ROUNDS for _ in range(4))
    for turn in range(_ROUNDS):
        ours[turn] = _rate(records, lambda: [_lines(each) for each in windows])
        client[turn] = _rate(_CLIENT_RECORDS, lambda: [_client_line(each) for each in few])
        posts[turn] = post_each(where, _POSTS)
        landing[turn] = _rate(records, lambda: _write(where, windows))
    written = f"write {records:,} records of {_RECORD_BYTES} bytes, {_TASKS} sinks at once"
    return [
        at_least("format records as line protocol", max(ours), "rows/s", "influxdb-client's Point", max(client), 3),
        at_least(written, max(landing), "rows/s", "a POST per row, kept alive", max(posts), 100),
    ]


def _rate(rows: int, work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return rows / (time.perf_counter() - began)


def _measurement() -> str:
    return f"bench{uuid.uuid4().hex[:8]}"


def cars(start: int, count: int) -> Iterator[Record]:
    """Transactions of a few brands and branches, ten a second, each of 300 bytes as JSON."""
    draw = random.Random(start)
    for number in range(start, start + count):
        kind = draw.randrange(_TAG_SETS)
        record: Record = {
            "transaction_id": number,
            "time": _JANUARY + number * 100,
            "buyer_id": draw.randrange(10**6),
            "buyer_name": "",
            "car_brand": f"Brand {kind % 8}",
            "car_model": f"Model {kind % 40}",
            "year": 2000 + kind % 25,
            "color": ("red", "blue", "black", "white")[kind % 4],
            "country": f"Country {kind % 5}",
            "branch": f"Branch {kind % 25}",
            "transaction_price": round(draw.uniform(5_000, 90_000), 2),
        }
        short = _RECORD_BYTES - len(json.dumps(record, separators=(",", ":")))
        yield record | {
            "buyer_name": "Ada Augusta King, Countess of Lovelace, of Ockham Park"[:short].ljust(short, "x")
        }


def as_rows(records: Sequence[Record]) -> pa.RecordBatch:
    """Records as a sink takes them."""
    return pa.RecordBatch.from_pylist(list(records), schema=arrow_schema(_CONTRACT))


def _lines(rows: pa.RecordBatch) -> pa.StringArray:
    return LineProtocol("bench", _CONTRACT).lines(rows, point_times(rows, _CONTRACT)[0], _STAMP)


def _client_line(record: Record) -> str:
    tags = {name: record[name] for name in _CONTRACT.tags}
    fields = {name: value for name, value in record.items() if name not in {*_CONTRACT.tags, "time"}}
    nanoseconds = int(record["time"] or 0) * 1_000_000 + int(record["transaction_id"] or 0) % 1_000_000
    point = {"measurement": "bench", "tags": tags, "fields": fields | {AS_OF: _STAMP}, "time": nanoseconds}
    return Point.from_dict(point, WritePrecision.NS).to_line_protocol()


def _write(where: Influx, windows: Sequence[pa.RecordBatch]) -> None:
    measurement, as_of = _measurement(), datetime.now(UTC)

    def task(number: int) -> int:
        with closing(InfluxSink(where, measurement, _CONTRACT, contested=False)) as sink:
            return sum(sink.write(each, as_of).landed for each in windows[number::_TASKS])

    with ThreadPoolExecutor(_TASKS) as pool:
        landed = sum(pool.map(task, range(_TASKS)))
    assert landed == sum(each.num_rows for each in windows), landed


def post_each(where: Influx, count: int) -> float:
    """Rows a second of one POST for each row, over one connection."""
    rows = as_rows(list(cars(0, count)))
    lines = LineProtocol(_measurement(), _CONTRACT).lines(rows, point_times(rows, _CONTRACT)[0], _STAMP)
    with closing(InfluxHttp(where, patience=60)) as http:
        began = time.perf_counter()
        for line in lines.to_pylist():
            assert http.write(line.encode()) is None, line
        return count / (time.perf_counter() - began)


if __name__ == "__main__":
    asked = int(sys.argv[1]) if len(sys.argv) > 1 else _RECORDS
    for line in measure(os.environ, asked):
        print(json.dumps(line))
