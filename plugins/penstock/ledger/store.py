"""The ledger: one row per (batch, hop) in PostgreSQL, written by the hops and read by everything that reports."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from penstock.core.batch import Batch, Interval
from penstock.core.counts import Landed, OffsetRange, Produced, Replayed
from penstock.core.errors import Fatal
from penstock.ledger import postgres
from penstock.ledger.locks import lock_key
from penstock.ledger.reconcile import WHOLE, Verdict

_MIGRATION_LOCK = lock_key("penstock.ledger.migrations")
_MIGRATIONS = Path(__file__).parent / "migrations"
_LONGEST_ERROR = 2_000


class Hop(StrEnum):
    """The steps of a run that are written down, in their order."""

    PRODUCE = "produce"
    LAND = "land"
    RECONCILE = "reconcile"


@dataclass(frozen=True)
class Run:
    """Who makes an attempt. `id` is unique in the installation: an Airflow run is named `DAG_ID/RUN_ID`."""

    id: str
    try_number: int = 1


@dataclass(frozen=True)
class LedgerRow:
    """What the ledger says of one batch. A count is None where its hop has not been completed.

    `rejected` adds up both hops that reject. `raw_copied` of the records are in the raw copy, or None where there is no
    such copy or no verdict yet. `verdict` is `whole`, or says what is missing where, or at which hop the
    batch stands. `started` and `finished` are the latest attempt's, by the database's clock.
    """

    pipeline: str
    batch_id: str
    interval_start: datetime
    interval_end: datetime
    fetched: int | None
    acked: int | None
    landed: int | None
    rejected: int | None
    duplicates: int | None
    raw_copied: int | None
    verdict: str
    started: datetime
    finished: datetime | None

    @property
    def whole(self) -> bool:
        """Whether the batch was reconciled and nothing is missing."""
        return self.verdict == WHOLE

    @property
    def took(self) -> timedelta | None:
        """From the start of produce to the end of the last hop."""
        return self.finished - self.started if self.finished else None

    def to_json(self) -> dict[str, Any]:
        """Only JSON types; times in ISO 8601, in UTC."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(self).items()
        }


# An attempt supersedes the written one if its data is as of a later time. Attempts at landing share one as-of time, so
# there the try decides; and a run's later try is the later one even if its worker's clock is slow.
_SUPERSEDES = sql.SQL(
    """(
        excluded.attempt_as_of > hops.attempt_as_of
        OR (excluded.run_id = hops.run_id AND excluded.try_number > hops.try_number)
        OR (excluded.attempt_as_of = hops.attempt_as_of
            AND (excluded.run_id <> hops.run_id OR excluded.try_number = hops.try_number))
    )"""
)

_SAME_ATTEMPT = sql.SQL(
    "(hops.run_id, hops.try_number, hops.attempt_as_of)"
    " = (excluded.run_id, excluded.try_number, excluded.attempt_as_of)"
)

_ADD_BATCH = """
    INSERT INTO batches (batch_id, pipeline, interval_start, interval_end, options)
    VALUES (%(batch_id)s, %(pipeline)s, %(start)s, %(end)s, %(options)s)
    ON CONFLICT (batch_id) DO NOTHING
"""

_START = sql.SQL(
    """
    INSERT INTO hops (batch_id, hop, state, attempts, attempt_as_of, run_id, try_number)
    VALUES (%(batch_id)s, %(hop)s, 'running', 1, %(as_of)s, %(run_id)s, %(try_number)s)
    ON CONFLICT (batch_id, hop) DO UPDATE SET
        state = 'running',
        attempts = hops.attempts + CASE WHEN {same} THEN 0 ELSE 1 END,
        attempt_as_of = excluded.attempt_as_of,
        run_id = excluded.run_id,
        try_number = excluded.try_number,
        started = now(),
        finished = NULL,
        error = NULL
    WHERE {supersedes}
    """
).format(same=_SAME_ATTEMPT, supersedes=_SUPERSEDES)

_FINISH = sql.SQL(
    """
    INSERT INTO hops (batch_id, hop, state, attempts, attempt_as_of, run_id, try_number, finished, as_of, {columns})
    VALUES (%(batch_id)s, %(hop)s, 'done', 1, %(as_of)s, %(run_id)s, %(try_number)s, now(), %(as_of)s, {values})
    ON CONFLICT (batch_id, hop) DO UPDATE SET
        state = 'done',
        attempts = hops.attempts + CASE WHEN {same} THEN 0 ELSE 1 END,
        attempt_as_of = excluded.attempt_as_of,
        run_id = excluded.run_id,
        try_number = excluded.try_number,
        started = CASE WHEN {same} THEN hops.started ELSE now() END,
        finished = CASE WHEN {same} THEN greatest(hops.started, now()) ELSE now() END,
        error = NULL,
        as_of = excluded.as_of,
        ({columns}) = ROW ({excluded})
    WHERE {supersedes}
    """
)

_FAIL = """
    UPDATE hops SET state = 'failed', error = %(error)s, finished = greatest(started, now())
    WHERE batch_id = %(batch_id)s AND hop = %(hop)s AND state = 'running'
      AND run_id = %(run_id)s AND try_number = %(try_number)s
"""

_CLAIMED_UP_TO = """
    SELECT max(end_offset) FROM claims WHERE topic_id = %(topic_id)s AND partition = %(partition)s
"""

_CLAIM = """
    INSERT INTO claims (topic_id, partition, start_offset, end_offset, topic, batch_id)
    VALUES (%(topic_id)s, %(partition)s, %(start)s, %(end)s, %(topic)s, %(batch_id)s)
"""

_CLAIMS = """
    SELECT partition, start_offset, end_offset FROM claims
    WHERE topic_id = %(topic_id)s AND batch_id = %(batch_id)s
    ORDER BY partition, start_offset
"""

_LAST_PRODUCED = """
    SELECT batch_id, topic, schema_id, as_of, fetched, acked, rejected, ranges, taken_up, claimed
    FROM hops WHERE batch_id = %(batch_id)s AND hop = 'produce' AND as_of IS NOT NULL
"""

_LAST_LANDED = """
    SELECT land.batch_id, land.read, land.landed, land.rejected, land.duplicates, land.foreign_read
    FROM hops AS land JOIN hops AS produce USING (batch_id, as_of)
    WHERE batch_id = %(batch_id)s AND land.hop = 'land' AND produce.hop = 'produce' AND land.state = 'done'
"""

_REPLAYS = """
    SELECT partition, "offset", as_of, replaced_partition, replaced_offset FROM replays
    WHERE batch_id = %(batch_id)s AND attempt_as_of = %(as_of)s AND partition IS NOT NULL
      AND (state = 'done' OR letter = ANY(%(letters)s))
    ORDER BY partition, "offset"
"""

_BATCH = "SELECT pipeline, interval_start, interval_end, options FROM batches WHERE batch_id = %(batch_id)s"

_CLAIMED_BY = """
    SELECT batch_id FROM claims
    WHERE topic_id = %(topic_id)s AND partition = %(partition)s
      AND start_offset <= %(offset)s AND end_offset > %(offset)s
"""

_BATCHES = """
    SELECT pipeline, batch_id, interval_start, interval_end, fetched, acked, landed, rejected, duplicates, raw_copied,
           verdict, started, finished
    FROM ledger
    WHERE (%(pipeline)s::text IS NULL OR pipeline = %(pipeline)s)
      AND (%(since)s::timestamptz IS NULL OR interval_end > %(since)s)
      AND (%(until)s::timestamptz IS NULL OR interval_start < %(until)s)
    ORDER BY interval_end DESC, batch_id DESC
    LIMIT %(limit)s
"""

_NEWEST_LANDED = """
    SELECT name, newest.interval_end, now() - newest.interval_end
    FROM unnest(%(pipelines)s::text[]) AS name
    LEFT JOIN LATERAL (
        SELECT interval_end FROM batches JOIN hops USING (batch_id)
        WHERE pipeline = name AND hop = 'land' AND landed > 0
        ORDER BY interval_end DESC LIMIT 1
    ) AS newest ON true
"""

# A stream that keeps account in its group's commits has no micro-batches here, and one with micro-batches no such note.
_NEWEST_MINUTES = """
    SELECT name, newest.closed_before, clock_timestamp() - newest.closed_before
    FROM unnest(%(streams)s::text[]) AS name
    LEFT JOIN LATERAL (
        (SELECT date_trunc('minute', watermark) AS closed_before FROM stream_batches
         WHERE stream = name AND rows > 0 ORDER BY written DESC LIMIT 1)
        UNION ALL
        SELECT closed_before FROM stream_minutes WHERE stream = name
        ORDER BY closed_before DESC LIMIT 1
    ) AS newest ON true
"""


class Ledger:
    """The ledger at an address. Each call is a session of its own; inside a `with` block, calls share one.

    Methods that write return whether the row was written: False means that a later attempt has taken the batch over,
    which is no error, because nothing that the earlier one does can overwrite the later one's data. All methods raise
    Retry where the database is away, and Fatal where it refuses what is written.
    """

    def __init__(self, url: str) -> None:
        """Raises Fatal where `url` is no PostgreSQL address."""
        self._address = postgres.Address(url)
        self._shared: postgres.Connection | None = None

    def __repr__(self) -> str:
        return f"Ledger({self._address})"

    def __enter__(self) -> Self:
        if self._shared is not None:
            raise RuntimeError(f"{self!r} is open already")
        self._shared = postgres.connect(self._address)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shared is not None:
            self._shared.close()
            self._shared = None

    def migrate(self) -> list[str]:
        """Bring the tables up to date, and return the names of the migrations that were missing.

        Any number of callers may do this at once: they wait for each other. Raises Fatal where a migration that was
        applied before has been changed since.
        """
        with self._session() as session, session.transaction():
            session.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
            session.execute(
                "CREATE TABLE IF NOT EXISTS ledger_migrations"
                " (name text PRIMARY KEY, sha256 text NOT NULL, applied timestamptz NOT NULL DEFAULT now())"
            )
            applied = dict(session.execute("SELECT name, sha256 FROM ledger_migrations").fetchall())
            return [each.name for each in sorted(_MIGRATIONS.glob("*.sql")) if _apply(session, each, applied)]

    def claim(self, batch: Batch, topic: str, topic_id: str, readable: Sequence[OffsetRange]) -> list[OffsetRange]:
        """Claim for `batch` what no batch has claimed yet of the topic, and return all that it has claimed so far.

        `readable` is what the topic holds now, partition by partition. Offsets that it no longer holds are left out.
        """
        held = {each.partition: each for each in readable}
        key = {"topic_id": topic_id, "topic": topic, "batch_id": batch.id}
        with self._session() as session, session.transaction():
            session.execute("SELECT pg_advisory_xact_lock(%s)", (lock_key(f"claims of {topic_id}"),))
            session.execute(_ADD_BATCH, _batch_values(batch))
            for each in readable:
                (end,) = session.execute(_CLAIMED_UP_TO, key | {"partition": each.partition}).fetchone() or (None,)
                start = each.start if end is None else max(end, each.start)
                if start < each.end:
                    session.execute(_CLAIM, key | {"partition": each.partition, "start": start, "end": each.end})
            claims = session.execute(_CLAIMS, key).fetchall()
        kept = (
            OffsetRange(partition, max(start, held[partition].start), end)
            for partition, start, end in claims
            if partition in held
        )
        return [each for each in kept if each.start < each.end]

    def started(self, batch: Batch, hop: Hop, run: Run, *, as_of: datetime) -> bool:
        """Write down that an attempt at `hop` begins. Counts of an earlier attempt stand until this one is done."""
        return self._write(_START, batch, hop, run, as_of, {})

    def produced(self, batch: Batch, produced: Produced, run: Run) -> bool:
        """Write down what a committed attempt put on the topic."""
        _check_same(batch, produced.batch_id)
        counts = {
            "topic": produced.topic,
            "schema_id": produced.schema_id,
            "ranges": Jsonb([asdict(each) for each in produced.ranges]),
            "fetched": produced.fetched,
            "acked": produced.acked,
            "rejected": produced.rejected,
            "taken_up": produced.taken_up,
            "claimed": Jsonb([asdict(each) for each in produced.claimed]),
        }
        return self._write(_finish(counts), batch, Hop.PRODUCE, run, produced.as_of, counts)

    def landed(self, batch: Batch, landed: Landed, run: Run, *, as_of: datetime) -> bool:
        """Write down what the landing job did with the records produced `as_of`."""
        _check_same(batch, landed.batch_id)
        counts = {
            "read": landed.read,
            "landed": landed.landed,
            "rejected": landed.rejected,
            "duplicates": landed.duplicates,
            "foreign_read": landed.foreign,
        }
        return self._write(_finish(counts), batch, Hop.LAND, run, as_of, counts)

    def reconciled(self, batch: Batch, verdict: Verdict, run: Run, *, as_of: datetime) -> bool:
        """Write down the verdict on the records produced `as_of`, with the sinks' own counts."""
        counts = {
            "sinks": Jsonb({sink: asdict(count) for sink, count in verdict.sinks.items()}),
            "verdict": verdict.text,
            "raw_copied": verdict.raw_copied,
        }
        return self._write(_finish(counts), batch, Hop.RECONCILE, run, as_of, counts)

    def failed(self, batch: Batch, hop: Hop, error: BaseException | str, run: Run) -> bool:
        """Write down that this run's attempt at `hop`, if it is still the running one, ended with `error`."""
        text = " ".join(str(error).replace("\0", "").split()) or repr(error)
        values = {
            "batch_id": batch.id,
            "hop": hop.value,
            "run_id": run.id,
            "try_number": run.try_number,
            "error": text[:_LONGEST_ERROR],
        }
        with self._session() as session:
            return session.execute(_FAIL, values).rowcount == 1

    def last_produced(self, batch_id: str) -> Produced | None:
        """What the latest completed attempt put on the topic, with its replays, or None where there was none."""
        with self._session() as session, session.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(_LAST_PRODUCED, {"batch_id": batch_id}).fetchone()
        if row is None:
            return None
        produced = Produced.from_json(row | {"as_of": row["as_of"].astimezone(UTC).isoformat()})
        return produced.with_replays(self.replays(batch_id, produced.as_of))

    def last_landed(self, batch_id: str) -> Landed | None:
        """What the landing of the latest produced attempt counted, without its replays; None before it is done."""
        with self._session() as session, session.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(_LAST_LANDED, {"batch_id": batch_id}).fetchone()
        return None if row is None else Landed(foreign=row.pop("foreign_read"), **row)

    def replays(self, batch_id: str, as_of: datetime, also: Sequence[int] = ()) -> list[Replayed]:
        """The replays of an attempt's dead letters that have landed, and those of the letters `also` on the topic."""
        wanted = {"batch_id": batch_id, "as_of": as_of, "letters": list(also)}
        with self._session() as session:
            rows = session.execute(_REPLAYS, wanted).fetchall()
        return [
            Replayed(partition, offset, _in_utc(at), None if replaced[0] is None else (replaced[0], replaced[1]))
            for partition, offset, at, *replaced in rows
        ]

    def batch(self, batch_id: str) -> Batch | None:
        """The batch of this id, or None where the ledger has not heard of it."""
        with self._session() as session, session.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(_BATCH, {"batch_id": batch_id}).fetchone()
        if row is None:
            return None
        interval = Interval(_in_utc(row["interval_start"]), _in_utc(row["interval_end"]))
        return Batch(row["pipeline"], interval, row["options"])

    def claimed_by(self, topic_id: str, partition: int, offset: int) -> str | None:
        """The id of the batch that has claimed this offset of a shared topic, or None where none has."""
        wanted = {"topic_id": topic_id, "partition": partition, "offset": offset}
        with self._session() as session:
            row = session.execute(_CLAIMED_BY, wanted).fetchone()
        return None if row is None else str(row[0])

    def batches(
        self,
        pipeline: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = 1_000,
    ) -> list[LedgerRow]:
        """The newest `limit` batches, None for all, whose intervals overlap [since, until); oldest first."""
        wanted = {"pipeline": pipeline, "since": since, "until": until, "limit": limit}
        with self._session() as session, session.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(_BATCHES, wanted).fetchall()
        return [LedgerRow(**{name: _in_utc(value) for name, value in row.items()}) for row in reversed(rows)]

    def newest_landed(self, pipelines: Sequence[str]) -> Mapping[str, tuple[datetime, timedelta] | None]:
        """For each pipeline the end of the newest interval that landed anything, and how long ago that is."""
        with self._session() as session:
            rows = session.execute(_NEWEST_LANDED, {"pipelines": list(pipelines)}).fetchall()
        return {name: None if end is None else (_in_utc(end), age) for name, end, age in rows}

    def newest_minutes(self, streams: Sequence[str]) -> Mapping[str, tuple[datetime, timedelta] | None]:
        """For each stream the end of the newest minute that is out, and how long ago that is."""
        with self._session() as session:
            rows = session.execute(_NEWEST_MINUTES, {"streams": list(streams)}).fetchall()
        return {name: None if end is None else (_in_utc(end), age) for name, end, age in rows}

    @contextmanager
    def _session(self) -> Iterator[postgres.Connection]:
        with postgres.translated(self._address):
            if self._shared is not None:
                yield self._shared
            else:
                with closing(postgres.connect(self._address)) as session:
                    yield session

    def _write(
        self, statement: sql.Composed, batch: Batch, hop: Hop, run: Run, as_of: datetime, counts: Mapping[str, Any]
    ) -> bool:
        values = {
            **_batch_values(batch),
            "hop": hop.value,
            "as_of": as_of,
            "run_id": run.id,
            "try_number": run.try_number,
            **counts,
        }
        with self._session() as session, session.transaction():
            session.execute(_ADD_BATCH, values)
            return session.execute(statement, values).rowcount == 1


def _batch_values(batch: Batch) -> dict[str, Any]:
    return {
        "batch_id": batch.id,
        "pipeline": batch.pipeline,
        "start": batch.interval.start,
        "end": batch.interval.end,
        "options": Jsonb(dict(batch.options), dumps=lambda options: json.dumps(options, default=str)),
    }


def _apply(session: postgres.Connection, migration: Path, applied: Mapping[str, str]) -> bool:
    """Whether the migration was missing."""
    statements = migration.read_bytes()
    digest = hashlib.sha256(statements).hexdigest()
    before = applied.get(migration.name)
    if before is None:
        session.execute(statements)
        session.execute("INSERT INTO ledger_migrations (name, sha256) VALUES (%s, %s)", (migration.name, digest))
    elif before != digest:
        raise Fatal(
            f"the migration {migration.name} has been changed since it was applied to the ledger: "
            "restore it and put the change into a new one"
        )
    return before is None


def _finish(counts: Mapping[str, Any]) -> sql.Composed:
    comma = sql.SQL(", ")
    return _FINISH.format(
        columns=comma.join(map(sql.Identifier, counts)),
        values=comma.join(map(sql.Placeholder, counts)),
        excluded=comma.join(sql.Identifier("excluded", name) for name in counts),
        same=_SAME_ATTEMPT,
        supersedes=_SUPERSEDES,
    )


def _check_same(batch: Batch, batch_id: str) -> None:
    if batch.id != batch_id:
        raise Fatal(f"counts of the batch {batch_id} cannot be written for the batch {batch.id}")


def _in_utc(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value
