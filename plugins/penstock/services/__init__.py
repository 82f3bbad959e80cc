"""The long-running services, declared once each: Airflow watches them, supervisord runs them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from penstock.core.settings import car_api_url, flume_metrics_url, names, spool_folder
from penstock.services.backlog import Backlog, Files, Records
from penstock.services.flume_health import Deliverer, FlumeProbe
from penstock.services.http_health import HttpProbe
from penstock.services.service import Service


def _population_folder() -> Path:
    return spool_folder() / "population"


def _flume(name: str, title: str, backlog: Backlog, runbook: str, deliverer: Deliverer = Deliverer.SINK) -> Service:
    return Service(name, title, FlumeProbe(partial(flume_metrics_url, name), backlog, deliverer), runbook)


_RAW_COPY = (
    "Nothing is lost while it is down: the records stay on the topic, and it goes on where it stopped. "
    "It needs Kafka and HDFS: look at both first, then at its log."
)

_ALL = (
    _flume(
        "flume-pop-spool",
        "Flume: population files from the spool folder to Kafka",
        Files(_population_folder),
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
)

SERVICES: Mapping[str, Service] = {service.name: service for service in _ALL}
"""{supervisord program: service}."""
