"""Small data sets of a test's own, whose records are set aside, replayed, and killed in the middle of that.

`python -m tests.dead_letters NAME WIRE WHERE ID...` replays letters in a process that kills itself at a point.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from penstock import pipelines
from penstock.airflow import replaying
from penstock.core.batch import Batch, Interval
from penstock.core.contract import Contract
from penstock.core.counts import Landed, Produced
from penstock.core.errors import Reject
from penstock.core.pipeline import CassandraTable, InfluxMeasurement, Pipeline, Wire
from penstock.core.record import Record
from penstock.core.settings import PROJECT, Kafka
from penstock.kafka import reader
from penstock.kafka.dead_letters import Rejected, forward
from penstock.kafka.produce import produce
from penstock.kafka.registry import Registry
from penstock.kafka.topics import EVENT_TIMED, Topic, ensure
from penstock.ledger.dead_letters import DeadLetters, LetterRow, LetterState
from penstock.ledger.decoding import decoder
from penstock.ledger.store import Ledger, LedgerRow, Run
from penstock.ledger.verify import verify
from penstock.ledger.witnesses import witnesses
from penstock.sinks.catalogue import address_of, open_sink
from penstock.sinks.columns import arrow_schema

START = datetime(2026, 10, 31, 22, tzinfo=UTC)
INTERVAL = Interval(START, START + timedelta(hours=4))
AS_OF = datetime(2026, 11, 1, 12, 0, 1, 123456, tzinfo=UTC)
RUN = Run("some_dag/scheduled")
FIRST_MS = int(START.timestamp()) * 1000
HOUR_MS = 3_600_000
MAXIMUM = 60.0


def contract(maximum: float = MAXIMUM) -> Contract:
    return Contract(
        {
            "type": "record",
            "name": "Reading",
            "penstock": {
                "key": ["place", "time"],
                "eventTime": "time",
                "cassandra": {
                    "partitionKey": ["place", "month"],
                    "clusteringKey": ["time"],
                    "buckets": {"month": {"of": "time", "by": "month"}},
                },
                "influxdb": {"tags": ["place"]},
            },
            "fields": [
                {"name": "place", "type": "string"},
                {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
                {"name": "value", "type": "double", "maximum": maximum},
                {"name": "note", "type": ["null", "string"], "default": None},
            ],
        }
    )


def normalise(found: Any) -> Record:
    """What others write: their `t` is in seconds."""
    if not isinstance(found, dict) or not isinstance(found.get("t"), int):
        raise Reject("there is no t")
    return {"place": found.get("place"), "time": found["t"] * 1000, "value": found.get("value")}


class NoSource:
    def fetch(self, interval: Interval, options: Any) -> Iterator[Record]:
        raise NotImplementedError

    def resolve(self, options: Any) -> Any:
        return options


def pipeline_of(name: str, wire: Wire) -> Pipeline:
    """An Avro one lands in Cassandra, a JSON one in InfluxDB, from a topic that it shares with others."""
    json_ = wire is Wire.JSON
    return Pipeline(
        name,
        contract(),
        NoSource(),
        name,
        (InfluxMeasurement(name) if json_ else CassandraTable(name),),
        timedelta(hours=1),
        wire=wire,
        shared=json_,
        normaliser="tests.dead_letters:normalise" if json_ else None,
    )


def record(hour: int, value: float = 20, place: str = "Bodø") -> Record:
    return {"place": place, "time": FIRST_MS + hour * HOUR_MS, "value": value, "note": None}


@dataclass
class Case:
    """A data set with its topic, its sink and a ledger of its own."""

    pipeline: Pipeline
    kafka: Kafka
    ledger_url: str
    ledger: Ledger
    batch: Batch = field(init=False)

    def __post_init__(self) -> None:
        self.batch = Batch(self.pipeline.name, INTERVAL)

    @classmethod
    def made(cls, name: str, wire: Wire, kafka: Kafka, ledger_url: str) -> Case:
        found = cls(pipeline_of(name, wire), kafka, ledger_url, Ledger(ledger_url))
        topics = [Topic(each, 2, config=EVENT_TIMED) for each in (name, found.pipeline.dead_letter_topic)]
        ensure(kafka.bootstrap_servers, topics)
        found.ledger.migrate()
        (sink,) = found.pipeline.sinks
        with closing(open_sink(sink, address_of(sink), found.pipeline.contract)) as opened:
            opened.setup()
        return found

    def produce(self, records: Sequence[Record], as_of: datetime = AS_OF, maximum: float = MAXIMUM) -> Produced:
        """With a higher `maximum`, as by a program that is lax: landing refuses the record then."""
        produced = produce(
            self.batch,
            contract(maximum) if maximum != MAXIMUM else self.pipeline.contract,
            topic=self.pipeline.topic,
            dead_letter_topic=self.pipeline.dead_letter_topic,
            records=records,
            kafka=self.kafka,
            schema_id=Registry(self.kafka.registry_url).register(
                f"{self.pipeline.topic}-value", self.pipeline.contract
            ),
            wire=self.pipeline.wire,
            as_of=as_of,
            deadline=time.monotonic() + 60,
        )
        self.ledger.produced(self.batch, produced, RUN)
        return produced

    def land(self, produced: Produced) -> Landed:
        """As the landing job does: the good records to the sink, the others to the dead letters."""
        decode, rejects, good = decoder(self.pipeline, self.kafka), [], []
        for message in [*self._own(produced), *self._others(produced)]:
            theirs = message.batch_id is None
            as_of = datetime.fromtimestamp(message.timestamp / 1000, UTC) if theirs else produced.as_of
            reason = None
            try:
                found = decode.decoded(message.value or b"", by_others=theirs)
                reason = self.pipeline.contract.violation(found)
            except Reject as reject:
                reason = str(reject)
            if reason is None:
                good.append((found, as_of))
            else:
                rejects.append(Rejected(message.topic, message.partition, message.offset, reason))
        forward(self.kafka, self.pipeline.dead_letter_topic, rejects, deadline=time.monotonic() + 60)
        for as_of in dict.fromkeys(at for _, at in good):
            self.write([found for found, at in good if at == as_of], as_of)
        landed = Landed(self.batch.id, len(good) + len(rejects), len(good), len(rejects))
        self.ledger.landed(self.batch, landed, RUN, as_of=produced.as_of)
        return landed

    def write(self, records: Sequence[Record], as_of: datetime) -> None:
        """Straight to the sink."""
        (spec,) = self.pipeline.sinks
        rows = pa.RecordBatch.from_pylist(list(records), schema=arrow_schema(self.pipeline.contract))
        with closing(open_sink(spec, address_of(spec), self.pipeline.contract)) as sink:
            assert sink.write(rows, as_of).landed == len(records)

    def judge(self, produced: Produced, landed: Landed) -> None:
        from penstock.airflow.handover import ProducedBatch
        from penstock.airflow.judging import judged_by_keys

        (verdict,) = judged_by_keys(self.pipeline, [ProducedBatch(self.batch, produced, None)], {self.batch.id: landed})
        self.ledger.reconciled(self.batch, verdict, RUN, as_of=produced.as_of)

    def run(self, records: Sequence[Record], as_of: datetime = AS_OF, maximum: float = MAXIMUM) -> None:
        """A whole run of the batch, and its letters noted."""
        produced = self.produce(records, as_of, maximum)
        self.judge(produced, self.land(produced))
        self.take_up()

    def take_up(self) -> None:
        self.letters.take_up(self.kafka, {self.pipeline.dead_letter_topic: self.pipeline.name})

    @property
    def letters(self) -> DeadLetters:
        return DeadLetters(self.ledger_url)

    def open_letters(self) -> list[LetterRow]:
        return sorted(self.letters.rows(limit=None), key=lambda row: row.id)

    def letter(self) -> LetterRow:
        """The only one, in whatever state."""
        (found,) = self.letters.rows(state=None)
        return found

    def state(self) -> LetterState:
        return self.letter().state

    def row_of(self, batch_id: str) -> LedgerRow:
        """Where the ledger has others, too."""
        start, end = self.batch.interval.start, self.batch.interval.end
        (found,) = [each for each in self.ledger.batches(None, start, end) if each.batch_id == batch_id]
        return found

    def row(self) -> LedgerRow:
        (found,) = self.ledger.batches(self.pipeline.name)
        return found

    def counts(self) -> tuple[int | None, ...]:
        """(fetched, acked, landed, rejected, duplicates) and the verdict."""
        row = self.row()
        return (row.fetched, row.acked, row.landed, row.rejected, row.duplicates, row.verdict)  # type: ignore[return-value]

    def verified(self) -> str:
        with witnesses(self.pipeline) as places:
            (found,) = verify(self.pipeline, INTERVAL, ledger=self.ledger, kafka=self.kafka, witnesses=places)
        return found.verdict

    def messages(self) -> list[reader.Message]:
        """All that is on the topic."""
        return list(reader.read(self.kafka, self.pipeline.topic, reader.extent(self.kafka, self.pipeline.topic)))

    def replays(self) -> list[reader.Message]:
        """What replays have put on the topic."""
        return [each for each in self.messages() if "replay_of" in each.headers]

    def replay(self, *ids: int, mended: Any = None, run: str = "maintenance/one", tries: int = 1) -> replaying.Outcome:
        return replaying.replay(ids, dict.fromkeys(ids, mended) if mended else {}, Run(run, tries), "somebody")

    def _own(self, produced: Produced) -> list[reader.Message]:
        return list(reader.read(self.kafka, produced.topic, produced.ranges, produced.batch_id))

    def _others(self, produced: Produced) -> list[reader.Message]:
        found = reader.read(self.kafka, produced.topic, produced.claimed)
        return [each for each in found if each.batch_id is None]


def known(patch: pytest.MonkeyPatch, pipeline: Pipeline) -> None:
    """Have the platform know the pipeline."""
    patch.setattr(pipelines, "PIPELINES", {**pipelines.PIPELINES, pipeline.name: pipeline})


POINTS = ("before the commit", "after the commit", "when placed", "in the sink", "when judged")


def _die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_at(point: str, patch: pytest.MonkeyPatch) -> None:
    from penstock.kafka.replay import Sender
    from penstock.ledger.replays import Replays

    def then_die(of: Any, name: str) -> None:
        real = getattr(of, name)
        patch.setattr(of, name, lambda *given, **more: (real(*given, **more), _die()))

    if point == "before the commit":
        patch.setattr(Sender, "commit", _die)
    elif point == "after the commit":
        then_die(Sender, "commit")
    elif point == "when placed":
        then_die(Replays, "placed")
    elif point == "in the sink":
        then_die(replaying, "land_here")
    else:
        patch.setattr(Replays, "done", _die)


def main(name: str, wire: str, point: str, mended: str, ids: Sequence[str]) -> None:
    patch = pytest.MonkeyPatch()
    known(patch, pipeline_of(name, Wire(wire)))
    _kill_at(point, patch)
    values = {int(each): json.loads(mended) for each in ids}
    replaying.replay(list(values), values, Run("maintenance/killed"), "somebody")


def killed_and_repeated(case: Case, environment: Mapping[str, str], point: str, mended: Record) -> None:
    """Kill a replay of the batch's only letter at a point, and repeat it: it lands once, and the batch is whole."""
    letter = case.letter().id
    told = {**environment, "LEDGER_URL": case.ledger_url, "PYTHONPATH": f"{PROJECT}/plugins:{PROJECT}"}
    of_whom = [case.pipeline.name, str(case.pipeline.wire)]
    command = [sys.executable, "-m", "tests.dead_letters", *of_whom, point, json.dumps(mended), str(letter)]
    killed = subprocess.run(command, env=told, check=False, timeout=300, cwd=PROJECT)
    assert killed.returncode == -signal.SIGKILL
    assert case.row().verdict == "replay of 1 dead letter in progress"
    assert case.state() is LetterState.OPEN
    refused = replaying.drop([letter], Run("maintenance/drop"), "somebody", "no need").refused
    assert refused == {letter: f"letter {letter}: a replay of it has begun and is not over: replay it again"}

    assert case.replay(letter, mended=mended, run="maintenance/two").verdicts == {case.batch.id: "whole"}
    assert len(case.replays()) == 1
    assert case.verified() == "whole"
    assert case.state() is LetterState.REPLAYED


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:])
