"""What the ledger says in numbers, of all data sets and services at once: for whoever draws curves of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from penstock.core.service import Desired, State
from penstock.core.stream import Fates
from penstock.ledger import postgres
from penstock.ledger.reconcile import WHOLE

_BATCHES = """
    SELECT pipeline, count(*) FILTER (WHERE verdict = %(whole)s) AS whole,
        count(*) FILTER (WHERE verdict LIKE '%% in progress' OR verdict LIKE '%% not started') AS open, count(*) AS all
    FROM ledger
    WHERE batch_id IN (SELECT batch_id FROM hops WHERE started > now() - %(window)s) AND pipeline = ANY(%(pipelines)s)
    GROUP BY pipeline
"""

_RECORDS = """
    SELECT pipeline, coalesce(sum(fetched), 0)::bigint AS fetched, coalesce(sum(acked), 0)::bigint AS acked,
        coalesce(sum(landed), 0)::bigint AS landed, coalesce(sum(rejected), 0)::bigint AS rejected,
        coalesce(sum(duplicates), 0)::bigint AS duplicates
    FROM ledger WHERE pipeline = ANY(%(pipelines)s) GROUP BY pipeline
"""

_SERVICES = """
    SELECT wanted.name, coalesce(desired, 'started') AS desired, coalesce(state, 'unknown') AS state,
        extract(epoch FROM clock_timestamp() - seen)::float AS seen_age,
        (SELECT count(*) FROM service_restarts WHERE service = wanted.name) AS restarts
    FROM unnest(%(services)s::text[]) AS wanted (name) LEFT JOIN services ON services.name = wanted.name
"""

_STREAMS = """
    SELECT name,
        (SELECT lag FROM stream_batches WHERE stream = name AND lag IS NOT NULL ORDER BY written DESC LIMIT 1) AS lag,
        (SELECT verdict = %(whole)s FROM stream_intervals
         WHERE stream = name ORDER BY interval_end DESC LIMIT 1) AS whole
    FROM unnest(%(streams)s::text[]) AS name
"""

_FATES = """
    SELECT stream, sum(read)::bigint AS read, sum(rejected)::bigint AS rejected, sum(late)::bigint AS late,
        sum(duplicates)::bigint AS duplicates
    FROM stream_batches WHERE stream = ANY(%(streams)s) GROUP BY stream
"""


class Standing(StrEnum):
    """How a batch stands: OPEN is under way or about to be, NOT_WHOLE has failed or lacks records."""

    WHOLE = "whole"
    OPEN = "open"
    NOT_WHOLE = "not_whole"


@dataclass(frozen=True)
class ServiceMeasure:
    """How a service was last seen, `seen_age` seconds ago, None for never; `restarts` are those of all time."""

    name: str
    desired: Desired
    state: State
    seen_age: float | None
    restarts: int


@dataclass(frozen=True)
class StreamMeasure:
    """`lag` is the records that were left at the latest commit, `whole` the latest verdict; None where not known."""

    name: str
    lag: int | None
    whole: bool | None


class Measures:
    """Asks the ledger at an address, in one session that is kept.

    All methods raise Retry where the database is away, and Fatal where it refuses.
    """

    def __init__(self, url: str) -> None:
        """Raises Fatal where `url` is no PostgreSQL address."""
        self._session = postgres.Kept(url)

    def __repr__(self) -> str:
        return f"Measures({self._session.address})"

    def close(self) -> None:
        """End the session."""
        self._session.close()

    def batches(self, pipelines: Sequence[str], window: timedelta) -> Mapping[str, Mapping[Standing, int]]:
        """How the batches stand of which a hop was begun within `window`; zeros where there are none."""
        found = self._by_name(_BATCHES, "pipeline", pipelines=list(pipelines), window=window, whole=WHOLE)
        none = {"whole": 0, "open": 0, "all": 0}
        standing = {}
        for name in pipelines:
            row = found.get(name, none)
            rest = row["all"] - row["whole"] - row["open"]
            standing[name] = {
                Standing.WHOLE: row["whole"],
                Standing.OPEN: row["open"],
                Standing.NOT_WHOLE: rest,
            }
        return standing

    def records(self, pipelines: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
        """{pipeline: {fate: records}} over all its batches; none for a pipeline without any."""
        return self._by_name(_RECORDS, "pipeline", pipelines=list(pipelines))

    def services(self, names: Sequence[str]) -> list[ServiceMeasure]:
        """Each of the services: one that nobody has watched yet is wanted, and in the state UNKNOWN."""
        return [
            ServiceMeasure(**row | {"desired": Desired(row["desired"]), "state": State(row["state"])})
            for row in self._session.execute(_SERVICES, {"services": list(names)})
        ]

    def streams(self, names: Sequence[str]) -> list[StreamMeasure]:
        """Each of the streams."""
        return [
            StreamMeasure(**row) for row in self._session.execute(_STREAMS, {"streams": list(names), "whole": WHOLE})
        ]

    def fates(self, streams: Sequence[str]) -> Mapping[str, Fates]:
        """{stream: what became of all records that its job has taken, by whichever checkpoint}; none without a job."""
        return {name: Fates(**row) for name, row in self._by_name(_FATES, "stream", streams=list(streams)).items()}

    def _by_name(self, statement: str, key: str, **values: Any) -> dict[str, dict[str, Any]]:
        return {row.pop(key): row for row in self._session.execute(statement, values)}
