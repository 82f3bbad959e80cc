"""Landing the few records of a replay: here, or by the stream that lands their pipeline."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack, closing
from datetime import datetime

from penstock.core.errors import Fatal
from penstock.core.pipeline import InfluxMeasurement, Pipeline
from penstock.core.record import Record
from penstock.core.settings import Kafka, ledger_url
from penstock.kafka.dead_letters import Origin
from penstock.kafka.reader import Message
from penstock.ledger.locks import held_lock

_PATIENCE_SECONDS = 120.0


def land_here(of: Pipeline, messages: Sequence[Message], kafka: Kafka) -> None:
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


def await_stream(of: Pipeline, messages: Sequence[Message], kafka: Kafka) -> None:
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
