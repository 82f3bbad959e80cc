from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.core.errors import Fatal
from penstock.core.pipeline import CassandraTable, InfluxMeasurement, LandedBy, Pipeline
from penstock.core.stream import Stream
from penstock.observe.lineage import (
    Dataset,
    Hop,
    Places,
    counts,
    judges,
    judges_stream,
    lands,
    origins,
    produces,
)
from penstock.observe.lineage_services import service, services, tells_itself
from penstock.pipelines import CARS, PIPELINES, STREAMS, WEATHER_HOURLY, WIKI
from penstock.services import SERVICES

ENVIRONMENT = {
    "KAFKA_BOOTSTRAP_SERVERS": "broker-1:9092,broker-2:9092",
    "CASSANDRA_HOSTS": "c1,c2",
    "CASSANDRA_PORT": "9043",
    "INFLUXDB_URL": "http://influx:8086",
    "HDFS_URL": "hdfs://name:8020",
    "PENSTOCK_SPOOL": "/spool",
    "WEB_LOGS": "/logs",
}
PLACES = Places(ENVIRONMENT)


@pytest.mark.parametrize(
    ("found", "namespace", "name"),
    [
        (PLACES.topic("pop"), "kafka://broker-1:9092", "pop"),
        (PLACES.sink(CassandraTable("hourlydata")), "cassandra://c1:9043", "analytics.hourlydata"),
        (PLACES.sink(InfluxMeasurement("cars")), "influxdb://influx:8086", "ETL_Project.cars"),
        (PLACES.hdfs("/case_pop"), "hdfs://name:8020", "/case_pop"),
        (PLACES.spool("wiki"), "file", "/spool/wiki"),
        (PLACES.api("https://me:secret@host/v1/x?apikey=secret"), "https://host", "/v1/x"),
        (PLACES.api("http://host:8091"), "http://host:8091", "/"),
    ],
)
def test_datasets_are_named_as_openlineage_says(found: Dataset, namespace: str, name: str) -> None:
    assert (found.namespace, found.name) == (namespace, name)


def test_names_are_those_of_openlineages_own_client() -> None:
    from openlineage.client.naming.dataset import HDFS, Cassandra, Kafka, LocalFileSystem

    for found, theirs in (
        (PLACES.topic("pop"), Kafka("broker-1", "9092", "pop")),
        (PLACES.sink(CassandraTable("t")), Cassandra("c1", "9043", "analytics", "t")),
        (PLACES.hdfs("/x"), HDFS("name", "8020", "/x")),
        (PLACES.local(Path("/spool/wiki")), LocalFileSystem("/spool/wiki")),
    ):
        assert (found.namespace, found.name) == (theirs.get_namespace(), theirs.get_name())


def test_namespace_and_name_make_a_uri() -> None:
    assert str(PLACES.hdfs("/x")) == "hdfs://name:8020/x"
    assert str(PLACES.topic("pop")) == "kafka://broker-1:9092/pop"
    assert str(PLACES.spool("wiki")) == "file:/spool/wiki"


def test_a_missing_address_is_named() -> None:
    with pytest.raises(Fatal, match="HDFS_URL is not set"):
        Places({}).hdfs("/x")


def hops(data_set: Pipeline | Stream) -> list[Hop]:
    """All that carries a data set, by itself or as a service."""
    own = (
        [produces(data_set, PLACES), lands(data_set, PLACES)]
        if isinstance(data_set, Pipeline)
        else [counts(data_set, PLACES)]
    )
    return [*own, *services(PLACES, ENVIRONMENT)]


def reached(start: Dataset, over: list[Hop]) -> set[Dataset]:
    known = {start}
    while fresh := {each for hop in over if known & set(hop.inputs) for each in hop.outputs} - known:
        known |= fresh
    return known


@pytest.mark.parametrize("pipeline", PIPELINES.values(), ids=str)
def test_every_sink_of_a_pipeline_is_reached_from_each_of_its_origins(pipeline: Pipeline) -> None:
    sinks = {PLACES.sink(each) for each in pipeline.sinks}
    copies = {PLACES.hdfs(pipeline.raw_copy.folder)} if pipeline.raw_copy else set()
    assert origins(pipeline, PLACES)
    for origin in origins(pipeline, PLACES):
        assert origin.namespace.startswith("http")
        assert sinks | copies | {PLACES.topic(pipeline.dead_letter_topic)} <= reached(origin, hops(pipeline))


@pytest.mark.parametrize("stream", STREAMS.values(), ids=str)
def test_every_sink_of_a_stream_is_reached_from_where_it_is_collected(stream: Stream) -> None:
    collector = service(stream.collected_by.replace("_", "-"), PLACES, ENVIRONMENT)
    assert collector is not None
    (start,) = collector.inputs or collector.outputs
    aggregate = stream.aggregate
    folders = {PLACES.hdfs(aggregate.folder)} if aggregate.folder else set()
    sinks = {PLACES.sink(aggregate.measurement), PLACES.hdfs(stream.raw_copy.folder), *folders}
    assert sinks <= reached(start, hops(stream))


def test_what_is_judged_was_written_by_a_hop() -> None:
    for pipeline in PIPELINES.values():
        written = {each for hop in hops(pipeline) for each in hop.outputs}
        assert set(judges(pipeline, PLACES).inputs) <= written
    for stream in STREAMS.values():
        written = {each for hop in hops(stream) for each in hop.outputs}
        assert set(judges_stream(stream, PLACES).inputs) <= written


def test_every_hop_of_a_service_is_of_one_that_there_is() -> None:
    assert {hop.job for hop in services(PLACES, ENVIRONMENT)} <= SERVICES.keys()


def test_every_flume_agent_has_a_hop() -> None:
    agents = {name for name in SERVICES if name.startswith("flume-")}
    assert agents <= {hop.job for hop in services(PLACES, ENVIRONMENT)}


def test_a_landing_service_has_a_hop_where_it_lands(monkeypatch: pytest.MonkeyPatch) -> None:
    from penstock.observe import lineage_services

    assert service("landing-car-transactions", PLACES, ENVIRONMENT) is None
    streamed: Mapping[str, Any] = {"cars": replace(CARS, landed_by=LandedBy.STREAM)}
    monkeypatch.setattr(lineage_services, "PIPELINES", streamed)
    hop = service("landing-car-transactions", PLACES, ENVIRONMENT)
    assert hop == lands(CARS, PLACES, "landing-car-transactions")


def test_spark_drivers_tell_their_own_lineage() -> None:
    told = {name for name in SERVICES if tells_itself(name)}
    assert told == {WIKI.counted_by, "landing-population", "landing-car-transactions"}


def test_a_source_that_names_no_address_still_has_a_beginning() -> None:
    from types import SimpleNamespace

    unnamed: Any = replace(WEATHER_HOURLY, source=SimpleNamespace(fetch=None, resolve=None))
    (origin,) = origins(unnamed, PLACES)
    assert str(origin) == "penstock:/weather_hourly.source"
