"""The data sets, each declared once."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.core.pipeline import Pipeline
from penstock.core.stream import Stream
from penstock.pipelines.cars import CARS
from penstock.pipelines.population import POPULATION
from penstock.pipelines.weather import WEATHER_DAILY, WEATHER_HOURLY
from penstock.pipelines.web_events import WEB_EVENTS
from penstock.pipelines.wiki import WIKI

__all__ = [
    "CARS",
    "DEAD_LETTER_TOPICS",
    "PIPELINES",
    "POPULATION",
    "STREAMS",
    "WEATHER_DAILY",
    "WEATHER_HOURLY",
    "WEB_EVENTS",
    "WIKI",
]

PIPELINES: Mapping[str, Pipeline] = {
    pipeline.name: pipeline for pipeline in (WEATHER_HOURLY, WEATHER_DAILY, POPULATION, CARS)
}
"""{name: pipeline}, in the order in which they are shown."""

STREAMS: Mapping[str, Stream] = {stream.name: stream for stream in (WIKI, WEB_EVENTS)}
"""{name: stream}, in the order in which they are shown."""

DEAD_LETTER_TOPICS: Mapping[str, str] = {
    **{each.dead_letter_topic: each.name for each in PIPELINES.values()},
    **{each.dead_letter_topic: each.name for each in STREAMS.values()},
}
"""{dead-letter topic: name of the pipeline or stream}."""
