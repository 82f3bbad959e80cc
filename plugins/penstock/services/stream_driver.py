"""What the driver of a stream's Spark job does around Spark: one a checkpoint, every micro-batch accounted for.

A micro-batch is written to Parquet, to InfluxDB and to the ledger, and then Spark commits it. Where the driver ends in
between, the next one repeats it: the same offsets and the same watermark give the same rows, files and points.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from penstock.core import settings
from penstock.core.errors import Fatal, PenstockError, Retry
from penstock.core.process import stop_signal
from penstock.core.stream import MicroBatch, Stream
from penstock.ledger.locks import Lock, Occupied, held_lock
from penstock.ledger.streams import Streams
from penstock.sinks.patience import outlast

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

    from penstock.kafka.lag import Lag
    from penstock.sinks.base import Sink
    from penstock.sinks.checkpoint import Checkpoint, Plan

Answer = TypeVar("Answer")

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 900.0
"""How long a server may be away before the driver gives up, to be started again."""

_LOCK_SECONDS = 30.0
"""How long it waits for another driver to end: a killed one's lock is freed within seconds."""

_LOOK_SECONDS = 0.5
_LOCK_CHECK_SECONDS = 5.0
_REPORT_AGAIN_SECONDS = 5.0
_ATTEMPT_SECONDS = 5.0
_STOP_SECONDS = 20.0


@dataclass(frozen=True)
class Servers:
    """Where everything is."""

    kafka: settings.Kafka
    hdfs: settings.Hdfs
    influx: settings.Influx
    ledger_url: str

    @classmethod
    def from_env(cls) -> Servers:
        """Raises Fatal where an address is missing."""
        return cls(
            settings.Kafka.from_env(), settings.Hdfs.from_env(), settings.Influx.from_env(), settings.ledger_url()
        )


class Stop:
    """SIGTERM and SIGINT: they end the program at once while it is starting, and in order once it counts.

    For the main thread.
    """

    def __init__(self) -> None:
        self._counting = False
        self.asked = stop_signal(self._stop)

    def counting(self) -> None:
        """From now on the running micro-batch is to be finished first. Ends the program where it was asked to stop."""
        self._counting = True
        if self.asked.is_set():
            raise SystemExit(0)

    def _stop(self) -> None:
        if not self._counting:
            raise SystemExit(0)


def run(
    stream: Stream,
    job: settings.StreamJob,
    servers: Servers,
    counts: Callable[[DataFrame], DataFrame],
    stop: Stop,
    *,
    patience: float = PATIENCE_SECONDS,
    written: Callable[[MicroBatch], None] = lambda _: None,
) -> None:
    """Count the stream until it is to stop.

    `counts` makes the rows of the aggregate's contract from those of the stream's, which have their minute in `window`.
    `written` is told of each micro-batch that is safe everywhere, and must not raise.
    Raises Retry where a server stays away or the lock was lost, Fatal where a person must do something.
    """
    from penstock.kafka.lag import Lag
    from penstock.sinks.checkpoint import Checkpoint

    checkpoint, lag = Checkpoint(servers.hdfs, job.checkpoint), Lag(servers.kafka)
    with only_driver(servers.ledger_url, job.checkpoint) as lock, closing(Streams(servers.ledger_url)) as ledger:
        partitions = outlast(patience, partial(lag.ends, stream.topic)).keys()
        outlast(patience, partial(check_folder, stream, checkpoint, servers.hdfs, ledger))
        groups = outlast(patience, partial(groups_of, checkpoint, sorted(partitions)))
        writer = _Writer(stream, checkpoint, servers, ledger, lock, patience, written)
        outlast(patience, writer.prepare)
        with _started(stream, job, servers, groups, counts, writer, patience) as query:
            log.info("%s counts %s, whose partitions are read as %s", stream.counted_by, stream.topic, groups)
            stop.counting()
            _watch(query, writer, _Reports(stream, checkpoint, ledger, lag, len(partitions)), lock, stop.asked)


@contextmanager
def only_driver(url: str, checkpoint: str, patience: float = _LOCK_SECONDS) -> Iterator[Lock]:
    """Hold the lock on a checkpoint during the block. Raises Fatal where another driver has it for `patience` s."""
    with ExitStack() as held:
        try:
            lock = held.enter_context(held_lock(url, f"counting with the checkpoint {checkpoint}", patience))
        except Occupied as error:
            raise Fatal(
                f"another driver counts with the checkpoint {checkpoint}: stop that one first, or give this one "
                "a checkpoint, a folder and a measurement of its own"
            ) from error
        yield lock


def check_folder(stream: Stream, checkpoint: Checkpoint, hdfs: settings.Hdfs, ledger: Streams) -> None:
    """Raise Fatal where the checkpoint and the Parquet files do not belong together: counts would double or be lost."""
    from penstock.sinks.aggregates import files, short_id
    from penstock.sinks.webhdfs import WebHdfs

    folder = folder_of(stream)
    with WebHdfs(hdfs) as client:
        found = {file.query for _, in_date in files(client, folder) for file in in_date}
    query = checkpoint.query_id()
    if query is None and found:
        raise Fatal(
            f"{folder} has counts, and the checkpoint {checkpoint.folder} that they were made with is gone: what is on "
            f"the topic would be counted again. Restore the checkpoint, or move the folder away to count anew"
        )
    if query is None:
        return
    if others := sorted(found - {short_id(query)}):
        raise Fatal(
            f"{folder} has counts of another checkpoint than {checkpoint.folder} ({', '.join(others)}, not "
            f"{short_id(query)}): give each checkpoint a folder of its own"
        )
    totals = ledger.totals(stream.name)
    if not found and totals and totals.query_id == query and totals.rows:
        raise Fatal(
            f"{folder} is empty, and {totals.rows} counts were written there: restore it, or delete the checkpoint "
            f"{checkpoint.folder} to count anew what is on the topic"
        )


def folder_of(stream: Stream) -> str:
    """The folder of the stream's minute counts. Raises Fatal where it declares none."""
    if stream.aggregate.folder is None:
        raise Fatal(f"the stream {stream.name} declares no folder for its counts")
    return stream.aggregate.folder


def groups_of(checkpoint: Checkpoint, partitions: Sequence[int]) -> list[list[int]]:
    """The partitions that each source of the query reads: one, or more where the topic was widened since it began."""
    plan = checkpoint.newest_plan()
    sources = len(plan.sources) if plan else len(partitions)
    return [[each for each in partitions if each % sources == source] for source in range(sources)]


@contextmanager
def _started(
    stream: Stream,
    job: settings.StreamJob,
    servers: Servers,
    groups: Sequence[Sequence[int]],
    counts: Callable[[DataFrame], DataFrame],
    writer: _Writer,
    patience: float,
) -> Iterator[StreamingQuery]:
    """The running query; at the end of the block, neither it nor Spark runs any more."""
    from penstock.sinks.stream_session import session, stopped
    from penstock.sinks.stream_source import each_once

    spark = session(stream.counted_by, job, servers.hdfs)
    try:
        once = each_once(spark, stream, servers.kafka, groups, records_at_once=job.records_at_once, patience=patience)
        yield (
            counts(once)
            .writeStream.queryName(stream.counted_by)
            .outputMode("append")
            .foreachBatch(partial(writer, spark))
            .option("checkpointLocation", f"{servers.hdfs.fs}{job.checkpoint}")
            .trigger(processingTime=f"{job.trigger_seconds} seconds")
            .start()
        )
    finally:
        writer.end()
        stopped(spark)


class _Ended(PenstockError):
    """This driver may not write any more."""


class _Writer:
    """What Spark calls with the minutes that each micro-batch closes."""

    def __init__(
        self,
        stream: Stream,
        checkpoint: Checkpoint,
        servers: Servers,
        ledger: Streams,
        lock: Lock,
        patience: float,
        tell: Callable[[MicroBatch], None],
    ) -> None:
        self.error: PenstockError | None = None
        self.written: int | None = None
        self._stream = stream
        self._checkpoint = checkpoint
        self._servers = servers
        self._ledger = ledger
        self._lock = lock
        self._patience = patience
        self._tell = tell
        self._ended = threading.Event()

    def prepare(self) -> None:
        """Check that InfluxDB takes the counts. Raises Retry where it is away, Fatal where it does not."""
        with closing(self._sink()) as sink:
            sink.setup()

    def end(self) -> None:
        """Begin no further micro-batch, and give up waiting for what is away."""
        self._ended.set()

    def __call__(self, spark: SparkSession, closed: DataFrame, number: int) -> None:
        """Write the rows; raise where they are not safe everywhere: the micro-batch is then not committed."""
        try:
            self._write(spark, closed, number)
        except PenstockError as error:
            self.error = error
            raise

    def _write(self, spark: SparkSession, closed: DataFrame, number: int) -> None:
        from penstock.sinks.stream_fates import fates_of_running_batch

        self._check()
        started = datetime.now(UTC)
        (rows,) = closed.toArrow().combine_chunks().to_batches() or [None]
        fates = fates_of_running_batch(spark)
        query_id, plan, before = self._outlast(partial(self._plans, number))
        refused = 0
        if rows is not None:
            self._outlast(partial(self._to_parquet, rows, query_id, number))
            refused = self._outlast(partial(self._to_influxdb, rows, started))
        batch = MicroBatch(
            query_id=query_id,
            number=number,
            started=started,
            start=before.end if before else {},
            end=plan.end,
            fates=fates,
            watermark=plan.watermark,
            rows=rows.num_rows if rows is not None else 0,
            events=self._events(rows) if rows is not None else 0,
            refused=refused,
        )
        self._outlast(partial(self._ledger.written, self._stream.name, batch))
        self.written = number
        self._tell(batch)

    def _outlast(self, act: Callable[[], Answer]) -> Answer:
        """Try until it succeeds, each time only while this is the checkpoint's driver."""

        def checked() -> Answer:
            self._check()
            return act()

        return outlast(self._patience, checked)

    def _check(self) -> None:
        if self._ended.is_set():
            raise _Ended("the driver is stopping")
        try:
            self._lock.check()
        except Retry as error:
            raise _Ended(f"the lock on the checkpoint {self._checkpoint.folder} is lost: {error}") from error

    def _plans(self, number: int) -> tuple[str, Plan, Plan | None]:
        query_id = self._checkpoint.query_id()
        if query_id is None:
            raise Fatal(f"the checkpoint {self._checkpoint.folder} is gone while it is in use: restore it")
        before = self._checkpoint.planned(number - 1) if number else None
        return query_id, self._checkpoint.planned(number), before

    def _to_parquet(self, rows: pa.RecordBatch, query_id: str, number: int) -> None:
        from penstock.sinks.aggregates import write

        contract = self._stream.aggregate.contract
        write(self._servers.hdfs, folder_of(self._stream), rows, contract, query_id, number)

    def _to_influxdb(self, rows: pa.RecordBatch, as_of: datetime) -> int:
        """Write the points and return how many InfluxDB refused, which only Parquet has then."""
        with closing(self._sink()) as sink:
            rejects = sink.write(rows, as_of).rejects
        for _, reason in rejects:
            log.warning("InfluxDB refuses a minute of %s: %s", self._stream.name, reason)
        return len(rejects)

    def _events(self, rows: pa.RecordBatch) -> int:
        """The records in the counts: each is in one of the columns that are not part of the key."""
        import pyarrow.compute as pc

        key = self._stream.aggregate.contract.key
        counts = (rows.column(name) for name in rows.schema.names if name not in key)
        return sum(pc.sum(column).as_py() for column in counts)

    def _sink(self) -> Sink:
        from penstock.sinks.catalogue import open_sink

        aggregate = self._stream.aggregate
        # One attempt at a time: waiting is done here, with a look at the lock each time.
        return open_sink(
            aggregate.measurement, self._servers.influx, aggregate.contract, patience=_ATTEMPT_SECONDS, contested=False
        )


class _Reports:
    """Tells Kafka and the ledger what is committed.

    Nothing depends on it but what people and probes see, so that a server which is away is waited for without a halt.
    """

    def __init__(self, stream: Stream, checkpoint: Checkpoint, ledger: Streams, lag: Lag, partitions: int) -> None:
        self._stream = stream
        self._checkpoint = checkpoint
        self._ledger = ledger
        self._lag = lag
        self._partitions = partitions
        self._reported: int | None = None
        self._not_before = 0.0

    def look(self, written: int | None) -> None:
        """Report the newest committed micro-batch if it is not `written` yet, or was not reported.

        Raises Retry where the topic has more partitions than are read: the driver must start anew.
        """
        news = self._reported is None or (written is not None and written > self._reported)
        if not news or time.monotonic() < self._not_before:
            return
        try:
            self._report()
        except _Widened:
            raise
        except Retry as error:
            log.warning("progress is reported later: %s", error)
            self._not_before = time.monotonic() + _REPORT_AGAIN_SECONDS

    def _report(self) -> None:
        committed, query_id = self._checkpoint.committed(), self._checkpoint.query_id()
        if committed is None or query_id is None or committed == self._reported:
            return
        done = self._checkpoint.planned(committed).end
        self._lag.commit(self._stream.counted_by, self._stream.topic, done)
        ends = self._lag.ends(self._stream.topic)
        left = sum(max(0, end - done.get(partition, 0)) for partition, end in ends.items())
        self._ledger.committed(self._stream.name, query_id, committed, left)
        self._reported = committed
        if len(ends) > self._partitions:
            raise _Widened(f"{self._stream.topic} has {len(ends)} partitions now: the driver must be started anew")


class _Widened(Retry):
    """The topic has partitions that are not read yet."""


def _watch(query: StreamingQuery, writer: _Writer, reports: _Reports, lock: Lock, stopping: threading.Event) -> None:
    """Look after the query until it is to stop. Raises what has ended it otherwise."""
    from py4j.protocol import Py4JError

    checked = time.monotonic()
    try:
        while not stopping.wait(_LOOK_SECONDS):
            if not query.isActive:
                raise writer.error or _explained(query)
            if time.monotonic() - checked >= _LOCK_CHECK_SECONDS:
                lock.check()
                checked = time.monotonic()
            reports.look(writer.written)
        _finish(query, writer)
        reports.look(writer.written)
    except (Py4JError, OSError) as error:
        raise Retry(f"Spark's JVM does not answer any more ({type(error).__name__}): was it killed?") from error


def _finish(query: StreamingQuery, writer: _Writer) -> None:
    """Stop the query when its running micro-batch is over, or too slow to be waited for: the next driver repeats it."""
    deadline = time.monotonic() + _STOP_SECONDS
    while query.isActive and query.status["isTriggerActive"] and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS / 10)
    writer.end()
    query.stop()


_NAMED = re.compile(r"penstock\.core\.errors\.(Retry|Fatal): (.+)")


def _explained(query: StreamingQuery) -> PenstockError:
    """What the error of a query means, which is told by the text of its stack trace alone."""
    failed = query.exception()
    said = str(failed)
    if named := _NAMED.search(said):
        return (Retry if named[1] == "Retry" else Fatal)(named[2])
    if "data may have been lost" in said or "OffsetOutOfRangeException" in said:
        return Fatal(
            "records that were not counted yet are no longer on the topic: raise its retention, and delete the "
            "checkpoint, the folder and the measurement to count anew what is there"
        )
    if "CONCURRENT_STREAM_LOG_UPDATE" in said or "Multiple streaming jobs detected" in said:
        return Fatal("another query writes to this checkpoint: find and stop it")
    first = next((line for line in said.splitlines() if line.strip()), "no reason given")
    return Retry(f"Spark ended the query: {first[:500]}")
