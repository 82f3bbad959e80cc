"""Lands what is committed to a pipeline's topic in its measurement, for ever: `stream_to_influx.py --pipeline NAME`.

Each micro-batch is landed, then noted in the ledger by its offsets, then committed to Kafka under the consumer group
`landing-NAME`, and only then to Spark's checkpoint. Where anything breaks off in between, the micro-batch comes again,
and changes nothing: points carry their as-of time, the ledger's offsets are sets, dead letters have ids.

Run it by Python, not by spark-submit: Spark's JVM is then the child, and ends when Python does, whatever ends that. On
SIGTERM the micro-batch under way is finished. Addresses and secrets come from the environment.
"""

from __future__ import annotations

import argparse
import logging
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from penstock.core import settings
from penstock.core.errors import Fatal, PenstockError, Retry
from penstock.core.pipeline import LandedBy, Pipeline
from penstock.core.process import end_with_parent, stop_signal
from penstock.kafka.lag import Lag
from penstock.kafka.shared import topic_id
from penstock.ledger.landings import LandedOffsets, StreamLandings
from penstock.ledger.locks import Lock, held_lock
from penstock.observe.lineage import lands
from penstock.observe.lineage_events import Processing, Run, spark_run
from penstock.pipelines import PIPELINES
from penstock.sinks.catalogue import addresses_of
from penstock.sinks.checkpoint import Checkpoint
from penstock.sinks.landing import Request
from penstock.sinks.patience import PATIENCE_SECONDS
from penstock.sinks.prepare import prepare

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row
    from pyspark.sql.streaming.query import StreamingQuery

    from penstock.sinks.stream_landing import StreamLanding

log = logging.getLogger("stream_to_influx")

_LOOK_SECONDS = 0.5
_FINISH_SECONDS = 20.0
"""How long a micro-batch may take to finish once the stream is to stop: the rest of it is done by the next start."""

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Land until a signal comes. Returns 0 then, or 1 after saying why it cannot go on."""
    parser = argparse.ArgumentParser(description="Land all that is committed to a pipeline's topic, for ever.")
    parser.add_argument("--pipeline", required=True, help=f"one of {', '.join(PIPELINES)}")
    name = parser.parse_args(arguments).pipeline
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("py4j").setLevel(logging.WARNING)
    end_with_parent()
    try:
        pipeline = _streamed(name)
        with spark_run(partial(lands, pipeline, job=pipeline.landing_service), Processing.STREAMING) as lineage:
            _run(pipeline, lineage)
    except PenstockError as error:
        log.error("%s", error)  # noqa: TRY400 - its sentence says all
        return 1
    return 0


def _streamed(name: str) -> Pipeline:
    pipeline = PIPELINES.get(name)
    if pipeline is None:
        raise Fatal(f"there is no pipeline {name!r}: the pipelines are {', '.join(PIPELINES)}")
    if pipeline.landed_by is not LandedBy.STREAM:
        raise Fatal(
            f"the pipeline {name} is landed by its runs: set POPULATION_LANDED_BY or CARS_LANDED_BY to stream, and "
            "start Airflow anew, before this is started"
        )
    return pipeline


def _run(pipeline: Pipeline, lineage: Run) -> None:
    from penstock.sinks.stream_landing import StreamLanding
    from penstock.sinks.stream_session import session, stopped

    kafka, hdfs, (sink,) = settings.Kafka.from_env(), settings.Hdfs.from_env(), pipeline.sinks
    job = settings.StreamJob.of(pipeline.name, f"landing/{pipeline.name}")
    request = Request(
        contract=pipeline.contract,
        topic=pipeline.topic,
        dead_letter_topic=pipeline.dead_letter_topic,
        sinks=(sink,),
        batches=(),
        wire=pipeline.wire,
        normaliser=pipeline.normaliser,
    )
    where = addresses_of((sink,))
    account = StreamLandings(settings.ledger_url(), sink.name, topic_id(kafka, pipeline.topic))
    reports = Reports(account, Lag(kafka), Checkpoint(hdfs, job.checkpoint), pipeline.landing_service, pipeline.topic)
    with held_lock(settings.ledger_url(), f"landing in {sink.name}", PATIENCE_SECONDS) as lock:
        prepare(request, kafka, where)
        stopping = stop_signal()
        spark = session(pipeline.landing_service, job, hdfs)
        try:
            spark.conf.set("spark.sql.codegen.wholeStage", "false")  # a micro-batch is small, and computes nothing
            Driver(StreamLanding(spark, request, kafka, where, job, hdfs.fs), lock, reports, lineage).run(stopping)
        finally:
            stopped(spark)


class Ended(PenstockError):
    """This process cannot go on: its lock or its JVM is lost."""


@dataclass(frozen=True)
class Reports:
    """Who is told of a micro-batch before Spark commits it: the ledger, then Kafka under the consumer group."""

    account: StreamLandings
    lag: Lag
    checkpoint: Checkpoint
    group: str
    topic: str

    def landed(self, number: int, outcome: Sequence[Row]) -> None:
        """Note what has landed, and commit where the micro-batch ends. Doing it again changes nothing."""
        self.account.note(_landed(each) for each in outcome)
        self.lag.commit(self.group, self.topic, self.checkpoint.planned(number).end)


class Driver:
    """Runs the stream, and starts it again while something that it needs is away."""

    def __init__(self, landing: StreamLanding, lock: Lock, reports: Reports, lineage: Run) -> None:
        self._landing = landing
        self._lock = lock
        self._reports = reports
        self._lineage = lineage
        self._error: PenstockError | None = None
        self._advanced = False

    def run(self, stopping: threading.Event) -> None:
        """Land until `stopping`. Raises Ended where only another process can go on, Fatal where a person must act."""
        pause = _FIRST_PAUSE_SECONDS
        while not stopping.is_set():
            try:
                self._stream(stopping)
            except Retry as error:
                pause = _FIRST_PAUSE_SECONDS if self._advanced else min(2 * pause, _LONGEST_PAUSE_SECONDS)
                log.warning("%s; going on in %.0f s", error, pause)
                stopping.wait(pause)

    def _stream(self, stopping: threading.Event) -> None:
        """One life of the query. Raises what ended it, unless that is `stopping`."""
        from py4j.protocol import Py4JError, Py4JJavaError
        from pyspark.errors import PySparkException

        self._error, self._advanced = None, False
        try:
            query = self._landing.start(self._micro_batch)
            while query.isActive and not stopping.wait(_LOOK_SECONDS):
                self._check()
            _finish(query)
        except (PySparkException, Py4JJavaError) as failure:
            raise self._error or self._landing.reason(failure) or _unknown(failure) from failure
        except (Py4JError, OSError) as failure:
            raise Ended(f"Spark's JVM does not answer any more ({type(failure).__name__}): was it killed?") from failure

    def _micro_batch(self, records: DataFrame, number: int) -> None:
        """Land one micro-batch; what has been done of it before changes nothing."""
        try:
            self._check()
            began = time.monotonic()
            outcome = self._landing.land(records)
            self._check()
            self._reports.landed(number, outcome)
        except PenstockError as error:
            self._error = error
            raise
        self._advanced = True
        read, rejected = (sum(_length(each[name]) for each in outcome) for name in ("read", "rejected"))
        self._lineage.count(read, (read - rejected, rejected))
        log.info("micro-batch %d: %d records, %d rejected, %.2f s", number, read, rejected, time.monotonic() - began)

    def _check(self) -> None:
        try:
            self._lock.check()
        except Retry as error:
            raise Ended(f"the lock of the measurement is lost, so that another may land in it: {error}") from error


def _finish(query: StreamingQuery) -> None:
    """Stop the query when its micro-batch is over, or takes too long: the next start repeats it."""
    if not query.isActive:
        query.awaitTermination()  # raises why
    deadline = time.monotonic() + _FINISH_SECONDS
    while query.isActive and query.status["isTriggerActive"] and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS / 5)
    query.stop()


def _unknown(failure: Exception) -> Retry:
    first = next((line for line in str(failure).splitlines() if line.strip()), type(failure).__name__)
    return Retry(f"Spark ended the stream: {first[:500]}")


def _landed(row: Row) -> LandedOffsets:
    return LandedOffsets(
        partition=row["partition"],
        batch_id=row["batch_id"],
        as_of=datetime.fromisoformat(row["as_of"]) if row["as_of"] else None,
        read=[(each["start"], each["end"]) for each in row["read"]],
        rejected=[(each["start"], each["end"]) for each in row["rejected"]],
    )


def _length(ranges: Sequence[Row]) -> int:
    return sum(each["end"] - each["start"] for each in ranges)


if __name__ == "__main__":
    sys.exit(main())
