"""What became of the records that were set aside: the ledger's account of the dead letters.

A letter's value stays on its dead-letter topic, see `kafka.dead_letters`; here is where it lies, and whether somebody
has replayed or dropped it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any, LiteralString

from psycopg import sql
from psycopg.rows import dict_row, kwargs_row

from penstock.core import settings
from penstock.core.counts import OffsetRange
from penstock.core.errors import Fatal
from penstock.kafka.dead_letters import Origin, letter_in
from penstock.kafka.reader import Message, extent
from penstock.kafka.reader import read as read_messages
from penstock.kafka.shared import topic_id
from penstock.ledger import postgres
from penstock.ledger.locks import held_lock

_AT_ONCE = 500
"""Letters noted in one transaction."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_QUOTED = re.compile(r"b?'(?:[^'\\]|\\.)*'|b?\"(?:[^\"\\]|\\.)*\"")
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:[.:]\d+)*(?:[eE][-+]?\d+)?\b")
_LONGEST_KIND = 200

_COLUMNS = sql.SQL(
    """
    id, data_set, topic, partition, "offset", batch_id, as_of, source_topic, source_partition, source_offset, reason,
    kind, written, state, resolved, resolved_by, why
    """
)

# A record that a newer attempt at its batch has set aside again is open again.
_NOTE = """
    INSERT INTO dead_letters (data_set, name, digest, topic, partition, "offset", written, reason, kind, batch_id,
                              as_of, source_topic, source_partition, source_offset)
    VALUES (%(data_set)s, %(name)s, %(digest)s, %(topic)s, %(partition)s, %(offset)s, %(written)s, %(reason)s, %(kind)s,
            %(batch_id)s, %(as_of)s, %(source_topic)s, %(source_partition)s, %(source_offset)s)
    ON CONFLICT (name, digest) DO UPDATE SET
        topic = excluded.topic, partition = excluded.partition, "offset" = excluded."offset",
        written = excluded.written, reason = excluded.reason, kind = excluded.kind, as_of = excluded.as_of,
        (state, resolved, resolved_by, why) = (
            SELECT 'open', NULL::timestamptz, NULL, NULL WHERE excluded.as_of > dead_letters.as_of
            UNION ALL
            SELECT dead_letters.state, dead_letters.resolved, dead_letters.resolved_by, dead_letters.why
            WHERE (excluded.as_of > dead_letters.as_of) IS NOT TRUE
        )
    WHERE excluded.as_of >= dead_letters.as_of OR excluded.as_of IS NULL
"""

_PROGRESS = "SELECT partition, next_offset FROM dead_letter_progress WHERE topic_id = %(topic_id)s"

_ADVANCE = """
    INSERT INTO dead_letter_progress (topic_id, partition, next_offset)
    VALUES (%(topic_id)s, %(partition)s, %(next_offset)s)
    ON CONFLICT (topic_id, partition) DO UPDATE SET next_offset = excluded.next_offset
"""

_SUPERSEDE = """
    UPDATE dead_letters SET
        state = 'dropped', resolved = now(), resolved_by = 'penstock',
        why = 'its batch was produced anew, as of ' || to_char(hops.as_of, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
    FROM hops
    WHERE hops.batch_id = dead_letters.batch_id AND hops.hop = 'produce' AND hops.as_of > dead_letters.as_of
      AND dead_letters.state = 'open'
"""

_MATCHING = sql.SQL(
    """
    FROM dead_letters
    WHERE (%(data_set)s::text IS NULL OR data_set = %(data_set)s)
      AND (%(state)s::text IS NULL OR state = %(state)s)
      AND (%(batch_id)s::text IS NULL OR batch_id = %(batch_id)s)
      AND (%(reason)s::text IS NULL OR kind = %(reason)s OR position(lower(%(reason)s) IN lower(reason)) > 0)
    """
)

_ROWS = sql.SQL("SELECT {} {} ORDER BY written DESC, id DESC LIMIT %(limit)s").format(_COLUMNS, _MATCHING)
_LETTERS = sql.SQL("SELECT {} FROM dead_letters WHERE id = ANY(%(ids)s)").format(_COLUMNS)
_BY_REASON = sql.SQL(
    "SELECT data_set, kind, count(*) {} GROUP BY data_set, kind ORDER BY count(*) DESC, data_set, kind"
).format(_MATCHING)
_OPEN_COUNTS = "SELECT data_set, count(*) FROM dead_letters WHERE state = 'open' GROUP BY data_set"


class LetterState(StrEnum):
    """What became of a letter."""

    OPEN = "open"
    REPLAYED = "replayed"
    DROPPED = "dropped"


@dataclass(frozen=True)
class LetterRow:
    """What the ledger says of one letter: a record that broke its contract.

    `topic`, `partition` and `offset` say where its newest copy lies; `source_...` where the record itself does, None
    where it never got on its topic. `batch_id` and `as_of` are None where no batch wrote it. `kind` is the reason
    without the values that it quotes. `why` is what was said when it was dropped.
    """

    id: int
    data_set: str
    topic: str
    partition: int
    offset: int
    batch_id: str | None
    as_of: datetime | None
    source_topic: str | None
    source_partition: int | None
    source_offset: int | None
    reason: str
    kind: str
    written: datetime
    state: LetterState
    resolved: datetime | None = None
    resolved_by: str | None = None
    why: str | None = None

    @property
    def origin(self) -> Origin | None:
        """Where the record lies on its topic, or None where it never got there."""
        if self.source_topic is None or self.source_partition is None or self.source_offset is None:
            return None
        return Origin(self.source_topic, self.source_partition, self.source_offset)

    def to_json(self) -> dict[str, Any]:
        """Only JSON types; times in ISO 8601, in UTC."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(self).items()
        }


class DeadLetters:
    """The account of the dead letters in the ledger at an address; each call is a session of its own.

    All methods raise Retry where the database is away, Fatal where it refuses.
    """

    def __init__(self, url: str) -> None:
        """Raises Fatal where `url` is no PostgreSQL address."""
        self._url = url
        self._address = postgres.Address(url)

    def __repr__(self) -> str:
        return f"DeadLetters({self._address})"

    def take_up(self, kafka: settings.Kafka, topics: Mapping[str, str], *, timeout: float = 30.0) -> int:
        """Note what the dead-letter topics have got since the last call, and return how many letters were read.

        `topics` is {dead-letter topic: data set}. A letter of an attempt that a newer one has superseded needs nobody
        any more: it is dropped. One call is at work at a time, the others wait up to `timeout` seconds for it. Raises
        Retry also where Kafka is away, Fatal where it has no such topic.
        """
        with held_lock(self._url, "taking up dead letters", timeout):
            read = sum(self._take_up(kafka, topic, data_set, timeout) for topic, data_set in topics.items())
            self._execute(_SUPERSEDE, {})
            return read

    def _take_up(self, kafka: settings.Kafka, topic: str, data_set: str, timeout: float) -> int:
        of_topic = {"topic_id": topic_id(kafka, topic, timeout=timeout)}
        noted = {row["partition"]: row["next_offset"] for row in self._execute(_PROGRESS, of_topic)}
        held = extent(kafka, topic, timeout=timeout)
        new = [OffsetRange(each.partition, max(each.start, noted.get(each.partition, 0)), each.end) for each in held]
        new = [each for each in new if each.start < each.end]
        messages = iter(read_messages(kafka, topic, new, timeout=timeout))
        total = 0
        while chunk := list(islice(messages, _AT_ONCE)):
            ends = {each.partition: each.offset + 1 for each in chunk}
            self._note((_values(each, data_set) for each in chunk), of_topic, ends)
            total += len(chunk)
        self._note((), of_topic, {each.partition: each.end for each in new})
        return total

    def _note(self, letters: Iterable[dict[str, Any]], of_topic: Mapping[str, Any], ends: Mapping[int, int]) -> None:
        progress = [{**of_topic, "partition": partition, "next_offset": end} for partition, end in ends.items()]
        with self._session() as session, session.transaction(), session.cursor() as cursor:
            cursor.executemany(_NOTE, list(letters))
            cursor.executemany(_ADVANCE, progress)

    def rows(
        self,
        *,
        data_set: str | None = None,
        state: LetterState | None = LetterState.OPEN,
        reason: str | None = None,
        batch_id: str | None = None,
        limit: int | None = 100,
    ) -> list[LetterRow]:
        """The newest `limit` letters, None for all, that match: `reason` is a kind, or text that the reason contains.

        The newest come first. `state` None stands for any.
        """
        wanted = {"data_set": data_set, "state": state, "reason": reason, "batch_id": batch_id, "limit": limit}
        return self._letters(_ROWS, wanted)

    def letters(self, ids: Sequence[int]) -> list[LetterRow]:
        """These letters, in the order of `ids`. Raises Fatal where there is no such letter."""
        found = {row.id: row for row in self._letters(_LETTERS, {"ids": list(ids)})}
        if unknown := [str(each) for each in ids if each not in found]:
            raise Fatal(f"there is no dead letter {', '.join(unknown)}: `penstock dlq list` shows those there are")
        return [found[each] for each in ids]

    def by_reason(
        self,
        *,
        data_set: str | None = None,
        state: LetterState | None = LetterState.OPEN,
        reason: str | None = None,
        batch_id: str | None = None,
    ) -> Mapping[tuple[str, str], int]:
        """{(data set, kind of reason): how many letters}, the most frequent first; see `rows`."""
        wanted = {"data_set": data_set, "state": state, "reason": reason, "batch_id": batch_id}
        return {(row["data_set"], row["kind"]): row["count"] for row in self._execute(_BY_REASON, wanted)}

    def open_counts(self) -> Mapping[str, int]:
        """{data set: how many letters nobody has replayed or dropped}, without those that have none."""
        return {row["data_set"]: row["count"] for row in self._execute(_OPEN_COUNTS, {})}

    def _letters(self, statement: sql.Composed, values: Mapping[str, Any]) -> list[LetterRow]:
        with self._session() as session, session.cursor(row_factory=kwargs_row(_letter_row)) as cursor:
            return cursor.execute(statement, values).fetchall()

    def _execute(self, statement: LiteralString | sql.Composed, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        with self._session() as session, session.cursor(row_factory=dict_row) as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def _session(self) -> Iterator[postgres.Connection]:
        with postgres.translated(self._address), closing(postgres.connect(self._address)) as session:
            yield session


def kind_of(reason: str) -> str:
    """The reason without the values that it quotes: what many letters have in common."""
    return _NUMBER.sub("…", _QUOTED.sub("…", reason))[:_LONGEST_KIND]


def _values(message: Message, data_set: str) -> dict[str, Any]:
    letter = letter_in(message)
    origin = letter.origin
    reason = letter.reason.replace("\0", "\\0")  # PostgreSQL keeps no zero byte
    return {
        "data_set": data_set,
        "name": letter.id.replace("\0", "\\0"),
        "digest": hashlib.sha256(letter.value).hexdigest()[:16],
        "topic": message.topic,
        "partition": message.partition,
        "offset": message.offset,
        "written": _EPOCH + timedelta(milliseconds=message.timestamp),
        "reason": reason,
        "kind": kind_of(reason),
        "batch_id": letter.batch_id.replace("\0", "\\0") if letter.batch_id else None,
        "as_of": letter.as_of,
        "source_topic": origin.topic if origin else None,
        "source_partition": origin.partition if origin else None,
        "source_offset": origin.offset if origin else None,
    }


def _letter_row(**values: Any) -> LetterRow:
    for name, value in values.items():
        if isinstance(value, datetime):
            values[name] = value.astimezone(UTC)
    return LetterRow(**values | {"state": LetterState(values["state"])})
