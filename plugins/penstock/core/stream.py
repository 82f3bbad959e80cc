"""A stream: all that the platform knows of one data set whose records never end, declared once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from penstock.core.contract import Contract
from penstock.core.errors import Fatal
from penstock.core.pipeline import InfluxMeasurement, RawCopy

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Aggregate:
    """The counts of each minute of event time, UTC, that a stream's records become.

    The contract's event time is the minute's beginning. They go to a measurement and, where `folder` is given, to
    Parquet files below it on HDFS, one subfolder `date=YYYY-MM-DD` a day.
    """

    contract: Contract
    measurement: InfluxMeasurement
    folder: str | None = None


@dataclass(frozen=True)
class Stream:
    """Ties a contract, a topic, a raw copy and an aggregate together.

    Records are JSON objects; where they are not the contract's own, `normaliser` (`module:function`, raises Reject)
    makes them so. A record is known by the contract's key, and the same one may come several times.
    `lateness` is how much older than the newest record of its partition one may be and still be counted: a minute is
    closed that long after its end, by the records' own times. `counted_by` is the consumer group, and the service, that
    counts. `freshness` is the age of the newest closed minute at which somebody should be told.
    """

    name: str
    contract: Contract
    topic: str
    counted_by: str
    raw_copy: RawCopy
    aggregate: Aggregate
    lateness: timedelta
    freshness: timedelta
    normaliser: str | None = None
    tags: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        """The name alone: Airflow writes this into the serialized DAG, which must be the same at every parse."""
        return self.name

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise Fatal(f"the stream name {self.name!r} is not an identifier: it names DAGs, checkpoints and files")
        if self.lateness < timedelta(0) or self.freshness <= timedelta(0):
            raise Fatal(f"the stream {self.name} has a negative lateness, or no positive freshness")

    @property
    def dead_letter_topic(self) -> str:
        """Where records go that break the contract."""
        return f"{self.topic}.dlq"
