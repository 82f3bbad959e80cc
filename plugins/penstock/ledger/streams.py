"""The micro-batches of streams in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg.types.json import Jsonb

from penstock.core.stream import Fates, MicroBatch
from penstock.ledger import postgres

_WRITTEN = """
    INSERT INTO stream_batches (
        stream, query_id, batch, started, start_offsets, end_offsets, watermark,
        read, rejected, late, duplicates, counted, rows, events, refused
    ) VALUES (
        %(stream)s, %(query_id)s, %(batch)s, %(started)s, %(start)s, %(end)s, %(watermark)s,
        %(read)s, %(rejected)s, %(late)s, %(duplicates)s, %(counted)s, %(rows)s, %(events)s, %(refused)s
    )
    ON CONFLICT (stream, query_id, batch) DO UPDATE SET
        started = excluded.started, written = clock_timestamp(), start_offsets = excluded.start_offsets,
        end_offsets = excluded.end_offsets, watermark = excluded.watermark, read = excluded.read,
        rejected = excluded.rejected, late = excluded.late, duplicates = excluded.duplicates,
        counted = excluded.counted, rows = excluded.rows, events = excluded.events, refused = excluded.refused
"""

_COMMITTED = """
    UPDATE stream_batches
    SET committed = clock_timestamp(), lag = CASE WHEN batch = %(batch)s THEN %(lag)s END
    WHERE stream = %(stream)s AND query_id = %(query_id)s AND batch <= %(batch)s AND committed IS NULL
"""

_LATEST = """
    SELECT query_id::text, batch, started, written, committed, watermark, end_offsets,
        read, rejected, late, duplicates, lag, extract(epoch FROM written - started)::float AS seconds
    FROM stream_batches WHERE stream = %(stream)s ORDER BY written DESC LIMIT 1
"""

_TOTALS = """
    SELECT query_id::text, max(batch) + 1 AS batches, min(started) AS since, sum(read)::bigint AS read,
        sum(rejected)::bigint AS rejected, sum(late)::bigint AS late, sum(duplicates)::bigint AS duplicates,
        sum(rows)::bigint AS rows, sum(events)::bigint AS events, sum(refused)::bigint AS refused
    FROM stream_batches WHERE stream = %(stream)s
    GROUP BY query_id ORDER BY max(written) DESC LIMIT 1
"""

# The last batch of each day takes the sums of all.
_FOLD = """
    WITH days AS (
        SELECT query_id, date_trunc('day', written) AS day, max(batch) AS last, min(started) AS started,
            (array_agg(start_offsets ORDER BY batch))[1] AS start_offsets, sum(read) AS read,
            sum(rejected) AS rejected, sum(late) AS late, sum(duplicates) AS duplicates, sum(counted) AS counted,
            sum(rows) AS rows, sum(events) AS events, sum(refused) AS refused
        FROM stream_batches
        WHERE stream = %(stream)s AND written < date_trunc('day', %(before)s::timestamptz) AND committed IS NOT NULL
        GROUP BY query_id, day HAVING count(*) > 1
    ), folded AS (
        DELETE FROM stream_batches AS each USING days
        WHERE each.stream = %(stream)s AND each.query_id = days.query_id AND each.batch < days.last
          AND date_trunc('day', each.written) = days.day AND each.committed IS NOT NULL
        RETURNING 1
    ), kept AS (
        UPDATE stream_batches AS each SET
            started = days.started, start_offsets = days.start_offsets, read = days.read, rejected = days.rejected,
            late = days.late, duplicates = days.duplicates, counted = days.counted, rows = days.rows,
            events = days.events, refused = days.refused
        FROM days WHERE each.stream = %(stream)s AND each.query_id = days.query_id AND each.batch = days.last
    )
    SELECT count(*) AS folded FROM folded
"""


_CLOSED = """
    INSERT INTO stream_minutes (stream, closed_before) VALUES (%(stream)s, %(closed_before)s)
    ON CONFLICT (stream) DO UPDATE SET closed_before = excluded.closed_before, noted = clock_timestamp()
"""

_LATE_SINCE = """
    SELECT coalesce(sum(late), 0)::bigint AS late FROM stream_batches
    WHERE stream = %(stream)s AND written >= %(since)s
"""


@dataclass(frozen=True)
class Progress:
    """The newest micro-batch of a stream. `seconds` is how long it took; `lag` counts offsets, None if not known yet.

    `committed` is None where the batch is not known to be committed. `end` is {partition: offset}.
    """

    query_id: str
    batch: int
    written: datetime
    committed: datetime | None
    watermark: datetime
    end: Mapping[int, int]
    fates: Fates
    seconds: float
    lag: int | None


@dataclass(frozen=True)
class Totals:
    """What all micro-batches of a checkpoint, the newest one, have done together. See MicroBatch."""

    query_id: str
    batches: int
    since: datetime
    fates: Fates
    rows: int
    events: int
    refused: int

    @property
    def open(self) -> int:
        """Records that are counted in minutes which are not closed yet."""
        return self.fates.counted - self.events


class Streams:
    """The streams' table in the ledger at an address.

    It keeps one session, which threads may share, and makes a new one after a failure. All methods raise Retry where
    the database is away, and Fatal where it refuses.
    """

    def __init__(self, url: str) -> None:
        """Raises Fatal where `url` is no PostgreSQL address."""
        self._session = postgres.Kept(url)

    def __repr__(self) -> str:
        return f"Streams({self._session.address})"

    def close(self) -> None:
        """End the session."""
        self._session.close()

    def written(self, stream: str, batch: MicroBatch) -> None:
        """Write down what a micro-batch has done; a repetition of it takes its place."""
        fates = batch.fates
        values = {
            "stream": stream,
            "query_id": batch.query_id,
            "batch": batch.number,
            "started": batch.started,
            "start": _offsets(batch.start),
            "end": _offsets(batch.end),
            "watermark": batch.watermark,
            "read": fates.read,
            "rejected": fates.rejected,
            "late": fates.late,
            "duplicates": fates.duplicates,
            "counted": fates.counted,
            "rows": batch.rows,
            "events": batch.events,
            "refused": batch.refused,
        }
        self._session.execute(_WRITTEN, values)

    def committed(self, stream: str, query_id: str, batch: int, lag: int | None) -> None:
        """Write down that this micro-batch, and so every earlier one, is committed, with `lag` offsets left to read."""
        self._session.execute(_COMMITTED, {"stream": stream, "query_id": query_id, "batch": batch, "lag": lag})

    def fold(self, stream: str, before: datetime) -> int:
        """Keep one row for each day before that of `before`, UTC, with the day's sums; return how many rows went."""
        ((folded,),) = (row.values() for row in self._session.execute(_FOLD, {"stream": stream, "before": before}))
        return int(folded)

    def latest(self, stream: str) -> Progress | None:
        """The micro-batch that was written last."""
        rows = self._session.execute(_LATEST, {"stream": stream})
        if not rows:
            return None
        (row,) = rows
        return Progress(
            query_id=row["query_id"],
            batch=row["batch"],
            written=row["written"].astimezone(UTC),
            committed=row["committed"].astimezone(UTC) if row["committed"] else None,
            watermark=row["watermark"].astimezone(UTC),
            end={int(partition): offset for partition, offset in row["end_offsets"].items()},
            fates=_fates(row),
            seconds=row["seconds"],
            lag=row["lag"],
        )

    def closed(self, stream: str, before: datetime) -> None:
        """Write down that every minute which ends until `before` is out, as the commits of the stream's group say."""
        self._session.execute(_CLOSED, {"stream": stream, "closed_before": before})

    def late_since(self, stream: str, time: datetime) -> int:
        """How many late records the micro-batches have met that were written since `time`."""
        ((late,),) = (row.values() for row in self._session.execute(_LATE_SINCE, {"stream": stream, "since": time}))
        return int(late)

    def totals(self, stream: str) -> Totals | None:
        """The sums over the checkpoint that was written with last."""
        rows = self._session.execute(_TOTALS, {"stream": stream})
        if not rows:
            return None
        (row,) = rows
        return Totals(
            query_id=row["query_id"],
            batches=row["batches"],
            since=row["since"].astimezone(UTC),
            fates=_fates(row),
            rows=row["rows"],
            events=row["events"],
            refused=row["refused"],
        )


def _offsets(offsets: Mapping[int, int]) -> Jsonb:
    return Jsonb({str(partition): offset for partition, offset in sorted(offsets.items())})


def _fates(row: Mapping[str, Any]) -> Fates:
    return Fates(row["read"], row["rejected"], row["late"], row["duplicates"])
