"""What a page shows of the ledger: each data set's newest rows, and one batch hop by hop. Every answer is bounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, TypeVar

from penstock.ledger import postgres
from penstock.ledger.store import Hop, LedgerRow
from penstock.ledger.stream_verdicts import StreamRow

MOST_ROWS = 200
"""The most rows that one question gives, for each data set."""

_ROW = TypeVar("_ROW", LedgerRow, StreamRow, "HopRow")


@dataclass(frozen=True)
class HopRow:
    """The latest attempt at a hop, and what the latest completed one counted, None where there was none.

    `as_of` is that of the counts; `run_id` and `try_number` say who made the latest attempt. Ranges are
    `{"partition", "start", "end"}`, offsets [start, end); `sinks` is {sink: {"own", "newer", "older"}}.
    """

    hop: Hop
    state: str
    attempts: int
    run_id: str
    try_number: int
    started: datetime
    finished: datetime | None
    error: str | None
    as_of: datetime | None
    topic: str | None
    schema_id: int | None
    ranges: Sequence[Mapping[str, int]] | None
    fetched: int | None
    acked: int | None
    rejected: int | None
    taken_up: int
    claimed: Sequence[Mapping[str, int]]
    read: int | None
    landed: int | None
    duplicates: int | None
    foreign_read: int | None
    sinks: Mapping[str, Mapping[str, int]] | None
    raw_copied: int | None
    verdict: str | None


@dataclass(frozen=True)
class BatchHops:
    """One batch, what it was asked for, and its hops so far."""

    row: LedgerRow
    options: Mapping[str, Any]
    hops: Mapping[Hop, HopRow]


def _columns(row: type, table: str) -> str:
    return ", ".join(f"{table}.{field.name}" for field in fields(row))


# The batches are picked first, by their index: the view would work out every batch's verdict before it can sort them.
_NEWEST = f"""
    WITH newest AS MATERIALIZED (
        SELECT each.batch_id FROM unnest(%(pipelines)s::text[]) AS name
        CROSS JOIN LATERAL (
            SELECT batch_id FROM batches WHERE pipeline = name
              AND (%(before)s::text IS NULL OR (interval_end, batch_id) < (
                  SELECT interval_end, batch_id FROM batches WHERE batch_id = %(before)s
              ))
            ORDER BY interval_end DESC, batch_id DESC LIMIT %(limit)s
        ) AS each
    )
    SELECT {_columns(LedgerRow, "ledger")} FROM newest JOIN ledger USING (batch_id)
    ORDER BY interval_end DESC, batch_id DESC
"""  # noqa: S608 - the columns are a dataclass's fields

_OF_RUN = f"""
    WITH touched AS MATERIALIZED (SELECT DISTINCT batch_id FROM hops WHERE run_id = %(run_id)s LIMIT %(limit)s)
    SELECT {_columns(LedgerRow, "ledger")} FROM touched JOIN ledger USING (batch_id)
    ORDER BY pipeline, interval_start, batch_id
"""  # noqa: S608 - the columns are a dataclass's fields

_ONE = f"SELECT {_columns(LedgerRow, 'ledger')}, options FROM ledger WHERE batch_id = %(batch_id)s"  # noqa: S608

_HOPS = f"SELECT {_columns(HopRow, 'hops')} FROM hops WHERE batch_id = %(batch_id)s"  # noqa: S608

_INTERVALS = f"""
    SELECT {_columns(StreamRow, "each")} FROM unnest(%(streams)s::text[]) AS name
    CROSS JOIN LATERAL (
        SELECT * FROM stream_intervals WHERE stream = name ORDER BY interval_end DESC, interval_start LIMIT %(limit)s
    ) AS each
    ORDER BY interval_end DESC, interval_start
"""  # noqa: S608 - the columns are a dataclass's fields


class Overview:
    """The ledger at an address, for reading.

    It keeps one session, which threads may share, and makes a new one after a failure. All methods raise Retry where
    the database is away, and Fatal where it refuses.
    """

    def __init__(self, url: str) -> None:
        """Raises Fatal where `url` is no PostgreSQL address."""
        self._session = postgres.Kept(url)

    def __repr__(self) -> str:
        return f"Overview({self._session.address})"

    def close(self) -> None:
        """End the session."""
        self._session.close()

    def newest(self, pipelines: Sequence[str], limit: int) -> dict[str, list[LedgerRow]]:
        """{pipeline: its newest batches, the newest first}, at most `limit` of each."""
        found: dict[str, list[LedgerRow]] = {name: [] for name in pipelines}
        for row in self._newest(list(pipelines), limit, None):
            found[row.pipeline].append(row)
        return found

    def batches(self, pipeline: str, limit: int, before: str | None = None) -> list[LedgerRow]:
        """One page of a pipeline's batches, the newest first: those that follow the batch `before`, by its id."""
        return self._newest([pipeline], limit, before)

    def of_run(self, run_id: str, limit: int = MOST_ROWS) -> list[LedgerRow]:
        """The batches of which a run, `DAG_ID/RUN_ID`, made the latest attempt at any hop, by interval."""
        found = self._session.execute(_OF_RUN, {"run_id": run_id, "limit": _bounded(limit)})
        return [_row(LedgerRow, each) for each in found]

    def batch(self, batch_id: str) -> BatchHops | None:
        """One batch hop by hop, or None where the ledger has not heard of it."""
        rows = self._session.execute(_ONE, {"batch_id": batch_id})
        if not rows:
            return None
        options = rows[0].pop("options")
        hops = [_row(HopRow, each | {"hop": Hop(each["hop"])}) for each in self._session.execute(_HOPS, rows[0])]
        return BatchHops(_row(LedgerRow, rows[0]), options, {each.hop: each for each in hops})

    def intervals(self, streams: Sequence[str], limit: int) -> dict[str, list[StreamRow]]:
        """{stream: its newest counted intervals, the newest first}, at most `limit` of each."""
        found: dict[str, list[StreamRow]] = {name: [] for name in streams}
        for each in self._session.execute(_INTERVALS, {"streams": list(streams), "limit": _bounded(limit)}):
            found[each["stream"]].append(_row(StreamRow, each))
        return found

    def _newest(self, pipelines: Sequence[str], limit: int, before: str | None) -> list[LedgerRow]:
        values = {"pipelines": pipelines, "limit": _bounded(limit), "before": before}
        return [_row(LedgerRow, each) for each in self._session.execute(_NEWEST, values)]


def _bounded(limit: int) -> int:
    return max(1, min(limit, MOST_ROWS))


def _row(kind: type[_ROW], values: Mapping[str, Any]) -> _ROW:
    in_utc: dict[str, Any] = {
        name: value.astimezone(UTC) if isinstance(value, datetime) else value for name, value in values.items()
    }
    return kind(**in_utc)
