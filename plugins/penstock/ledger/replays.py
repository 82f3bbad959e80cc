"""The ledger's account of replays, and of what else a person decided about dead letters.

A replay is `running` from before its record is sent until its batch was judged again; a batch with such a replay is not
whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from penstock.core.errors import Fatal
from penstock.ledger import postgres

_LONGEST_ERROR = 1_000

# An unfinished replay of the same attempt is taken up: where its record may lie is known from when it began.
_BEGIN = """
    INSERT INTO replays (letter, state, run_id, batch_id, attempt_as_of, as_of, topic, ends_before,
                         replaced_partition, replaced_offset)
    SELECT id, 'running', %(run_id)s, %(batch_id)s, %(attempt_as_of)s, %(as_of)s, %(topic)s, %(ends)s,
           %(replaced_partition)s, %(replaced_offset)s
    FROM dead_letters WHERE id = %(letter)s AND state = 'open' FOR UPDATE
    ON CONFLICT (letter) DO UPDATE SET
        state = 'running', run_id = excluded.run_id, started = now(), finished = NULL, error = NULL,
        batch_id = excluded.batch_id, attempt_as_of = excluded.attempt_as_of, as_of = excluded.as_of,
        topic = excluded.topic, replaced_partition = excluded.replaced_partition,
        replaced_offset = excluded.replaced_offset,
        ends_before = CASE WHEN replays.attempt_as_of IS NOT DISTINCT FROM excluded.attempt_as_of
                           THEN replays.ends_before ELSE excluded.ends_before END,
        partition = NULL, "offset" = NULL
    RETURNING ends_before
"""

_PLACE = 'UPDATE replays SET partition = %(partition)s, "offset" = %(offset)s WHERE letter = %(letter)s'

_FORGET = "DELETE FROM replays WHERE letter = ANY(%(letters)s) AND run_id = %(run_id)s AND state <> 'done'"

_FAIL = """
    UPDATE replays SET state = 'failed', finished = now(), error = %(error)s
    WHERE letter = ANY(%(letters)s) AND run_id = %(run_id)s AND state = 'running'
"""

_DONE = """
    UPDATE replays SET state = 'done', finished = now(), error = NULL
    WHERE letter = ANY(%(letters)s) AND run_id = %(run_id)s AND state <> 'done'
"""

_RESOLVE = """
    UPDATE dead_letters SET state = 'replayed', resolved = now(), resolved_by = %(by)s, why = NULL
    WHERE id = ANY(%(letters)s) AND state = 'open'
"""

_DROP = """
    UPDATE dead_letters SET state = 'dropped', resolved = now(), resolved_by = %(by)s, why = %(why)s
    WHERE id = ANY(%(letters)s) AND state = 'open' AND NOT EXISTS (
        SELECT FROM replays WHERE letter = id AND replays.state <> 'done'
    )
    RETURNING id
"""

_STATES = """
    SELECT id, dead_letters.state, resolved_by, replays.run_id, replays.state
    FROM dead_letters LEFT JOIN replays ON letter = id WHERE id = ANY(%(letters)s)
"""


@dataclass(frozen=True)
class Planned:
    """A replay that is to begin: of which letter, as part of which batch's attempt, in the place of which record."""

    letter: int
    topic: str
    batch_id: str | None = None
    attempt_as_of: datetime | None = None
    as_of: datetime | None = None
    replaced: tuple[int, int] | None = None


class Replays:
    """The replays in the ledger at an address; each call is one transaction.

    All methods raise Retry where the database is away, Fatal where it refuses.
    """

    def __init__(self, url: str, run_id: str) -> None:
        """`run_id` names who replays. Raises Fatal where `url` is no PostgreSQL address."""
        self._address = postgres.Address(url)
        self._run_id = run_id

    def begin(self, planned: Sequence[Planned], ends: Mapping[int, int]) -> dict[int, Mapping[int, int]]:
        """Begin these replays, of which nothing is on the topic beyond `ends` ({partition: offset}).

        Returns {letter: where the topic ended before its first, unfinished replay}, or `ends`; a letter that was
        resolved meanwhile is not among them.
        """
        begun: dict[int, Mapping[int, int]] = {}
        with self._session() as session:
            for each in planned:
                values = {
                    "run_id": self._run_id,
                    "letter": each.letter,
                    "batch_id": each.batch_id,
                    "attempt_as_of": each.attempt_as_of,
                    "as_of": each.as_of,
                    "topic": each.topic,
                    "ends": Jsonb({str(partition): end for partition, end in ends.items()}),
                    "replaced_partition": each.replaced[0] if each.replaced else None,
                    "replaced_offset": each.replaced[1] if each.replaced else None,
                }
                if row := session.execute(_BEGIN, values).fetchone():
                    begun[each.letter] = {int(partition): end for partition, end in row[0].items()}
        return begun

    def placed(self, places: Mapping[int, tuple[int, int]]) -> None:
        """Write down where the records lie: {letter: (partition, offset)}."""
        with self._session() as session:
            for letter, (partition, offset) in places.items():
                session.execute(_PLACE, {"letter": letter, "partition": partition, "offset": offset})

    def forget(self, letters: Collection[int]) -> None:
        """Undo `begin`, where it is known that nothing was put on the topic."""
        with self._session() as session:
            session.execute(_FORGET, self._of(letters))

    def failed(self, letters: Collection[int], error: str) -> None:
        """Write down why these replays of this run could not be finished."""
        text = " ".join(error.replace("\0", "").split())[:_LONGEST_ERROR] or "unknown"
        with self._session() as session:
            session.execute(_FAIL, self._of(letters) | {"error": text})

    def done(self, letters: Collection[int], by: str) -> None:
        """Write down that their records have landed: the letters are resolved."""
        with self._session() as session:
            if session.execute(_DONE, self._of(letters)).rowcount != len(letters):
                raise Fatal("another run has taken these replays over: it finishes them")
            session.execute(_RESOLVE, self._of(letters) | {"by": by})

    def drop(self, letters: Collection[int], by: str, why: str) -> list[int]:
        """Resolve letters that nobody wants to replay; returns those that were open, and without a replay."""
        with self._session() as session:
            rows = session.execute(_DROP, self._of(letters) | {"by": by, "why": why}).fetchall()
        return sorted(row[0] for row in rows)

    def obstacles(self, letters: Collection[int]) -> dict[int, str]:
        """Of the letters that cannot be resolved (any more), why: one phrase each."""
        with self._session() as session:
            rows = session.execute(_STATES, self._of(letters)).fetchall()
        return {letter: said for letter, *states in rows if (said := _obstacle(*states))}

    def finished_here(self, letters: Collection[int]) -> set[int]:
        """Those that an earlier try of this very run has replayed."""
        with self._session() as session:
            rows = session.execute(_STATES, self._of(letters)).fetchall()
        return {letter for letter, state, _, run_id, _ in rows if state == "replayed" and run_id == self._run_id}

    def _of(self, letters: Collection[int]) -> dict[str, Any]:
        return {"letters": list(letters), "run_id": self._run_id}

    @contextmanager
    def _session(self) -> Iterator[postgres.Connection]:
        with (
            postgres.translated(self._address),
            closing(postgres.connect(self._address)) as session,
            session.transaction(),
        ):
            yield session


def _obstacle(state: str, by: str | None, _run_id: str | None, replay: str | None) -> str | None:
    if state != "open":
        return f"it was {state} already, by {by}"
    if replay is not None and replay != "done":
        return "a replay of it has begun and is not over: replay it again"
    return None
