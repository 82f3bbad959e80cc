"""What the long-running services carry, for lineage: none of Flume's agents, nor of the collectors, tells it itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from penstock.core import settings
from penstock.core.pipeline import LandedBy, Pipeline
from penstock.core.stream import Stream
from penstock.observe.lineage import Hop, Places, counts, lands, origins, raw_copies, topics
from penstock.pipelines import CARS, PIPELINES, POPULATION, STREAMS, WEB_EVENTS, WIKI
from penstock.services import PRICE_CONSUMERS


def services(places: Places, environment: Mapping[str, str] = os.environ) -> Iterator[Hop]:
    """The hops of the long-running services, each job named after its service. Those that carry no data have none."""
    population, cars, wiki, events = (topics(each, places)[0] for each in (POPULATION, CARS, WIKI, WEB_EVENTS))
    changes, logs = places.spool("wiki"), places.local(settings.web_logs_folder(environment))
    yield Hop("flume-pop-spool", (places.spool("population"),), (population,))
    yield Hop("car-api", (), (*origins(CARS, places), cars))  # it keeps the sales itself, and takes others' by POST
    yield Hop("recentchange-collector", (places.api(settings.recentchange_url(environment)),), (changes,))
    yield Hop("flume-wiki-spool", (changes,), (wiki,))
    yield Hop("web-event-producer", (), (logs,))
    yield Hop("flume-events-tail", (logs,), (events,))
    yield counts(WIKI, places, WIKI.counted_by)
    for number in range(1, PRICE_CONSUMERS + 1):
        yield counts(WEB_EVENTS, places, f"{WEB_EVENTS.counted_by}-{number}")
    data_sets: list[Pipeline | Stream] = [*PIPELINES.values(), *STREAMS.values()]
    for data_set in data_sets:
        if data_set.raw_copy:
            yield Hop(data_set.raw_copy.agent, topics(data_set, places)[:1], raw_copies(data_set, places))
    for pipeline in PIPELINES.values():
        if pipeline.landed_by is LandedBy.STREAM:
            yield lands(pipeline, places, pipeline.landing_service)


def service(name: str, places: Places, environment: Mapping[str, str] = os.environ) -> Hop | None:
    """The hop of one service, or None where it carries no data."""
    return next((each for each in services(places, environment) if each.job == name), None)


def tells_itself(name: str) -> bool:
    """Whether a service is a Spark driver, which emits its own events."""
    return name == WIKI.counted_by or name in {each.landing_service for each in PIPELINES.values()}
