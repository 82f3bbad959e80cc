"""What flows from where to where: the datasets' names in lineage, and the hops between them, from the declarations.

Names follow https://openlineage.io/docs/spec/naming, so that Airflow, Spark and other programs mean the same by the
same name. The specification has none for InfluxDB; its measurements are named here as its tables would be.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from penstock.core import settings
from penstock.core.contract import Contract
from penstock.core.errors import Fatal
from penstock.core.pipeline import CassandraTable, Located, Pipeline, SinkSpec
from penstock.core.stream import Stream


class DatasetType(StrEnum):
    """What a dataset is, in the words of OpenLineage's facet of that name."""

    API = "API"
    FILE = "FILE"
    TABLE = "TABLE"
    TOPIC = "TOPIC"


@dataclass(frozen=True)
class Dataset:
    """A dataset by its name. The other fields say more of it, and do not tell it from others."""

    namespace: str
    name: str
    type: DatasetType = field(compare=False)
    contract: Contract | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return uri(self.namespace, self.name)


@dataclass(frozen=True)
class Hop:
    """A job, by its name, and the datasets that it reads and writes."""

    job: str
    inputs: tuple[Dataset, ...]
    outputs: tuple[Dataset, ...]


def uri(namespace: str, name: str) -> str:
    """A dataset's namespace and name in one."""
    return f"{namespace}{'' if '://' in namespace else ':'}{'' if name.startswith('/') else '/'}{name}"


class Places:
    """Names datasets by where their servers are, as the environment says. Raises Fatal where an address is missing."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment

    def topic(self, name: str, contract: Contract | None = None) -> Dataset:
        """A topic, by the first of the bootstrap servers."""
        server = self._address("KAFKA_BOOTSTRAP_SERVERS").split(",")[0]
        return Dataset(f"kafka://{server}", name, DatasetType.TOPIC, contract)

    def sink(self, sink: SinkSpec, contract: Contract | None = None) -> Dataset:
        """A table, by the first of Cassandra's hosts, or a measurement."""
        if isinstance(sink, CassandraTable):
            host = self._address("CASSANDRA_HOSTS").split(",")[0]
            server = f"cassandra://{host}:{self._environment.get('CASSANDRA_PORT') or 9042}"
            name = f"{settings.cassandra_keyspace(self._environment)}.{sink.name}"
        else:
            server = f"influxdb://{_authority(self._address('INFLUXDB_URL'))}"
            name = f"{settings.influx_bucket(self._environment)}.{sink.name}"
        return Dataset(server, name, DatasetType.TABLE, contract)

    def hdfs(self, folder: str, contract: Contract | None = None) -> Dataset:
        """A folder on HDFS."""
        return Dataset(f"hdfs://{_authority(self._address('HDFS_URL'))}", folder, DatasetType.FILE, contract)

    def local(self, folder: Path) -> Dataset:
        """A folder of this machine, or of the container that has it."""
        return Dataset("file", str(folder), DatasetType.FILE)

    def api(self, url: str) -> Dataset:
        """What a URL answers. Its query is left out, as are user and password: what they hold may be secret."""
        parts = urlsplit(url)
        return Dataset(f"{parts.scheme}://{_authority(url)}", parts.path or "/", DatasetType.API)

    def spool(self, name: str) -> Dataset:
        """A folder of the spool."""
        return self.local(settings.spool_folder(self._environment) / name)

    def _address(self, name: str) -> str:
        if value := self._environment.get(name):
            return value
        raise Fatal(f"{name} is not set: lineage names datasets by where their servers are")


def _authority(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def origins(pipeline: Pipeline, places: Places) -> tuple[Dataset, ...]:
    """Where a pipeline's records come from. A source that does not say where it asks is named after its pipeline."""
    if isinstance(pipeline.source, Located):
        return tuple(dict.fromkeys(places.api(url) for url in pipeline.source.addresses))
    return (Dataset("penstock", f"{pipeline.name}.source", DatasetType.API),)


def topics(data_set: Pipeline | Stream, places: Places) -> tuple[Dataset, Dataset]:
    """The topic, and that of the dead letters."""
    return places.topic(data_set.topic, data_set.contract), places.topic(data_set.dead_letter_topic)


def produces(pipeline: Pipeline, places: Places, job: str = "produce") -> Hop:
    """From the source to the topic, and what breaks the contract to the dead letters."""
    return Hop(job, origins(pipeline, places), topics(pipeline, places))


def lands(pipeline: Pipeline, places: Places, job: str = "land") -> Hop:
    """From the topic to the sinks, and what they refuse to the dead letters."""
    return landing(pipeline.topic, pipeline.dead_letter_topic, pipeline.sinks, pipeline.contract, places, job)


def landing(
    topic: str, dead_letter_topic: str, sinks: Sequence[SinkSpec], contract: Contract, places: Places, job: str
) -> Hop:
    """What `lands` says, for who knows no more of a pipeline than this."""
    landed = (places.sink(each, contract) for each in sinks)
    return Hop(job, (places.topic(topic, contract),), (*landed, places.topic(dead_letter_topic)))


def judges(pipeline: Pipeline, places: Places, job: str = "reconcile") -> Hop:
    """What a reconciliation reads: the topic, and every place where its records must be."""
    sinks = (places.sink(each, pipeline.contract) for each in pipeline.sinks)
    return Hop(job, (topics(pipeline, places)[0], *sinks, *raw_copies(pipeline, places)), ())


def raw_copies(data_set: Pipeline | Stream, places: Places) -> tuple[Dataset, ...]:
    """The folder of the raw copy, where there is one."""
    return (places.hdfs(data_set.raw_copy.folder, data_set.contract),) if data_set.raw_copy else ()


def counts(stream: Stream, places: Places, job: str = "count") -> Hop:
    """From the topic to where the counts of its minutes are, and what breaks the contract to the dead letters."""
    topic, dead_letters = topics(stream, places)
    return Hop(job, (topic,), (*minute_counts(stream, places), dead_letters))


def minute_counts(stream: Stream, places: Places) -> tuple[Dataset, ...]:
    """The measurement and, where there is one, the folder of a stream's counts."""
    aggregate = stream.aggregate
    files = (places.hdfs(aggregate.folder, aggregate.contract),) if aggregate.folder else ()
    return (places.sink(aggregate.measurement, aggregate.contract), *files)


def judges_stream(stream: Stream, places: Places, job: str = "reconcile") -> Hop:
    """What the reconciliation of an interval reads."""
    return Hop(job, (topics(stream, places)[0], *raw_copies(stream, places), *minute_counts(stream, places)), ())
