"""Dead letters put on their topic again, landed, and their batches judged anew.

A replay may be killed anywhere and be repeated. Its steps: the ledger says that it begins, so that its batch is not
whole; the record goes on the topic in a transaction, unless an earlier try has put it there; it is written to the
sinks, as of the letter's time; the batch is judged key by key; the ledger says that it is done.
"""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from penstock.core.batch import Batch
from penstock.core.contract import Contract
from penstock.core.counts import Landed, OffsetRange, Produced
from penstock.core.errors import Fatal, PenstockError, Reject, Retry
from penstock.core.pipeline import InfluxMeasurement, LandedBy, Pipeline, Wire
from penstock.core.record import Record
from penstock.core.settings import Kafka, ledger_url
from penstock.core.stream import Stream
from penstock.kafka.dead_letters import DeadLetter, Origin, read_at
from penstock.kafka.reader import Message, extent
from penstock.kafka.reader import read as read_messages
from penstock.kafka.replay import Resent, Sender
from penstock.ledger.dead_letters import DeadLetters, LetterRow
from penstock.ledger.locks import held_lock
from penstock.ledger.replays import Planned, Replays
from penstock.ledger.store import Ledger, Run

if TYPE_CHECKING:
    from penstock.ledger.evidence import TopicRecords, Witness

log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 120.0
"""How long a server may be away, and another replay of the data set be at work, before this one gives up."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE_MS = 60_000

_LAST = 100
"""Offsets at a partition's end, among which its newest event is looked for."""


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


@dataclass(frozen=True)
class Attempt:
    """A batch as the ledger has it: what it put on the topic, and what its landing counted without replays."""

    batch: Batch
    produced: Produced
    landed: Landed


@dataclass(frozen=True)
class Candidate:
    """A letter whose record keeps the contract: how it goes on the topic, and as part of which attempt."""

    letter: int
    record: Record
    resent: Resent
    planned: Planned
    attempt: Attempt | None = None


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


def described(data_set: str) -> Pipeline | Stream:
    """The pipeline or stream of this name. Raises Fatal where there is none any more."""
    from penstock.pipelines import PIPELINES, STREAMS

    found = PIPELINES.get(data_set) or STREAMS.get(data_set)
    if found is None:
        raise Fatal(f"there is no data set {data_set} any more, so that its letters have nowhere to go: drop them")
    return found


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
                conflicts |= _conflicts(self._of, self._kafka, attempt, own)
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
            _await_stream(self._of, counted, self._kafka)
        else:
            _land_here(self._of, counted, self._kafka)

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


def candidate(
    of: Pipeline | Stream, row: LetterRow, letter: DeadLetter, kafka: Kafka, *, mended: Any = None
) -> Candidate:
    """What a letter, or the value `mended` in its place, would be on its topic.

    Raises Reject where the record breaks the contract, Fatal where it cannot be replayed at all, Retry where a server
    is away.
    """
    if isinstance(of, Stream):
        return _of_stream(of, row, letter, mended, kafka)
    if row.batch_id is None:
        return _of_others(of, row, letter, mended, kafka)
    if row.as_of is None:
        raise Fatal("it names a batch and no as-of time, so that it could take the place of newer data: drop it")
    attempt = _attempt(row.batch_id, row.as_of)
    record = _kept(of.contract, mended) if mended is not None else _kept(of.contract, decoded(of, letter, kafka))
    return _of_attempt(of, row, record, attempt, row.as_of, kafka)


def decoded(of: Pipeline | Stream, letter: DeadLetter, kafka: Kafka) -> Any:
    """The letter's value as JSON types. Raises Reject where it is none, Retry where the registry is away."""
    from penstock.ledger.decoding import decoder
    from penstock.sinks.json_rows import parse

    if letter.origin is None and letter.batch_id is not None:
        return json.loads(letter.value)
    if isinstance(of, Stream) or of.wire is Wire.JSON:
        return parse(letter.value)
    return decoder(of, kafka).decoded(letter.value, by_others=False)


def _kept(contract: Contract, record: Any, normaliser: Callable[[Any], Record] | None = None) -> Record:
    """The record of the contract that `record` is, or becomes. Raises Reject."""
    found = normaliser(record) if normaliser else record
    if not isinstance(found, dict):
        raise Reject(f"it is a JSON {type(found).__name__}, not an object: mend it")
    if reason := contract.violation(found):
        raise Reject(f"it would be rejected again, as {reason}: mend it")
    return found


def _attempt(batch_id: str, as_of: datetime | None) -> Attempt:
    """The batch as it stands. Raises Fatal where it has not landed, or its latest attempt is not as of `as_of`."""
    ledger = Ledger(ledger_url())
    batch, produced, landed = ledger.batch(batch_id), ledger.last_produced(batch_id), ledger.last_landed(batch_id)
    if batch is None or produced is None:
        raise Fatal(f"the ledger has no batch {batch_id}: drop it")
    if as_of is not None and as_of < produced.as_of:
        raise Fatal(
            f"its batch was produced anew, as of {produced.as_of:%Y-%m-%dT%H:%M:%SZ}: what counts is that attempt"
        )
    if as_of is not None and as_of > produced.as_of:
        raise Fatal(f"it is of an attempt at {batch_id} that was never completed: run the batch again")
    if landed is None:
        raise Fatal(f"its batch {batch_id} has not landed: replay it when it has")
    return Attempt(batch, produced, landed)


def _of_attempt(
    of: Pipeline,
    row: LetterRow,
    record: Record,
    attempt: Attempt,
    as_of: datetime,
    kafka: Kafka,
    timestamp: int | None = None,
) -> Candidate:
    """`timestamp`, in ms since the epoch, is the event time where it is None."""
    from penstock.kafka.encoder import Encoder, Identity
    from penstock.kafka.json_encoder import JsonEncoder
    from penstock.kafka.registry import Registry

    if reason := _unstorable(of, record):
        raise Reject(f"it would be rejected again, as {reason}: mend it")
    if of.wire is Wire.JSON:
        value = JsonEncoder(of.contract).encode(record)
    else:
        schema_id = Registry(kafka.registry_url).register(f"{of.topic}-value", of.contract)
        value = Encoder(of.contract, schema_id).encode(record)
    identity = Identity(of.contract)
    (key,), (event_time,) = identity.keys([record]), identity.timestamps([record])
    batch_id = attempt.batch.id
    at = event_time if timestamp is None else timestamp
    return Candidate(
        row.id,
        record,
        Resent(str(row.id), value, key, at, batch_id, as_of),
        Planned(row.id, of.topic, batch_id, attempt.produced.as_of, as_of, _place(row.origin)),
        attempt,
    )


def _place(origin: Origin | None) -> tuple[int, int] | None:
    return None if origin is None else (origin.partition, origin.offset)


def _unstorable(of: Pipeline, record: Record) -> str | None:
    """Why a sink would refuse the record for what it holds."""
    import pyarrow as pa

    from penstock.sinks.catalogue import unstorable
    from penstock.sinks.columns import arrow_schema

    rows = pa.RecordBatch.from_pylist([record], schema=arrow_schema(of.contract))
    return next((said for sink in of.sinks for said in unstorable(sink, of.contract, rows).values()), None)


def _of_others(of: Pipeline, row: LetterRow, letter: DeadLetter, mended: Any, kafka: Kafka) -> Candidate:
    """What others wrote to a shared topic: part of the batch that has claimed it, or of the one that will."""
    from penstock.kafka.shared import topic_id
    from penstock.sinks.json_rows import normaliser

    original = _original(letter, kafka)
    value = mended if mended is not None else decoded(of, letter, kafka)
    record = value if _keeps(of.contract, value) else _kept(of.contract, value, normaliser(of.normaliser))
    claimed_by = Ledger(ledger_url()).claimed_by(topic_id(kafka, of.topic), original.partition, original.offset)
    if claimed_by is not None:
        as_of = _EPOCH + timedelta(milliseconds=original.timestamp)
        return _of_attempt(of, row, record, _attempt(claimed_by, None), as_of, kafka, original.timestamp)
    if reason := _unstorable(of, record):
        raise Reject(f"it would be rejected again, as {reason}: mend it")
    data = letter.value if mended is None else _json(mended)
    resent = Resent(str(row.id), data, original.key or b"", original.timestamp)
    return Candidate(row.id, record, resent, Planned(row.id, of.topic, replaced=_place(letter.origin)))


def _keeps(contract: Contract, value: Any) -> bool:
    return isinstance(value, dict) and contract.violation(value) is None


def _original(letter: DeadLetter, kafka: Kafka) -> Message:
    """The record that was set aside. Raises Fatal where it is not on its topic."""
    if letter.origin is None:
        raise Fatal("nobody knows whose it is: it has neither a batch nor a place on a topic; drop it")
    origin = letter.origin
    wanted = [OffsetRange(origin.partition, origin.offset, origin.offset + 1)]
    try:
        for message in read_messages(kafka, origin.topic, wanted):
            return message
    except Fatal as error:
        raise Fatal(f"{origin} has expired, and with it as of when the record was: drop it") from error
    raise Fatal(f"{origin} has expired, and with it as of when the record was: drop it")


def _of_stream(of: Stream, row: LetterRow, letter: DeadLetter, mended: Any, kafka: Kafka) -> Candidate:
    """As it lay on the topic, or as it was mended; its id is its key, so that repetitions meet in one partition."""
    from penstock.sinks.json_rows import normaliser

    value = mended if mended is not None else decoded(of, letter, kafka)
    record = _kept(of.contract, value, normaliser(of.normaliser))
    key = "/".join(str(record[name]) for name in of.contract.key if name != of.contract.event_time)
    data = letter.value if mended is None else _json(mended)
    resent = Resent(str(row.id), data, key.encode(), int(datetime.now(UTC).timestamp() * 1000))
    return Candidate(row.id, record, resent, Planned(row.id, of.topic, replaced=_place(letter.origin)))


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
            found = _kept(of.contract, parse(message.value), normalise)
        except Reject:
            continue  # it closes no minute
        newest = max(int(found[of.contract.event_time] or 0), newest or 0)
    return newest


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _by_attempt(candidates: Iterable[Candidate]) -> Iterator[tuple[Attempt, list[Candidate]]]:
    found: dict[str, tuple[Attempt, list[Candidate]]] = {}
    for each in candidates:
        if each.attempt is not None:
            found.setdefault(each.attempt.batch.id, (each.attempt, []))[1].append(each)
    yield from found.values()


def _conflicts(of: Pipeline, kafka: Kafka, attempt: Attempt, candidates: Sequence[Candidate]) -> dict[int, str]:
    """{letter: why it has no place in its batch}, by reading all of the batch from the topic again."""
    from penstock.ledger.evidence import TopicRecords
    from penstock.ledger.witnesses import witnesses

    records = TopicRecords(kafka, of)
    if records.removed(attempt.produced):
        reason = f"{of.topic} no longer has all records of {attempt.batch.id}, which could not be judged: run it again"
        return {each.letter: reason for each in candidates}
    with witnesses(of, raw_copy=False) as places:
        return _Places(of.contract, places).conflicts(records, attempt.produced, candidates)


class _Places:
    """The keys of a batch, in the contract's terms and in those of each sink."""

    def __init__(self, contract: Contract, sinks: Sequence[Witness]) -> None:
        self._contract = contract
        self._sinks = sinks

    def conflicts(self, records: TopicRecords, produced: Produced, candidates: Sequence[Candidate]) -> dict[int, str]:
        """Those whose key a record of the batch has, or an earlier one of the candidates."""
        taken = [each.planned.replaced for each in candidates if each.planned.replaced is not None]
        without = [OffsetRange(partition, offset, offset + 1) for partition, offset in taken]
        found: dict[int, str] = {}
        keys = {each.letter: self._keys(each.record) for each in candidates}
        for part in records.by_partition(produced, self._sinks, without=without):
            there = [part.ids, *part.keys]
            for each in candidates:
                if any(key in known for key, known in zip(keys[each.letter], there, strict=True)):
                    found[each.letter] = f"its batch has a record of its key already, {self._named(each)}: drop it"
        seen: list[set[Any]] = [set() for _ in range(1 + len(self._sinks))]
        for each in candidates:
            own = keys[each.letter]
            if each.letter not in found and any(key in known for key, known in zip(own, seen, strict=True)):
                found[each.letter] = f"another letter of this replay has its key, {self._named(each)}: drop one of them"
            for key, known in zip(own, seen, strict=True):
                known.add(key)
        return found

    def _keys(self, record: Record) -> list[Any]:
        return [tuple(record[name] for name in self._contract.key), *(each.key(record) for each in self._sinks)]

    def _named(self, each: Candidate) -> str:
        from penstock.ledger.evidence import shown

        return shown(self._contract, {name: each.record[name] for name in self._contract.key})


def _land_here(of: Pipeline, messages: Sequence[Message], kafka: Kafka) -> None:
    """Write the records to the pipeline's sinks, in this process, with the code that Spark's workers write with.

    Raises Retry where a sink stays away, Fatal where it refuses a record.
    """
    import pyarrow as pa

    from penstock.kafka import headers
    from penstock.ledger.decoding import decoder
    from penstock.sinks.catalogue import address_of, open_sink
    from penstock.sinks.columns import arrow_schema

    decode = decoder(of, kafka)
    by_as_of: defaultdict[datetime, list[tuple[Message, Record]]] = defaultdict(list)
    for message in messages:
        as_of = headers.time(message.headers)
        if as_of is None:
            raise Fatal(f"{message.topic}-{message.partition}@{message.offset} has lost its as-of time")
        by_as_of[as_of].append((message, decode.decoded(message.value or b"", by_others=False)))
    for spec in of.sinks:
        with ExitStack() as held:
            if isinstance(spec, InfluxMeasurement):
                held.enter_context(held_lock(ledger_url(), f"landing in {spec.name}", _PATIENCE_SECONDS))
            sink = held.enter_context(closing(open_sink(spec, address_of(spec), of.contract)))
            for as_of, found in by_as_of.items():
                rows = pa.RecordBatch.from_pylist([record for _, record in found], schema=arrow_schema(of.contract))
                written = sink.write(rows, as_of)
                for at, reason in written.rejects:
                    letter = headers.text(found[at][0].headers, headers.REPLAY_OF)
                    raise Fatal(f"{spec.name} refuses the record of letter {letter}: {reason}")


def _await_stream(of: Pipeline, messages: Sequence[Message], kafka: Kafka) -> None:
    """Wait until the stream has landed the records.

    Raises Retry where it does not get on, Fatal where it was stopped, or has set one aside again.
    """
    from penstock.kafka.shared import topic_id
    from penstock.ledger.landings import StreamLandings
    from penstock.services.landing_wait import LOOK_SECONDS, LandingWait, looks

    wanted: dict[int, int] = {}
    for each in messages:
        wanted[each.partition] = max(each.offset + 1, wanted.get(each.partition, 0))
    wait = LandingWait(of, wanted, looks(of))
    while not wait.over():
        time.sleep(LOOK_SECONDS)
    (sink,) = of.sinks
    landings = StreamLandings(ledger_url(), sink.name, topic_id(kafka, of.topic))
    for each in messages:
        if landings.rejects(each.partition, each.offset):
            where = Origin(each.topic, each.partition, each.offset)
            raise Fatal(f"{of.landing_service} has set the record aside again, as a new letter of {where}")
