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
