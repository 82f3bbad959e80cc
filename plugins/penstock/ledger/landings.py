"""What streams have landed: the ledger's account, by the records' offsets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any

from penstock.core import settings
from penstock.core.counts import Landed, OffsetRange, Produced
from penstock.core.errors import Fatal
from penstock.core.pipeline import Pipeline
from penstock.ledger import postgres

_BLOCK = 100_000
"""Offsets whose account is one row at most, an attempt."""

_NOTE = """
    INSERT INTO stream_landings (measurement, topic_id, partition, block, batch_id, as_of, read, rejected)
    VALUES (%(measurement)s, %(topic_id)s, %(partition)s, %(block)s, %(batch_id)s, %(as_of)s,
            %(read)s::int8multirange, %(rejected)s::int8multirange)
    ON CONFLICT ON CONSTRAINT one_row_an_attempt DO UPDATE SET
        read = stream_landings.read + excluded.read,
        rejected = stream_landings.rejected + excluded.rejected,
        noted = now()
"""

_FATES = """
    SELECT partition, (SELECT coalesce(sum(upper(r) - lower(r)), 0)::bigint FROM unnest(read) AS r), rejected
    FROM (
        SELECT stream_landings.partition, read * own.offsets, rejected * own.offsets
        FROM unnest(%(own)s::int[], %(firsts)s::bigint[], %(afters)s::bigint[]) AS range (partition, first, after)
        CROSS JOIN LATERAL (SELECT int8multirange(int8range(first, after)) AS offsets) AS own
        JOIN stream_landings ON stream_landings.partition = range.partition
        WHERE measurement = %(measurement)s AND topic_id = %(topic_id)s
          AND batch_id = %(batch_id)s AND as_of = %(as_of)s
        UNION ALL
        SELECT claim.partition, read * claimed.offsets, rejected * claimed.offsets
        FROM unnest(%(partitions)s::int[], %(starts)s::bigint[], %(ends)s::bigint[]) AS claim (partition, first, after)
        CROSS JOIN LATERAL (SELECT int8multirange(int8range(first, after)) AS offsets) AS claimed
        JOIN stream_landings ON stream_landings.partition = claim.partition
            AND block BETWEEN first / %(per_block)s AND (after - 1) / %(per_block)s
        WHERE measurement = %(measurement)s AND topic_id = %(topic_id)s AND batch_id IS NULL
    ) AS found (partition, read, rejected)
"""

_REJECTS = """
    SELECT 1 FROM stream_landings
    WHERE measurement = %(measurement)s AND topic_id = %(topic_id)s AND partition = %(partition)s
      AND block = %(offset)s / %(per_block)s AND rejected @> %(offset)s::bigint
"""


@dataclass(frozen=True)
class LandedOffsets:
    """The offsets of one author's records in one partition: those that were read, and of them the rejected ones.

    Others' records have neither `batch_id` nor `as_of`.
    """

    partition: int
    batch_id: str | None
    as_of: datetime | None
    read: Sequence[tuple[int, int]]
    rejected: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Fates:
    """How many of a batch's records a stream has read, and where those lie that it set aside."""

    read: int
    rejected: tuple[OffsetRange, ...] = ()

    @property
    def rejects(self) -> int:
        """How many it set aside."""
        return sum(each.end - each.start for each in self.rejected)


class StreamLandings:
    """The account of one measurement's stream from one topic; each call is a session of its own.

    Raises Retry where the database is away, Fatal where it refuses.
    """

    def __init__(self, url: str, measurement: str, topic_id: str) -> None:
        self._address = postgres.Address(url)
        self._of = {"measurement": measurement, "topic_id": topic_id}

    def note(self, landed: Iterable[LandedOffsets]) -> None:
        """Add what a micro-batch has landed, all of it or nothing. Adding it again changes nothing."""
        rows = [self._of | row for each in landed for row in _rows(each)]
        with closing(postgres.connect(self._address)) as session, postgres.translated(self._address):
            _write(session, rows)

    def fates(self, produced: Produced) -> Fates:
        """What became of an attempt's own records, and of those that it took up; its replays are not among them."""
        values = self._of | {
            "batch_id": produced.batch_id,
            "as_of": produced.as_of,
            "own": [each.partition for each in produced.ranges],
            "firsts": [each.start for each in produced.ranges],
            "afters": [each.end for each in produced.ranges],
            "partitions": [each.partition for each in produced.claimed],
            "starts": [each.start for each in produced.claimed],
            "ends": [each.end for each in produced.claimed],
            "per_block": _BLOCK,
        }
        with closing(postgres.connect(self._address)) as session, postgres.translated(self._address):
            found = session.execute(_FATES, values).fetchall()
        rejected = (OffsetRange(partition, each.lower, each.upper) for partition, _, ranges in found for each in ranges)
        return Fates(sum(read for _, read, _ in found), tuple(sorted(rejected, key=astuple)))

    def rejects(self, partition: int, offset: int) -> bool:
        """Whether the record at this offset was set aside."""
        values = self._of | {"partition": partition, "offset": offset, "per_block": _BLOCK}
        with closing(postgres.connect(self._address)) as session, postgres.translated(self._address):
            return session.execute(_REJECTS, values).fetchone() is not None


def landed_by_stream(pipeline: Pipeline, produced: Produced, kafka: settings.Kafka, url: str) -> Landed:
    """What a stream that has come past an attempt's records has done with them, as the batch job would count it.

    Which records repeat others of the batch is not a stream's to know, as it knows no batches: the topic is read for
    that. Raises Retry where Kafka or the ledger is away, Fatal where the stream has left a record out.
    """
    from penstock.kafka.shared import topic_id
    from penstock.ledger.evidence import TopicRecords

    (sink,) = pipeline.sinks
    fates = StreamLandings(url, sink.name, topic_id(kafka, produced.topic)).fates(produced)
    if fates.read != produced.on_topic:
        raise Fatal(
            f"batch {produced.batch_id}: {pipeline.landing_service} has landed {fates.read} of its {produced.on_topic} "
            f"records, though it is past all of them: delete its checkpoint to have it land {produced.topic} again"
        )
    found = TopicRecords(kafka, pipeline).by_partition(produced, (), without=fates.rejected)
    landed = sum(len(each.ids) for each in found)
    duplicates = fates.read - fates.rejects - landed
    return Landed(produced.batch_id, fates.read, landed, fates.rejects, duplicates)


def _write(session: postgres.Connection, rows: Sequence[dict[str, Any]]) -> None:
    with session.transaction(), session.cursor() as cursor:
        cursor.executemany(_NOTE, rows)


def _rows(landed: LandedOffsets) -> Iterator[dict[str, Any]]:
    """The values of each row: one a block."""
    touched = (range(first // _BLOCK, (after - 1) // _BLOCK + 1) for first, after in landed.read)
    for block in sorted({block for blocks in touched for block in blocks}):
        within = OffsetRange(landed.partition, block * _BLOCK, (block + 1) * _BLOCK)
        yield {
            "partition": landed.partition,
            "block": block,
            "batch_id": landed.batch_id,
            "as_of": landed.as_of,
            "read": _multirange(landed.read, within),
            "rejected": _multirange(landed.rejected, within),
        }


def _multirange(ranges: Iterable[tuple[int, int]], within: OffsetRange) -> str:
    """PostgreSQL's literal of those parts of `ranges` that are within a block."""
    parts = ((max(first, within.start), min(after, within.end)) for first, after in ranges)
    return "{" + ",".join(f"[{first},{after})" for first, after in parts if first < after) + "}"
