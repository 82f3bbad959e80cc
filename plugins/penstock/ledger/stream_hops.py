"""A stream's records of an interval, counted anew at each hop: each counts by other means than those that moved them.

Records are known by the contract's key and counted by the minute of their event time, in ms since the epoch, UTC.
"""

from __future__ import annotations

import io
import logging
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import requests

from penstock.core.batch import Interval
from penstock.core.errors import Fatal, Reject
from penstock.core.settings import Hdfs, Influx, Kafka, app_url, ledger_url
from penstock.core.stream import Stream
from penstock.kafka.reader import read, since
from penstock.ledger.influx_points import InfluxSums
from penstock.ledger.streams import Streams
from penstock.sinks.hdfs import read_lines
from penstock.sinks.json_rows import normaliser, parser
from penstock.sinks.webhdfs import WebHdfs

log = logging.getLogger(__name__)

MINUTE_MS = 60_000

Counts: TypeAlias = Mapping[int, int]
"""{minute: records}, only minutes that have some."""

Ids: TypeAlias = Mapping[int, npt.NDArray[np.int64]]
"""{minute: the distinct hashes of its records' keys, ascending}. Of a million records, two share one with a chance of
one in 10^7."""

_CLOCKS_DIFFER = timedelta(minutes=1)
"""How much earlier than its event time a record may be on the topic, by the broker's clock."""

_TIMEOUT_SECONDS = 10.0


def milliseconds(time: datetime) -> int:
    """Since the epoch."""
    return int(time.timestamp() * 1000)


def collected(stream: Stream, interval: Interval, environment: Mapping[str, str]) -> Counts | None:
    """What the program says that it took up or made, or None where it does not answer."""
    url = f"{app_url(stream.collected_by, environment)}/counts"
    asked = {"from": interval.start.isoformat(), "to": interval.end.isoformat()}
    try:
        answer = requests.get(url, params=asked, timeout=_TIMEOUT_SECONDS)
    except requests.RequestException as error:
        log.warning("%s was not asked: %s", stream.collected_by, type(error).__name__)
        return None
    if answer.status_code != HTTPStatus.OK:
        raise Fatal(f"{stream.collected_by} refuses to say what it counted: {answer.text.strip()}")
    found = {milliseconds(datetime.fromisoformat(at)): int(number) for at, number in answer.json()["minutes"].items()}
    return {minute: number for minute, number in found.items() if number}


def on_topic(stream: Stream, interval: Interval, kafka: Kafka) -> Ids:
    """The distinct valid records on the topic, whenever they came.

    Raises Retry where Kafka is away, Fatal where it no longer has them or has no such topic.
    """
    ranges = since(kafka, stream.topic, interval.start - _CLOCKS_DIFFER)
    return _distinct(stream, interval, (message.value or b"" for message in read(kafka, stream.topic, ranges)))


def in_raw_copy(stream: Stream, interval: Interval, hdfs: Hdfs) -> Ids:
    """The distinct valid records in the raw copy. Raises Retry where HDFS is away, Fatal where it refuses."""
    first, last = milliseconds(interval.start), milliseconds(interval.end) - 1
    return _distinct(stream, interval, read_lines(hdfs, stream.raw_copy.folder, first, last))


def in_measurement(stream: Stream, interval: Interval, influx: Influx) -> Counts:
    """What the measurement's minutes add up to. Raises Retry where InfluxDB is away, Fatal where it refuses."""
    sums = InfluxSums(influx, stream.aggregate.measurement.name, stream.aggregate.counts)
    return sums.by_minute(milliseconds(interval.start), milliseconds(interval.end))


def in_files(stream: Stream, interval: Interval, hdfs: Hdfs) -> Counts:
    """What the Parquet files' minutes add up to. Raises Retry where HDFS is away, Fatal where it refuses."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    totals: defaultdict[int, int] = defaultdict(int)
    event_time = stream.aggregate.contract.event_time
    with WebHdfs(hdfs) as client:
        for date in _dates(interval):
            folder = f"{stream.aggregate.folder}/date={date}"
            for entry in client.entries(folder):
                if entry.is_folder or entry.name.startswith((".", "_")):
                    continue
                table = pq.read_table(io.BytesIO(b"".join(client.read(entry.path))), partitioning=None)
                minutes = table.column(event_time).cast(pa.timestamp("ms", "UTC")).cast(pa.int64()).to_numpy()
                numbers = sum(table.column(name).to_numpy() for name in stream.aggregate.counts)
                for minute, number in zip(minutes.tolist(), np.asarray(numbers).tolist(), strict=True):
                    totals[minute] += number
    return _within(interval, totals)


def aggregates(stream: Stream, environment: Mapping[str, str]) -> dict[str, Callable[[Interval], Counts]]:
    """{where the aggregate is: how to count it there}."""
    influx = Influx.from_env(environment)
    found: dict[str, Callable[[Interval], Counts]] = {
        stream.aggregate.measurement.name: lambda interval: in_measurement(stream, interval, influx)
    }
    if stream.aggregate.folder is not None:
        hdfs = Hdfs.from_env(environment)
        found[f"hdfs:{stream.aggregate.folder}"] = lambda interval: in_files(stream, interval, hdfs)
    return found


def _distinct(stream: Stream, interval: Interval, values: Iterable[bytes]) -> Ids:
    normalise = normaliser(stream.normaliser)
    parse, contract = parser(normalise), stream.contract
    first, end = milliseconds(interval.start), milliseconds(interval.end)
    hashes: defaultdict[int, array[int]] = defaultdict(lambda: array("q"))
    for value in values:
        try:
            record = parse(value)
            record = normalise(record) if normalise else record
        except Reject:
            continue  # it is with the dead letters
        if not isinstance(record, dict) or contract.violation(record) is not None:
            continue
        at = int(record[contract.event_time] or 0)
        if first <= at < end:
            hashes[at - at % MINUTE_MS].append(hash(tuple(record[name] for name in contract.key)))
    return {minute: np.unique(np.frombuffer(each, np.int64)) for minute, each in sorted(hashes.items())}


def _dates(interval: Interval) -> Iterable[str]:
    date = interval.start.astimezone(UTC).date()
    while date <= (interval.end - timedelta(milliseconds=1)).astimezone(UTC).date():
        yield date.isoformat()
        date += timedelta(days=1)


def _within(interval: Interval, counts: Mapping[int, int]) -> Counts:
    first, end = milliseconds(interval.start), milliseconds(interval.end)
    return {minute: number for minute, number in counts.items() if first <= minute < end and number}


def late(stream: Stream, interval: Interval, environment: Mapping[str, str]) -> int:
    """How many records came after their minute was closed, of all those taken since the interval began.

    Raises Retry where the ledger is away.
    """
    with closing(Streams(ledger_url(environment))) as streams:
        return streams.late_since(stream.name, interval.start)
