"""Dead letters put on their topic again, landed, and their batches judged anew.

A replay may be killed anywhere and be repeated. Its steps: the ledger says that it begins, so that its batch is not
whole; the record goes on the topic in a transaction, unless an earlier try has put it there; it is written to the
sinks, as of the letter's time; the batch is judged key by key; the ledger says that it is done.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from penstock.airflow.candidates import Attempt, Candidate, candidate, conflicts_in, described
from penstock.airflow.lateness import late
from penstock.airflow.replay_landing import await_stream, land_here
from penstock.core.errors import Fatal, PenstockError, Reject, Retry
from penstock.core.pipeline import LandedBy, Pipeline
from penstock.core.settings import Kafka, ledger_url
from penstock.core.stream import Stream
from penstock.kafka.dead_letters import read_at
from penstock.kafka.reader import Message
from penstock.kafka.replay import Sender
from penstock.ledger.dead_letters import DeadLetters, LetterRow
from penstock.ledger.locks import held_lock
from penstock.ledger.replays import Replays
from penstock.ledger.store import Ledger, Run

log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 120.0
"""How long a server may be away, and another replay of the data set be at work, before this one gives up."""


@dataclass
class Outcome:
    """What became of the letters that were to be replayed or dropped.

    `waiting` of the replayed ones land with the next run of their pipeline; `late` says of those of streams which came
    late, and why; `verdicts` is {batch id: its new verdict}.
    """

    replayed: list[int] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)
    late: dict[int, str] = field(default_factory=dict)
    verdicts: dict[str, str] = field(default_factory=dict)

    def to_json(self, most: int) -> dict[str, Any]:
        """Counts, and the first `most` of each kind; only JSON types."""
        return {
            "replayed": len(self.replayed),
            "dropped": len(self.dropped),
            "waiting": len(self.waiting),
            "late": len(self.late),
            "refused": len(self.refused),
            "refusals": list(self.refused.values())[:most],
            "verdicts": dict(list(self.verdicts.items())[:most]),
        }


def replay(ids: Sequence[int], mended: Mapping[int, Any], run: Run, by: str) -> Outcome:
    """Replay these letters, with the values in `mended` in the place of their own; a person `by` name asked for it.

    A letter that cannot be replayed is refused with the reason, and nothing changes. Raises Retry where a server is
    away, and Fatal where one refuses; a later try goes on with what was begun.
    """
    outcome = Outcome()
    by_data_set: defaultdict[str, list[int]] = defaultdict(list)
    for row in DeadLetters(ledger_url()).letters(list(dict.fromkeys(ids))):
        by_data_set[row.data_set].append(row.id)
    for data_set, letters in by_data_set.items():
        with held_lock(ledger_url(), f"replaying dead letters of {data_set}", _PATIENCE_SECONDS):
            _Replay(described(data_set), mended, run, by, outcome).of(letters)
    return outcome


def drop(ids: Sequence[int], run: Run, by: str, why: str) -> Outcome:
    """Resolve these letters without a replay.

    A repeated try of the same run finds those that the earlier one has dropped. Raises Retry where the ledger is away,
    Fatal where there is no such letter.
    """
    outcome = Outcome()
    letters = DeadLetters(ledger_url()).letters(list(dict.fromkeys(ids)))
    replays = Replays(ledger_url(), run.id)
    outcome.dropped += replays.drop([each.id for each in letters], by, why)
    left = [each.id for each in letters if each.id not in outcome.dropped]
    outcome.refused |= {each: f"letter {each}: {reason}" for each, reason in replays.obstacles(left).items()}
    return outcome


class _Replay:
    """One run's replays of one data set, under its lock."""

    def __init__(self, of: Pipeline | Stream, mended: Mapping[int, Any], run: Run, by: str, outcome: Outcome) -> None:
        self._of = of
        self._kafka = Kafka.from_env()
        self._mended = mended
        self._run = run
        self._by = by
        self._outcome = outcome
        self._replays = Replays(ledger_url(), run.id)

    def of(self, ids: Sequence[int]) -> None:
        """Replay what can be replayed."""
        done = self._replays.finished_here(ids)
        self._outcome.replayed += sorted(done)
        rows = [each for each in DeadLetters(ledger_url()).letters(ids) if each.id not in done]
        candidates = self._admitted([found for row in rows if (found := self._candidate(row))])
        if not candidates:
            return
        self._tell_late(candidates)
        placed = self._send(candidates)
        chosen = [each for each in candidates if each.letter in placed]
        with self._failure_noted([each.letter for each in chosen]):
            self._land(chosen, placed)
            self._judge(chosen)
            self._replays.done([each.letter for each in chosen], self._by)
        self._outcome.replayed += [each.letter for each in chosen]
        self._outcome.waiting += [each.letter for each in chosen if each.attempt is None and self._lands_with_a_run]

    def _tell_late(self, candidates: Sequence[Candidate]) -> None:
        if isinstance(self._of, Stream):
            for each in candidates:
                if reason := late(self._of, each.record, self._kafka):
                    log.warning("letter %d: %s", each.letter, reason)
                    self._outcome.late[each.letter] = reason

    @property
    def _lands_with_a_run(self) -> bool:
        return isinstance(self._of, Pipeline) and self._of.landed_by is LandedBy.BATCH

    def _refuse(self, letter: int, reason: str) -> None:
        log.warning("letter %d is not replayed: %s", letter, reason)
        self._outcome.refused[letter] = f"letter {letter}: {reason}"

    def _candidate(self, row: LetterRow) -> Candidate | None:
        if row.state != "open":
            self._refuse(row.id, f"it was {row.state} already, by {row.resolved_by}")
            return None
        try:
            letter = read_at(self._kafka, row.topic, row.partition, row.offset)
            return candidate(self._of, row, letter, self._kafka, mended=self._mended.get(row.id))
        except (Reject, Fatal) as error:
            self._refuse(row.id, str(error))
            return None

    def _admitted(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Those whose keys are free."""
        conflicts: dict[int, str] = {}
        if isinstance(self._of, Pipeline):
            for attempt, own in _by_attempt(candidates):
                conflicts |= conflicts_in(self._of, self._kafka, attempt, own)
        for letter, reason in conflicts.items():
            self._refuse(letter, reason)
        return [each for each in candidates if each.letter not in conflicts]

    def _send(self, candidates: Sequence[Candidate]) -> dict[int, Message]:
        """{letter: its record on the topic}; a letter that was resolved meanwhile is refused."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        with Sender(self._kafka, self._of.topic, self._of.name, deadline) as sender:
            ends = sender.ends()
            begun = self._replays.begin([each.planned for each in candidates], ends)
            for each in candidates:
                if each.letter not in begun:
                    self._refuse(each.letter, "it was resolved meanwhile")
            names = {str(letter): before for letter, before in begun.items()}
            there = sender.find(names, ends)
            left = [each for each in candidates if each.letter in begun and each.resent.letter not in there]
            try:
                sender.send(each.resent for each in left)
            except BaseException:
                self._replays.forget([each.letter for each in left])
                raise
            with self._failure_noted(list(begun)):
                sender.commit()
                there = sender.find(names, sender.ends())
                if missing := sorted(names.keys() - there.keys()):
                    raise Retry(f"the replays of {', '.join(missing)} are not on {self._of.topic} after the commit")
                placed = {int(letter): message for letter, message in there.items()}
                self._replays.placed({letter: (each.partition, each.offset) for letter, each in placed.items()})
        return placed

    def _land(self, candidates: Sequence[Candidate], placed: Mapping[int, Message]) -> None:
        if not isinstance(self._of, Pipeline):
            return  # whoever counts the stream takes it up
        counted = [placed[each.letter] for each in candidates if each.attempt is not None]
        if not counted:
            return
        if self._of.landed_by is LandedBy.STREAM:
            await_stream(self._of, counted, self._kafka)
        else:
            land_here(self._of, counted, self._kafka)

    def _judge(self, candidates: Sequence[Candidate]) -> None:
        from penstock.airflow.handover import ProducedBatch
        from penstock.airflow.judging import judged_by_keys

        if not isinstance(self._of, Pipeline):
            return
        ledger = Ledger(ledger_url())
        for attempt, own in _by_attempt(candidates):
            batch, as_of = attempt.batch, attempt.produced.as_of
            earlier = ledger.replays(batch.id, as_of)
            replays = ledger.replays(batch.id, as_of, [each.letter for each in own])
            produced = attempt.produced.with_replays([each for each in replays if each not in earlier])
            landed = attempt.landed.with_replays(replays)
            (verdict,) = judged_by_keys(self._of, [ProducedBatch(batch, produced, None)], {batch.id: landed})
            ledger.reconciled(batch, verdict, self._run, as_of=as_of)
            self._outcome.verdicts[batch.id] = verdict.text

    @contextmanager
    def _failure_noted(self, letters: Sequence[int]) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            # Only our own messages are known to hold no secret.
            said = str(error) if isinstance(error, PenstockError) else f"{type(error).__name__}, see the task's log"
            try:
                self._replays.failed(letters, said)
            except PenstockError as unwritten:
                log.warning("The ledger was not told of this failure: %s", unwritten)
            raise


def _by_attempt(candidates: Iterable[Candidate]) -> Iterator[tuple[Attempt, list[Candidate]]]:
    found: dict[str, tuple[Attempt, list[Candidate]]] = {}
    for each in candidates:
        if each.attempt is not None:
            found.setdefault(each.attempt.batch.id, (each.attempt, []))[1].append(each)
    yield from found.values()
