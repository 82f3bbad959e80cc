"""Whether a record of a stream comes too late to be counted in its minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from penstock.airflow.candidates import kept
from penstock.core.counts import OffsetRange
from penstock.core.errors import Reject
from penstock.core.record import Record
from penstock.core.settings import Kafka
from penstock.core.stream import Stream
from penstock.kafka.reader import extent
from penstock.kafka.reader import read as read_messages

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE_MS = 60_000

_LAST = 100
"""Offsets at a partition's end, among which its newest event is looked for."""


def late(of: Stream, record: Record, kafka: Kafka) -> str | None:
    """That the record's minute is closed by now, if it is: by the newest records of each partition.

    Raises Retry where Kafka is away.
    """
    event_time = of.contract.event_time
    minute = int(record[event_time] or 0) // _MINUTE_MS * _MINUTE_MS
    newest = [at for each in extent(kafka, of.topic) if (at := _newest(of, each, kafka)) is not None]
    closed = minute + _MINUTE_MS + of.lateness // timedelta(milliseconds=1)
    if not newest or min(newest) < closed:
        return None
    return (
        f"its minute, {_EPOCH + timedelta(milliseconds=minute):%Y-%m-%d %H:%M} UTC, is closed: it is counted as late, "
        "and not in that minute"
    )


def _newest(of: Stream, held: OffsetRange, kafka: Kafka) -> int | None:
    """The newest event time, in ms since the epoch, of a partition's last records; None where there is none."""
    from penstock.sinks.json_rows import normaliser, parse

    normalise, newest = normaliser(of.normaliser), None
    last = OffsetRange(held.partition, max(held.start, held.end - _LAST), held.end)
    for message in read_messages(kafka, of.topic, [last]):
        try:
            found = kept(of.contract, parse(message.value), normalise)
        except Reject:
            continue  # it closes no minute
        newest = max(int(found[of.contract.event_time] or 0), newest or 0)
    return newest
