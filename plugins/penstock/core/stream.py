"""A stream: all that the platform knows of one data set whose records never end, declared once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from penstock.core.contract import Contract
from penstock.core.errors import Fatal
from penstock.core.pipeline import InfluxMeasurement, RawCopy

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Aggregate:
    """The counts of each minute of event time, UTC, that a stream's records become.

    The contract's event time is the minute's beginning; the fields `counts` add up to the records of the minute. They
    go to a measurement and, where `folder` is given, to Parquet files below it on HDFS, one subfolder
    `date=YYYY-MM-DD` a day.
    """

    contract: Contract
    counts: tuple[str, ...]
    measurement: InfluxMeasurement
    folder: str | None = None


@dataclass(frozen=True)
class Stream:
    """Ties a contract, a topic, a raw copy and an aggregate together.

    Records are JSON objects; where they are not the contract's own, `normaliser` (`module:function`, raises Reject)
    makes them so. A record is known by the contract's key, and the same one may come several times. `collected_by` is
    the program that makes or collects the records, `counted_by` the consumer group that counts them.
    `lateness` is how much older than the newest record of its partition one may be and still be counted: a minute is
    closed that long after its end, by the records' own times. `freshness` is the age of the newest minute that is out
    at which somebody should be told. `schedule` (cron, UTC) is when what came is counted anew.
    """

    name: str
    contract: Contract
    topic: str
    collected_by: str
    counted_by: str
    raw_copy: RawCopy
    aggregate: Aggregate
    lateness: timedelta
    freshness: timedelta
    normaliser: str | None = None
    schedule: str = "0 * * * *"
    tags: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        """The name alone: Airflow writes this into the serialized DAG, which must be the same at every parse."""
        return self.name

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise Fatal(f"the stream name {self.name!r} is not an identifier: it names DAGs, checkpoints and files")
        if self.lateness < timedelta(0):
            raise Fatal(f"the stream {self.name} has a lateness of {self.lateness}: give none, or a positive time")
        if self.freshness <= self.lateness + MINUTE:
            raise Fatal(
                f"the stream {self.name} has a freshness limit of {self.freshness}: a minute is out {self.lateness} "
                "after its end at the earliest; give more than that and a minute"
            )

    @property
    def dead_letter_topic(self) -> str:
        """Where records go that break the contract."""
        return f"{self.topic}.dlq"


@dataclass(frozen=True)
class Fates:
    """What became of the records of a micro-batch: read = rejected + late + duplicates + counted.

    `rejected` went to the dead letters; `late` came when their minute was closed, be they repetitions or not;
    `duplicates` repeat the key of a record of an open minute.
    """

    read: int = 0
    rejected: int = 0
    late: int = 0
    duplicates: int = 0

    @property
    def counted(self) -> int:
        """Those that are in a minute's counts, be it closed or still open."""
        return self.read - self.rejected - self.late - self.duplicates


@dataclass(frozen=True)
class MicroBatch:
    """One micro-batch of a stream's job, as it stands before it is committed.

    It is known by the checkpoint's query id and its number. Offsets are {partition: offset}, `start` of the first
    record and `end` one past the last. `watermark` is the time up to which minutes are closed. `rows` and `events` are
    how many minute counts it has closed, and how many records these count; InfluxDB has refused `refused` of the rows.
    """

    query_id: str
    number: int
    started: datetime
    start: Mapping[int, int]
    end: Mapping[int, int]
    fates: Fates
    watermark: datetime
    rows: int
    events: int
    refused: int = 0
