"""spark_jobs/stream_to_influx.py, run as a service, beside spark_jobs/land_batch.py on the same records."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer

from penstock.core.batch import Batch, Interval
from penstock.core.counts import Landed, OffsetRange, Produced
from penstock.core.pipeline import InfluxMeasurement, Pipeline, Wire
from penstock.core.record import Record
from penstock.core.settings import PROJECT, Hdfs, Influx, Kafka
from penstock.kafka import dead_letters, headers
from penstock.kafka.lag import Lag
from penstock.kafka.produce import produce
from penstock.kafka.shared import count_of_others, topic_id
from penstock.kafka.topics import EVENT_TIMED, Topic, ensure
from penstock.ledger.landings import Fates, StreamLandings, landed_by_stream
from penstock.ledger.locks import lock_key
from penstock.ledger.store import Ledger
from penstock.pipelines import CARS
from penstock.sinks.checkpoint import Checkpoint
from penstock.sinks.landing import Request
from penstock.sinks.webhdfs import WebHdfs
from tests.conftest import Stack
from tests.flume_agent import hdfs_folder, until
from tests.measurements import FOR_EVER, points

pytestmark = pytest.mark.integration

JOB = PROJECT / "spark_jobs" / "stream_to_influx.py"
BATCH_JOB = PROJECT / "spark_jobs" / "land_batch.py"
GROUP = CARS.landing_service
DAY = datetime(2026, 1, 1, tzinfo=UTC)
MIDNIGHT = int(DAY.timestamp() * 1000)
AS_OF = datetime(2026, 11, 22, 9, 30, 0, 123456, UTC)
SECONDS = 60.0

Submit = Callable[..., "subprocess.CompletedProcess[str]"]


def sale(number: int, **changes: Any) -> Record:
    record: Record = {
        "transaction_id": number,
        "time": MIDNIGHT + number % 1_000_000,
        "buyer_id": number // 3,
        "buyer_name": "Ada King",
        "car_brand": "Fiat",
        "car_model": f"{500 + number % 5}",
        "year": 2024,
        "color": "red",
        "country": "Italy",
        "branch": "Rome",
        "transaction_price": 9_999.5,
    }
    return record | changes


@dataclass
class Case:
    """A topic, its dead letters, a measurement and a checkpoint, of one test alone."""

    stack: Stack
    kafka: Kafka
    influx: Influx
    hdfs: Hdfs
    ledger_url: str
    folder: Path
    name: str
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        topics = [Topic(self.name, 3, config=EVENT_TIMED), Topic(f"{self.name}.dlq", 1), Topic(f"{self.name}.batch", 1)]
        ensure(self.kafka.bootstrap_servers, topics)
        Ledger(self.ledger_url).migrate()
        self.checkpoint = Checkpoint(self.hdfs, f"/{self.name}/checkpoint")
        self.lag = Lag(self.kafka)

    def produce(self, number: int, records: Iterable[Record], as_of: datetime) -> Produced:
        """Produce batch `number` as the platform does."""
        start = DAY + timedelta(days=number)
        return produce(
            Batch(CARS.name, Interval(start, start + timedelta(days=1))),
            CARS.contract,
            topic=self.name,
            dead_letter_topic=f"{self.name}.dlq",
            records=records,
            kafka=self.kafka,
            schema_id=0,
            wire=Wire.JSON,
            as_of=as_of,
            deadline=time.monotonic() + SECONDS,
        )

    def publish(
        self, values: Iterable[Record | bytes], partition: int, named: headers.Headers | None = None
    ) -> OffsetRange:
        """Put values on the topic as another program does."""
        offsets: list[int] = []
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap_servers, "enable.idempotence": True})
        for value in values:
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            noted = lambda _, message: offsets.append(message.offset())  # noqa: E731
            producer.produce(self.name, body, partition=partition, headers=named, on_delivery=noted)
        producer.flush(SECONDS)
        return OffsetRange(partition, min(offsets), max(offsets) + 1)

    def start(self, **settings: str) -> None:
        environment = os.environ | self.stack.environment() | self._settings() | settings
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(JOB), "--pipeline", CARS.name], env=environment, stdout=log, stderr=log
            )

    def _settings(self) -> dict[str, str]:
        return {
            "CARS_LANDED_BY": "stream",
            "CARS_TOPIC": self.name,
            "CARS_MEASUREMENT": self.name,
            "CAR_TRANSACTIONS_CHECKPOINT": self.checkpoint.folder,
            "CAR_TRANSACTIONS_TRIGGER_SECONDS": "1",
            "LEDGER_URL": self.ledger_url,
        }

    def stop(self) -> int:
        """SIGTERM, and what it ends with."""
        assert self.process
        self.process.terminate()
        return self.process.wait(60)

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def wait_for(self, reached: Callable[[], Any], what: str) -> Any:
        """Wait while the driver lives."""

        def looked() -> Any:
            assert self.process
            assert self.process.poll() is None, self.log[-4000:]
            return reached()

        return until(looked, what)

    def wait_until_all_is_landed(self) -> None:
        ends = self.lag.ends(self.name)
        self.wait_for(lambda: self.lag.progress(GROUP, self.name) == ends, "the landing of all records")

    def points(self, measurement: str) -> list[dict[str, Any]]:
        return points(self.influx, measurement, *FOR_EVER)

    def letters(self, topic: str) -> list[tuple[str, str]]:
        """(where it lies, reason) of each dead letter, once."""
        found = {(each.id, each.reason.replace(self.name, "M")) for each in dead_letters.read(self.kafka, topic)}
        return sorted(found)

    @property
    def pipeline(self) -> Pipeline:
        return replace(CARS, topic=self.name, sinks=(InfluxMeasurement(self.name),))

    def fates(self, produced: Produced) -> Fates:
        return StreamLandings(self.ledger_url, self.name, topic_id(self.kafka, self.name)).fates(produced)

    def land_batch(self, submit: Submit, *batches: Produced, patience: float = SECONDS, check: bool = True) -> Path:
        """The batch job on the same records, into another measurement: where it left its report or its error."""
        sink = InfluxMeasurement(f"{self.name}.batch" if check else self.name)
        request = Request(
            CARS.contract, self.name, f"{self.name}.batch", (sink,), batches, wire=Wire.JSON, patience=patience
        )
        (self.folder / "request.json").write_text(json.dumps(request.to_json()))
        report = self.folder / "report.json"
        submit(BATCH_JOB, "--request", str(self.folder / "request.json"), "--report", str(report), check=check)
        return report


@pytest.fixture
def case(
    stack: Stack,
    kafka_settings: Kafka,
    influx_settings: Influx,
    hdfs_settings: Hdfs,
    ledger_url: str,
    tmp_path: Path,
    unique: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Case]:
    monkeypatch.setenv("LEDGER_URL", ledger_url)
    with hdfs_folder(hdfs_settings, f"/{unique}"):
        found = Case(stack, kafka_settings, influx_settings, hdfs_settings, ledger_url, tmp_path, unique)
        yield found
        if found.process and found.process.poll() is None:
            found.kill()


def test_a_stream_leaves_what_the_batch_job_leaves_though_it_is_killed_and_repeats_micro_batches(
    case: Case, spark_submit: Submit
) -> None:
    newer = case.produce(0, [sale(number) for number in range(300)], AS_OF)
    older = case.produce(
        1, [sale(number, buyer_name="Old") for number in range(200, 400)], AS_OF - timedelta(microseconds=1)
    )
    rivals = [sale(1_000_007, time=sale(7)["time"], car_model=sale(7)["car_model"]), sale(900), sale(900)]
    others = [
        case.publish([sale(number) for number in range(500, 600)], 0),
        case.publish([*rivals, b"{", b'{"transaction_id": 1}', sale(950, transaction_price=-1.0)], 1),
    ]
    unnamed = case.publish([sale(990)], 2, [(headers.BATCH_ID, b"car_transactions:x"), (headers.AS_OF, b"yesterday")])
    taken_up = count_of_others(case.kafka, case.name, others)
    older = older.with_claim(others, taken_up)

    case.start(CAR_TRANSACTIONS_RECORDS_AT_ONCE="90")
    case.wait_for(lambda: case.lag.progress(GROUP, case.name), "the first micro-batch")
    case.kill()
    case.start(CAR_TRANSACTIONS_RECORDS_AT_ONCE="90")
    case.wait_until_all_is_landed()
    assert case.stop() == 0, case.log[-4000:]
    case.land_batch(spark_submit, newer, older)

    expected = case.points(f"{case.name}.batch")
    assert len(expected) == 400 + 100 + 1
    assert case.points(case.name) == expected
    bad = (f"{case.name}-2@{unnamed.start}", "the record names the batch car_transactions:x and has the header as_of")
    letters = case.letters(f"{case.name}.dlq")
    assert [each for each in letters if each[0] != bad[0]] == [
        (where, reason.replace("M.batch", "M")) for where, reason in case.letters(f"{case.name}.batch")
    ]
    assert [each[1].startswith(bad[1]) for each in letters if each[0] == bad[0]] == [True]
    assert len(letters) == 5
    assert [landed_by_stream(case.pipeline, each, case.kafka, case.ledger_url) for each in (newer, older)] == [
        Landed(newer.batch_id, read=300, landed=300, rejected=0),
        Landed(older.batch_id, read=306, landed=301, rejected=4, duplicates=1),
    ]
    fates = [case.fates(newer), case.fates(older)]
    assert [(each.read, each.rejects) for each in fates] == [(300, 0), (200 + taken_up, 4)]

    before_the_last = case.checkpoint.committed()
    with WebHdfs(case.hdfs) as client:  # as if it had been killed before Spark's own commit of all micro-batches
        client.delete(case.checkpoint.folder, recursive=True)
    case.start()
    case.wait_for(lambda: case.checkpoint.committed() is not None, "the repetition")
    assert case.stop() == 0, case.log[-4000:]
    assert before_the_last
    assert case.points(case.name) == expected
    assert case.letters(f"{case.name}.dlq") == letters
    assert [case.fates(newer), case.fates(older)] == fates


def test_a_measurement_has_one_landing_and_a_stream_that_loses_its_lock_ends(case: Case, spark_submit: Submit) -> None:
    produced = case.produce(0, [sale(number) for number in range(10)], AS_OF)
    case.start()
    case.wait_until_all_is_landed()

    report = case.land_batch(spark_submit, produced, patience=2.0, check=False)

    said = json.loads(report.with_name("error.json").read_text())
    assert said["kind"] == "Retry"
    assert said["message"].startswith(f"another process has been landing in {case.name} for too long")
    assert case.process
    with psycopg.connect(case.ledger_url, autocommit=True) as session:
        key = lock_key(f"landing in {case.name}")
        holder = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND "
        same = "(classid::bigint << 32) | objid::bigint = %s"
        assert session.execute(holder + same, (key,)).fetchall() == [(True,)]
    assert case.process.wait(60) == 1
    assert "the lock of the measurement is lost, so that another may land in it" in case.log
