"""Whether a stream's minutes are whole: each hop's count against the next one's."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from penstock.core.batch import Interval
from penstock.core.errors import Fatal
from penstock.core.settings import Hdfs, Kafka, ledger_url
from penstock.core.stream import MINUTE, Stream
from penstock.ledger import postgres, stream_hops
from penstock.ledger.reconcile import WHOLE
from penstock.ledger.stream_hops import Counts, Ids

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 5.0
_NAMED = 3

_WRITE = """
    INSERT INTO stream_intervals
        (stream, interval_start, interval_end, collected, on_topic, raw_copied, aggregated, late, verdict)
    VALUES (%(stream)s, %(start)s, %(end)s, %(collected)s, %(on_topic)s, %(raw_copied)s, %(aggregated)s, %(late)s,
            %(verdict)s)
    ON CONFLICT (stream, interval_start, interval_end) DO UPDATE SET
        collected = excluded.collected, on_topic = excluded.on_topic, raw_copied = excluded.raw_copied,
        aggregated = excluded.aggregated, late = excluded.late, verdict = excluded.verdict, judged = now()
"""

_READ = """
    SELECT stream, interval_start, interval_end, collected, on_topic, raw_copied, aggregated, late, verdict, judged
    FROM stream_intervals
    WHERE %(stream)s::text IS NULL OR stream = %(stream)s
    ORDER BY interval_end DESC, stream LIMIT %(limit)s
"""


@dataclass(frozen=True)
class StreamRow:
    """What became of an interval's records, as in the ledger's stream_intervals; `aggregated` is {where: records}."""

    stream: str
    interval_start: datetime
    interval_end: datetime
    collected: int | None
    on_topic: int
    raw_copied: int
    aggregated: Mapping[str, int]
    late: int
    verdict: str
    judged: datetime | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing is missing or double anywhere."""
        return self.verdict == WHOLE

    def to_json(self) -> dict[str, Any]:
        """Only JSON types; times in ISO 8601, in UTC."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(self).items()
        }


@dataclass(frozen=True)
class Hops:
    """What each hop has of an interval."""

    collected: Counts | None
    on_topic: Ids
    raw_copied: Ids
    aggregated: Mapping[str, Counts]
    late: int = 0

    def gaps(self) -> list[str]:
        """What is missing or double where, one phrase a hop."""
        return [*self._uncollected(), *self._uncopied(), *self._miscounted()]

    def _uncollected(self) -> Iterator[str]:
        if self.collected is None:
            return
        lacking = {
            minute: number - len(self.on_topic.get(minute, ())) for minute, number in sorted(self.collected.items())
        }
        if short := {minute: number for minute, number in lacking.items() if number > 0}:
            yield f"the topic lacks {sum(short.values())} of the records collected, {_named(short)}"

    def _uncopied(self) -> Iterator[str]:
        nothing = np.empty(0, np.int64)
        lacking = {
            minute: len(np.setdiff1d(ids, self.raw_copied.get(minute, nothing), assume_unique=True))
            for minute, ids in self.on_topic.items()
        }
        if short := {minute: number for minute, number in lacking.items() if number}:
            yield f"the raw copy lacks {sum(short.values())} of the topic's records, {_named(short)}"

    def _miscounted(self) -> Iterator[str]:
        """What came late is not in the aggregate, and is known by its number only."""
        for where, counts in self.aggregated.items():
            minutes = sorted({*self.on_topic, *counts})
            off = {each: counts.get(each, 0) - len(self.on_topic.get(each, ())) for each in minutes}
            double = {minute: number for minute, number in off.items() if number > 0}
            lacking = {minute: -number for minute, number in off.items() if number < 0}
            if double:
                yield f"{where} counts {sum(double.values())} records too many, {_named(double)}"
            if sum(lacking.values()) > self.late:
                late = f" ({self.late} came late)" if self.late else ""
                yield f"{where} lacks {sum(lacking.values())} of the topic's records{late}, {_named(lacking)}"

    def row(self, stream: Stream, interval: Interval) -> StreamRow:
        """The counts and the verdict."""
        return StreamRow(
            stream=stream.name,
            interval_start=interval.start,
            interval_end=interval.end,
            collected=None if self.collected is None else sum(self.collected.values()),
            on_topic=sum(map(len, self.on_topic.values())),
            raw_copied=sum(map(len, self.raw_copied.values())),
            aggregated={where: sum(counts.values()) for where, counts in self.aggregated.items()},
            late=self.late,
            verdict="; ".join(self.gaps()) or WHOLE,
        )


def count(stream: Stream, interval: Interval, environment: Mapping[str, str]) -> Hops:
    """Count an interval at every hop, in the stream's direction.

    Raises Retry where a server is away, Fatal where one refuses or the interval is not of whole minutes.
    """
    if any(each.second or each.microsecond for each in (interval.start, interval.end)):
        raise Fatal(f"{interval} is not of whole minutes: a stream is counted by the minute")
    return Hops(
        collected=stream_hops.collected(stream, interval, environment),
        on_topic=stream_hops.on_topic(stream, interval, Kafka.from_env(environment)),
        raw_copied=stream_hops.in_raw_copy(stream, interval, Hdfs.from_env(environment)),
        aggregated={where: ask(interval) for where, ask in stream_hops.aggregates(stream, environment).items()},
        late=stream_hops.late(stream, interval, environment),
    )


def judge(
    stream: Stream,
    interval: Interval,
    environment: Mapping[str, str],
    patience: float,
    say: Callable[[str], None] = log.info,
) -> StreamRow:
    """Count until the interval is whole, for up to `patience` seconds, and write the last word into the ledger.

    What is on its way is not lost: a minute is out once its stream has gone on beyond it. Raises as `count` does.
    """
    deadline = time.monotonic() + patience
    while True:
        row = count(stream, interval, environment).row(stream, interval)
        if row.whole or time.monotonic() > deadline:
            break
        say(f"{stream} {interval}: {row.verdict}; waiting")
        time.sleep(_PAUSE_SECONDS)
    StreamVerdicts(ledger_url(environment)).write(row)
    return row


class StreamVerdicts:
    """The verdicts in the ledger at an address.

    Methods raise Retry where the database is away, Fatal where it refuses.
    """

    def __init__(self, url: str) -> None:
        """Raises Fatal where `url` is no PostgreSQL address."""
        self._address = postgres.Address(url)

    def write(self, row: StreamRow) -> None:
        """Write a verdict, in the place of an earlier one of the same interval."""
        values = {
            "stream": row.stream,
            "start": row.interval_start,
            "end": row.interval_end,
            "collected": row.collected,
            "on_topic": row.on_topic,
            "raw_copied": row.raw_copied,
            "aggregated": Jsonb(dict(row.aggregated)),
            "late": row.late,
            "verdict": row.verdict,
        }
        with postgres.translated(self._address), closing(postgres.connect(self._address)) as session:
            session.execute(_WRITE, values)

    def rows(self, stream: str | None = None, limit: int = 100) -> list[StreamRow]:
        """The newest verdicts, oldest first."""
        with postgres.translated(self._address), closing(postgres.connect(self._address)) as session:
            cursor = session.cursor(row_factory=dict_row)
            found = cursor.execute(_READ, {"stream": stream, "limit": limit}).fetchall()
        return [_row(each) for each in reversed(found)]


def _row(found: dict[str, Any]) -> StreamRow:
    in_utc = {name: each.astimezone(UTC) for name, each in found.items() if isinstance(each, datetime)}
    return StreamRow(**found | in_utc)


def whole_minutes_since(time_: datetime, now: datetime) -> Interval | None:
    """The minutes that began at or after `time_` and are over, or None where there is none."""
    first = time_.replace(second=0, microsecond=0)
    first += MINUTE if first < time_ else MINUTE * 0
    end = now.replace(second=0, microsecond=0)
    return Interval(first, end) if first < end else None


def _named(minutes: Mapping[int, int]) -> str:
    shown = [f"{datetime.fromtimestamp(each / 1000, UTC):%H:%M} {number}" for each, number in sorted(minutes.items())]
    more = f" and {len(shown) - _NAMED} more minutes" if len(shown) > _NAMED else ""
    return f"by minute: {', '.join(shown[:_NAMED])}{more}"
