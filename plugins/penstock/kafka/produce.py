"""One batch onto its topic: all of its records become visible together, or none.

Each attempt is one transaction under the batch's own transactional id. Starting it fences an attempt that still runs
somewhere and ends one that was killed. Readers with isolation.level=read_committed see an attempt once it is
committed, and never see one that failed.

One thing Kafka does not tell: where a process dies between the commit and its caller's note of it, the next attempt
writes the records again. Both carry the batch's id; `as_of` tells them apart.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import Any, TypeAlias

from confluent_kafka import KafkaException, Producer

from penstock.core import settings
from penstock.core.batch import Batch
from penstock.core.contract import Contract
from penstock.core.counts import Produced
from penstock.core.errors import Reject
from penstock.core.pipeline import Wire
from penstock.core.record import Record, Unusable
from penstock.kafka import headers
from penstock.kafka.client import Connection
from penstock.kafka.dead_letters import DeadLetter
from penstock.kafka.encoder import Encoder, Identity
from penstock.kafka.json_encoder import JsonEncoder
from penstock.kafka.outbox import Outbox

_log = logging.getLogger(__name__)

_CHUNK = 256
"""Records encoded at once: enough for the arrays to pay, few enough to stay in the processor's cache."""

_ABORT_SECONDS = 5.0
_GRACE_MS = 60_000

_Bad: TypeAlias = tuple[Any, str]
"""What cannot go on the topic, as JSON types, and why."""

_DEFAULTS = {
    "compression.type": "lz4",
    "linger.ms": 20,
    "partitioner": "murmur2_random",  # as Java clients do, so that a key has one partition whoever writes it
    "queue.buffering.max.kbytes": 64 << 10,  # bounds the memory where the source is faster than the broker
}


def produce(
    batch: Batch,
    contract: Contract,
    *,
    topic: str,
    dead_letter_topic: str,
    records: Iterable[Record | Unusable],
    kafka: settings.Kafka,
    schema_id: int,
    wire: Wire = Wire.AVRO,
    as_of: datetime,
    deadline: float,
    config: Mapping[str, str] | None = None,
) -> Produced:
    """Write `records` to `topic` in one transaction, and return what the broker acknowledged.

    A record that breaks the contract, and what the source says is none, goes to `dead_letter_topic`, in the same
    transaction. `records` is read once, in bounded memory. `deadline` is an instant of time.monotonic(), in seconds: up
    to it, a broker that is away is waited for. `config` holds further settings of the producer; they cannot weaken what
    is promised here.

    Raises Retry for what may pass, Fatal for what will not (another attempt took over, a topic is missing, the broker
    refuses), and whatever `records` raises. In all these cases nothing of this attempt becomes visible.
    """
    connection = Connection(kafka.bootstrap_servers, config, deadline)
    with transaction(connection, f"penstock.{batch.id}") as producer:
        accepted = Outbox(connection, producer, topic)
        rejected = Outbox(connection, producer, dead_letter_topic)
        encoder = JsonEncoder(contract) if wire is Wire.JSON else Encoder(contract, schema_id)
        identity = Identity(contract)
        attempt = headers.attempt(batch.id, as_of)
        fetched = 0
        for chunk in _chunks(records):
            fetched += len(chunk)
            usable, bad = _usable(chunk)
            good, values, refused = _divide(usable, encoder.encode_many(usable))
            too_large = accepted.send_all(values, identity.keys(good), identity.timestamps(good), attempt)
            bad += refused
            bad += [(good[position], str(reject)) for position, reject in too_large.items()]
            for record, reason in bad:
                DeadLetter.of_record(record, reason, batch.id, as_of).send(rejected)
        accepted.settle()
        rejected.settle()
        ranges = accepted.ranges()
    return Produced(
        batch_id=batch.id,
        topic=topic,
        schema_id=schema_id,
        as_of=as_of,
        fetched=fetched,
        acked=accepted.acked + rejected.acked,
        rejected=rejected.acked,
        ranges=ranges,
    )


def _chunks(records: Iterable[Record | Unusable]) -> Iterator[list[Record | Unusable]]:
    source = iter(records)
    while chunk := list(islice(source, _CHUNK)):
        yield chunk


def _usable(chunk: Sequence[Record | Unusable]) -> tuple[list[Record], list[_Bad]]:
    """The records, and what the source says are none."""
    records = [each for each in chunk if not isinstance(each, Unusable)]
    return records, [(each.raw, each.reason) for each in chunk if isinstance(each, Unusable)]


def _divide(
    records: Sequence[Record], encoded: Sequence[bytes | Reject]
) -> tuple[Sequence[Record], Sequence[bytes], list[_Bad]]:
    """The records that were encoded, their bytes, and the others with the reason."""
    bad = [(record, str(each)) for record, each in zip(records, encoded, strict=True) if isinstance(each, Reject)]
    if not bad:
        return records, encoded, []  # type: ignore[return-value]  # no Reject among them
    good = [(record, each) for record, each in zip(records, encoded, strict=True) if not isinstance(each, Reject)]
    return [record for record, _ in good], [value for _, value in good], bad


@contextmanager
def transaction(connection: Connection, transactional_id: str) -> Iterator[Producer]:
    """A producer inside a transaction, which is committed at the end of the block, or aborted at an error."""
    producer = _producer(connection, transactional_id)
    connection.wait("starting a transaction", producer.init_transactions, producer.poll)
    producer.begin_transaction()
    try:
        yield producer
        connection.wait("committing the transaction", producer.commit_transaction, producer.poll)
    except BaseException:
        _abort(producer, transactional_id)
        raise


def _producer(connection: Connection, transactional_id: str) -> Producer:
    """The client must not drop a record, nor the broker end the transaction, before the deadline: then we do."""
    milliseconds = int(connection.left * 1000) + 1
    required = {
        "transactional.id": transactional_id,
        "enable.idempotence": True,
        "acks": "all",
        "allow.auto.create.topics": False,
        "message.timeout.ms": milliseconds,
        "transaction.timeout.ms": milliseconds + _GRACE_MS,
    }
    return connection.open(Producer, _DEFAULTS, required)


def _abort(producer: Producer, transactional_id: str) -> None:
    try:
        producer.abort_transaction(_ABORT_SECONDS)
    except KafkaException as error:
        if error.args[0].fatal():  # fenced: there is nothing left to abort
            return
        _log.warning("transaction %s was left open, to be ended by the next attempt: %s", transactional_id, error)
