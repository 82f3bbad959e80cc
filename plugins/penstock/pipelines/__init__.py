"""The data sets, each declared once: a module here, or one in the folder of the user's data sets."""

from __future__ import annotations

from collections.abc import Mapping
from pkgutil import iter_modules
from threading import Lock

from penstock.core.data_sets import DataSets, discover
from penstock.core.pipeline import Pipeline
from penstock.core.settings import data_sets_folder
from penstock.core.stream import Stream
from penstock.pipelines.cars import CARS
from penstock.pipelines.population import POPULATION
from penstock.pipelines.weather import WEATHER_DAILY, WEATHER_HOURLY
from penstock.pipelines.web_events import WEB_EVENTS
from penstock.pipelines.wiki import WIKI

__all__ = [
    "CARS",
    "DATA_SETS",
    "PIPELINES",
    "POPULATION",
    "STREAMS",
    "WEATHER_DAILY",
    "WEATHER_HOURLY",
    "WEB_EVENTS",
    "WIKI",
    "find_data_sets",
]

_ONE_AT_A_TIME = Lock()
_OWN = tuple(each.name for each in iter_modules(__path__))
__path__.append(str(data_sets_folder() / "pipelines"))


def find_data_sets() -> DataSets:
    """All data sets as they are now: what a process that lives long asks for those that came after its start."""
    with _ONE_AT_A_TIME:  # a search drops the modules that another would be importing
        return discover(_OWN, data_sets_folder())


DATA_SETS: DataSets = find_data_sets()
"""Those that there were when this process began."""

PIPELINES: Mapping[str, Pipeline] = DATA_SETS.pipelines
"""{name: pipeline}, in the order in which they are shown."""

STREAMS: Mapping[str, Stream] = DATA_SETS.streams
"""{name: stream}, in the order in which they are shown."""
