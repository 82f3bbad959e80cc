"""What a dead letter would be on its topic again, and whether it may go there."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from penstock.core.batch import Batch
from penstock.core.contract import Contract
from penstock.core.counts import Landed, OffsetRange, Produced
from penstock.core.errors import Fatal, Reject
from penstock.core.pipeline import Pipeline, Wire
from penstock.core.record import Record
from penstock.core.settings import Kafka, ledger_url
from penstock.core.stream import Stream
from penstock.kafka.dead_letters import DeadLetter, Origin
from penstock.kafka.reader import Message
from penstock.kafka.reader import read as read_messages
from penstock.kafka.replay import Resent
from penstock.ledger.dead_letters import LetterRow
from penstock.ledger.replays import Planned
from penstock.ledger.store import Ledger

if TYPE_CHECKING:
    from penstock.ledger.evidence import TopicRecords, Witness

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


def described(data_set: str) -> Pipeline | Stream:
    """The pipeline or stream of this name. Raises Fatal where there is none any more."""
    from penstock.pipelines import PIPELINES, STREAMS

    found = PIPELINES.get(data_set) or STREAMS.get(data_set)
    if found is None:
        raise Fatal(f"there is no data set {data_set} any more, so that its letters have nowhere to go: drop them")
    return found


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
    record = kept(of.contract, mended) if mended is not None else kept(of.contract, decoded(of, letter, kafka))
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


def kept(contract: Contract, record: Any, normaliser: Callable[[Any], Record] | None = None) -> Record:
    """The record of the contract that `record` is, or becomes. Raises Reject where it is none, or breaks it."""
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
    record = value if _keeps(of.contract, value) else kept(of.contract, value, normaliser(of.normaliser))
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
    record = kept(of.contract, value, normaliser(of.normaliser))
    key = "/".join(str(record[name]) for name in of.contract.key if name != of.contract.event_time)
    data = letter.value if mended is None else _json(mended)
    resent = Resent(str(row.id), data, key.encode(), int(datetime.now(UTC).timestamp() * 1000))
    return Candidate(row.id, record, resent, Planned(row.id, of.topic, replaced=_place(letter.origin)))


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def conflicts_in(of: Pipeline, kafka: Kafka, attempt: Attempt, candidates: Sequence[Candidate]) -> dict[int, str]:
    """{letter: why it has no place in its batch}, by reading all of the batch from the topic again.

    Raises Retry where a server is away.
    """
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
