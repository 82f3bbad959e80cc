"""A pipeline: all that the platform knows of one data set, declared once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Protocol, TypeAlias, runtime_checkable

from penstock.core.batch import Interval
from penstock.core.contract import Contract, Kind
from penstock.core.errors import Fatal
from penstock.core.record import Record, Unusable


class Source(Protocol):
    """How records come in."""

    def fetch(self, interval: Interval, options: Mapping[str, Any]) -> Iterator[Record | Unusable]:
        """Yield the interval's records in bounded memory, and in its place what cannot become one.

        Raises Retry for what may pass (after own retries with back-off), Fatal for what will not.
        """
        ...

    def resolve(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Check `options` before any fetch and fill in the defaults. Raises Fatal, naming the valid values."""
        ...


@runtime_checkable
class Located(Protocol):
    """A source that says where it asks, which is where lineage begins."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """The URLs that it asks, or may ask."""
        ...


class Wire(StrEnum):
    """How a record lies on its topic: Avro in the schema registry's framing, or a JSON object of the same fields."""

    AVRO = "avro"
    JSON = "json"


class LandedBy(StrEnum):
    """What lands a pipeline's records: a Spark job in each run, or a stream that never ends."""

    BATCH = "batch"
    STREAM = "stream"


@dataclass(frozen=True)
class CassandraTable:
    """The sink of one table; its columns come from the contract."""

    name: str


@dataclass(frozen=True)
class InfluxMeasurement:
    """The sink of one measurement; its tags and fields come from the contract."""

    name: str


SinkSpec: TypeAlias = CassandraTable | InfluxMeasurement


@dataclass(frozen=True)
class RawCopy:
    """The topic as it is, copied to HDFS by a Flume agent: JSON lines below `folder`, by event date and hour (UTC)."""

    folder: str
    agent: str


@dataclass(frozen=True)
class Pipeline:
    """Ties a source, a contract, a topic and sinks together.

    `schedule` is a cron expression in UTC, or None for runs that only a person starts. `freshness` is the age of the
    newest landed event at which somebody should be told. On a topic that is `shared`, others write records too; each
    run takes up what they have written since the last one. `normaliser` names a function, `module:function`, that makes
    a record of the contract from a JSON object that others write; it raises Reject.

    A stream lands each record as soon as it is committed, the runs' own and others' alike, and a run waits for it.

    `variables` is {option of the source: the Airflow Variable that each run reads it from}, for a pipeline without a
    DAG file of its own; a Variable that is not set gives an empty option.
    """

    name: str
    contract: Contract
    source: Source
    topic: str
    sinks: tuple[SinkSpec, ...]
    freshness: timedelta
    schedule: str | None = None
    wire: Wire = Wire.AVRO
    shared: bool = False
    normaliser: str | None = None
    raw_copy: RawCopy | None = None
    landed_by: LandedBy = LandedBy.BATCH
    tags: tuple[str, ...] = field(default=())
    variables: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """The name alone: Airflow writes this into the serialized DAG, which must be the same at every parse."""
        return self.name

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise Fatal(f"the pipeline name {self.name!r} is not an identifier: it names DAGs, batches and files")
        if not self.sinks:
            raise Fatal(f"the pipeline {self.name} has no sink, so its records would land nowhere")
        self._check_sinks()
        self._check_raw_copy()
        if self.freshness <= timedelta(0):
            raise Fatal(f"the pipeline {self.name} has a freshness limit of {self.freshness}: give a positive time")
        if self.landed_by is LandedBy.STREAM and not self._can_be_streamed:
            raise Fatal(
                f"the pipeline {self.name} cannot be landed by a stream, which takes JSON records to one measurement "
                "of InfluxDB: land it by batch"
            )

    def _check_sinks(self) -> None:
        names = [each.name for each in self.sinks]
        if len(set(names)) < len(names):
            raise Fatal(f"two sinks of the pipeline {self.name} have one name, and reports could not tell them apart")
        tables = [each for each in self.sinks if isinstance(each, CassandraTable)]
        if tables and self.shared:
            raise Fatal(
                f"the pipeline {self.name} shares its topic, and a table of Cassandra keeps one as-of time a batch: "
                "land it in InfluxDB"
            )
        layout = {*self.contract.partition_key, *self.contract.clustering_key} & self.contract.by_name.keys()
        if tables and len(self.sinks) > 1 and layout != set(self.contract.key):
            raise Fatal(
                f"the pipeline {self.name} has several sinks, and its table would tell records apart by "
                f"({', '.join(sorted(layout))}) while the key is ({', '.join(sorted(self.contract.key))}): make it one"
            )

    def _check_raw_copy(self) -> None:
        if self.raw_copy is None:
            return
        if self.wire is not Wire.JSON:
            raise Fatal(f"the raw copy of the pipeline {self.name} is of JSON lines: declare wire=Wire.JSON")
        if self.contract.by_name[self.contract.event_time].kind is not Kind.TIMESTAMP:
            raise Fatal(
                f"the raw copy of the pipeline {self.name} is filed by date and hour, and its event time "
                f"{self.contract.event_time} is no timestamp-millis"
            )

    @property
    def _can_be_streamed(self) -> bool:
        return self.wire is Wire.JSON and len(self.sinks) == 1 and isinstance(self.sinks[0], InfluxMeasurement)

    @property
    def landing_service(self) -> str:
        """The service that lands its records where a stream does, and the consumer group of its progress."""
        return f"landing-{self.name.replace('_', '-')}"

    @property
    def dead_letter_topic(self) -> str:
        """Where records go that break the contract."""
        return f"{self.topic}.dlq"
