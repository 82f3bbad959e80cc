"""The long-running services, declared once each: Airflow watches them, supervisord runs them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from penstock.core.data_sets import DataSets
from penstock.core.errors import Fatal
from penstock.core.pipeline import Pipeline
from penstock.core.settings import (
    app_url,
    car_api_url,
    events_position_file,
    flume_metrics_url,
    names,
    raw_copy_metrics_url,
    spool_folder,
    web_logs_folder,
)
from penstock.pipelines import CARS, DATA_SETS, POPULATION, WEB_EVENTS, WIKI, find_data_sets
from penstock.services.backlog import Backlog, Files, Records, Unread
from penstock.services.flume_health import Deliverer, FlumeProbe
from penstock.services.http_health import HttpProbe
from penstock.services.landing_health import landing_service
from penstock.services.service import SPARK_STALL_SECONDS, Service
from penstock.services.stream_health import StreamProbe

PRICE_CONSUMERS = 4
"""Instances of the price consumer that can run: as many as its topic has partitions."""


def _spool(name: str) -> Path:
    return spool_folder() / name


def _flume(name: str, title: str, backlog: Backlog, runbook: str, deliverer: Deliverer = Deliverer.SINK) -> Service:
    return Service(name, title, FlumeProbe(partial(flume_metrics_url, name), backlog, deliverer), runbook)


def _app(name: str, title: str, runbook: str, backlog: Backlog | None = None) -> Service:
    return Service(name, title, HttpProbe(lambda: f"{app_url(name)}/healthz", backlog), runbook)


def _price_consumer(number: int) -> Service:
    return _app(
        f"price-consumer-{number}",
        f"Price buckets of the web events, consumer {number}",
        "Nothing is lost while it is down: the events stay on the topic, and the open minutes are counted anew. "
        "HTTP 503 says that Kafka or InfluxDB is away.",
        # The whole group's: what one of them leaves, another takes.
        Records(lambda: names().events_topic, group=WEB_EVENTS.counted_by),
    )


_RAW_COPY = (
    "Nothing is lost while it is down: the records stay on the topic, and it goes on where it stopped. "
    "It needs Kafka and HDFS: look at both first, then at its log."
)

_ALL = (
    _flume(
        "flume-pop-spool",
        "Flume: population files from the spool folder to Kafka",
        Files(partial(_spool, "population")),
        "Nothing is lost while it is down: the files stay in the folder. A file that it can't read stops it at that "
        "file: its log names the file; move it away. It needs Kafka.",
        Deliverer.SOURCE,
    ),
    _flume(
        "flume-pop-hdfs",
        "Flume: the population topic to HDFS",
        Records(lambda: names().population_topic, group="flume-pop-hdfs"),
        _RAW_COPY,
    ),
    _flume(
        "flume-cars-hdfs",
        "Flume: the cars topic to HDFS",
        Records(lambda: names().cars_topic, group="flume-cars-hdfs"),
        _RAW_COPY,
    ),
    Service(
        "car-api",
        "The car transactions' API",
        HttpProbe(lambda: f"{car_api_url()}/healthz"),
        "While it is down, runs of car_transactions try again later, and whoever posts to it has to. It needs Kafka: "
        "HTTP 503 says that Kafka is away.",
    ),
    _app(
        "recentchange-collector",
        "Collector of Wikimedia's recent changes",
        "It goes on where it stopped, for as long as Wikimedia keeps the past: its log and /healthz name a gap. "
        "HTTP 503 says that the stream is away, or that the spool is full: then look at flume-wiki-spool.",
    ),
    _flume(
        "flume-wiki-spool",
        "Flume: recent changes from the spool folder to Kafka",
        Files(partial(_spool, "wiki")),
        "Nothing is lost while it is down: the files stay in the folder, and the collector stops reading before the "
        "disk is full. It needs Kafka.",
        Deliverer.SOURCE,
    ),
    _flume(
        "flume-wiki-hdfs",
        "Flume: the topic of recent changes to HDFS",
        Records(lambda: names().wiki_topic, group="flume-wiki-hdfs"),
        _RAW_COPY,
    ),
    Service(
        "wiki-edits-minute",
        "Spark: recent changes a minute",
        StreamProbe(WIKI.name, Records(lambda: WIKI.topic, group=WIKI.counted_by)),
        "Nothing is lost while it is down: the changes stay on the topic, and it goes on from its checkpoint. It needs "
        "Kafka, HDFS, InfluxDB and the ledger. Where its log says that checkpoint and files do not belong together, it "
        "says what to do about it too.",
        stall_limit=SPARK_STALL_SECONDS,
    ),
    _app(
        "web-event-producer",
        "Producer of web events",
        "It makes no events while it is down. HTTP 503 says that its folder is full: then look at flume-events-tail.",
    ),
    _flume(
        "flume-events-tail",
        "Flume: web events from the log files to Kafka",
        Unread(web_logs_folder, events_position_file),
        "Nothing is lost while it is down: the log files stay until they were read. It needs Kafka.",
        Deliverer.SOURCE,
    ),
    _flume(
        "flume-events-hdfs",
        "Flume: the topic of web events to HDFS",
        Records(lambda: names().events_topic, group="flume-events-hdfs"),
        _RAW_COPY,
    ),
    *(_price_consumer(number) for number in range(1, PRICE_CONSUMERS + 1)),
    landing_service(POPULATION),
    landing_service(CARS),
    _app(
        "kafka-lag-exporter",
        "Exporter of the consumer groups' lags",
        "No data depends on it. HTTP 503 says that Kafka is away.",
    ),
)

_OURS: Mapping[str, Service] = {service.name: service for service in _ALL}


def raw_copies(data_sets: DataSets) -> dict[str, Pipeline]:
    """{agent: pipeline} of the raw copies that no agent of the platform's own makes: those of the user's data sets."""
    copied = {each.raw_copy.agent: each for each in data_sets.pipelines.values() if each.raw_copy}
    return {agent: pipeline for agent, pipeline in copied.items() if agent not in _OURS}


def _raw_copy(agent: str, pipeline: Pipeline) -> Service:
    backlog = Records(lambda: pipeline.topic, group=agent)
    probe = FlumeProbe(partial(raw_copy_metrics_url, agent), backlog)
    return Service(agent, f"Flume: the topic {pipeline.topic} to HDFS", probe, _RAW_COPY)


def _all_services(data_sets: DataSets) -> dict[str, Service]:
    users = {agent: _raw_copy(agent, pipeline) for agent, pipeline in raw_copies(data_sets).items()}
    return {**_OURS, **users}


RAW_COPIES: Mapping[str, Pipeline] = raw_copies(DATA_SETS)
"""{agent: pipeline} of the user's data sets that there were when this process began."""

SERVICES: Mapping[str, Service] = _all_services(DATA_SETS)
"""{supervisord program: service}, those of the user's data sets as when this process began."""


def services_now() -> dict[str, Service]:
    """SERVICES as they are now: those of data sets may be younger than this process."""
    return _all_services(find_data_sets())


def service_now(name: str) -> Service:
    """The service as it is declared now. Raises Fatal where there is none."""
    known = _OURS if name in _OURS else services_now()
    if name not in known:
        raise Fatal(f"there is no service {name!r}: its data set was removed, or is broken; see `penstock status`")
    return known[name]
