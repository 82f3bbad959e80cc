"""What waits for the services at this moment, where their probes can count it: asked of Kafka and of the folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from penstock.core.errors import PenstockError
from penstock.services.backlog import Backlog, Records
from penstock.services.landing_health import LandingProbe
from penstock.services.service import Service


def lags(services: Iterable[Service]) -> dict[str, dict[str, Any]]:
    """{service: {"waiting", "unit", "lacking"}}; `lacking` says why nothing is known of one.

    Kafka that does not answer is asked once and not for each service, each of which would wait for it.
    """
    return dict(_lags(services))


def _lags(services: Iterable[Service]) -> Iterator[tuple[str, dict[str, Any]]]:
    kafka_is_away = ""
    for service in services:
        backlog = _backlog(service)
        if backlog is None:
            continue
        asks_kafka = isinstance(backlog, Records)
        waiting, lacking = (None, kafka_is_away) if asks_kafka and kafka_is_away else _ask(backlog)
        if asks_kafka and waiting is None:
            kafka_is_away = lacking
        yield service.name, {"waiting": waiting, "unit": backlog.unit, "lacking": lacking or None}


def _ask(backlog: Backlog) -> tuple[int | None, str]:
    try:
        return backlog.waiting(), ""
    except PenstockError as error:
        return None, str(error)


def _backlog(service: Service) -> Backlog | None:
    if isinstance(service.probe, LandingProbe):
        return Records(service.probe.topic, service.probe.group)
    return getattr(service.probe, "backlog", None)
