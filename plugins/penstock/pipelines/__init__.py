"""The data sets, each declared once."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.core.pipeline import Pipeline
from penstock.pipelines.cars import CARS
from penstock.pipelines.population import POPULATION
from penstock.pipelines.weather import WEATHER_DAILY, WEATHER_HOURLY

__all__ = ["CARS", "PIPELINES", "POPULATION", "WEATHER_DAILY", "WEATHER_HOURLY"]

PIPELINES: Mapping[str, Pipeline] = {
    pipeline.name: pipeline for pipeline in (WEATHER_HOURLY, WEATHER_DAILY, POPULATION, CARS)
}
"""{name: pipeline}, in the order in which they are shown."""
