"""What a person may set: the Airflow Variables of all weather runs, and the form of the historic one.

The Variables `latitudes`, `longitudes`, `hourly` and `daily` are lists, as text with commas or as JSON; `start_date`
and `end_date` are for the historic run only. For one that is missing or empty, `penstock.pipelines.weather_defaults`
has what is taken. They are read while a task runs, never while a DAG file is parsed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from airflow.sdk import Param, Variable

from penstock.core.batch import Interval
from penstock.core.errors import Fatal
from penstock.core.pipeline import Pipeline
from penstock.pipelines.weather import WEATHER_DAILY, WEATHER_HOURLY
from penstock.pipelines.weather_defaults import (
    DAILY,
    HISTORIC_DAYS,
    HOURLY,
    LATITUDES,
    LONGITUDES,
    historic_dates,
)
from penstock.sources.dates import historic_interval
from penstock.sources.open_meteo import OpenMeteo


def _text(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values))


VARIABLE_DEFAULTS: Mapping[str, str] = {
    "latitudes": _text(LATITUDES),
    "longitudes": _text(LONGITUDES),
    "hourly": _text(HOURLY),
    "daily": _text(DAILY),
    "start_date": "",  # the last whole days before the run
    "end_date": "",
}
"""What a new installation shows in the Variables' place."""

_NUMBER = r"\s*[-+]?\d+(\.\d+)?\s*"


def open_meteo(pipeline: Pipeline) -> OpenMeteo:
    """The source of a weather pipeline. Raises Fatal for another pipeline."""
    if isinstance(pipeline.source, OpenMeteo):
        return pipeline.source
    raise Fatal(f"the pipeline {pipeline} does not come from Open-Meteo")


SOURCES: Mapping[str, OpenMeteo] = {
    str(source.block): source for source in map(open_meteo, (WEATHER_HOURLY, WEATHER_DAILY))
}
"""{block: source}. A block's name is also that of the Airflow Variable with its variables."""


def scheduled_options(pipeline: Pipeline) -> dict[str, str]:
    """The options of a scheduled run, as templates: an unset Variable leaves the source its default."""
    block = open_meteo(pipeline).block
    return {
        "latitudes": "{{ var.value.get('latitudes', '') }}",
        "longitudes": "{{ var.value.get('longitudes', '') }}",
        "variables": f"{{{{ var.value.get('{block}', '') }}}}",
    }


def historic_form() -> dict[str, Param]:
    """The form of a historic run. What is left empty comes from the Airflow Variable of the same name.

    Days and locations have no section of their own, because Airflow shows named sections folded.
    Airflow holds every run to these schemas, also those that are triggered through its API.
    """
    days_and_places = {
        "start_date": _date_param("First day (UTC)"),
        "end_date": _date_param("Last day (UTC), included; it must be over"),
        "latitudes": _degrees_param("Latitudes", 90),
        "longitudes": _degrees_param("Longitudes, one for each latitude", 180),
    }
    return days_and_places | {block: _variables_param(source) for block, source in SOURCES.items()}


def _date_param(title: str) -> Param:
    return Param(
        None,
        title=title,
        description=f"Left empty: that of the Airflow Variable, or else of the last {HISTORIC_DAYS} days",
        type=["null", "string"],
        format="date",
    )


def _degrees_param(title: str, limit: int) -> Param:
    return Param(
        None,
        title=title,
        description="Degrees with commas between them: 52.52, 48.14. Left empty: those of the Airflow Variable",
        type=["null", "string", "number", "array"],
        pattern=f"^{_NUMBER}(,{_NUMBER})*$",
        minimum=-limit,
        maximum=limit,
        items={"type": "number", "minimum": -limit, "maximum": limit},
    )


def _variables_param(source: OpenMeteo) -> Param:
    fields = source.contract.by_name
    units = {name: unit for name in source.variables if (unit := fields[name].unit)}
    return Param(
        None,
        title=f"{source.block.capitalize()} variables",
        description=f"None chosen: those of the Airflow Variable `{source.block}`",
        type=["null", "array"],
        items={"type": "string", "enum": list(source.variables)},
        examples=list(source.variables),
        values_display={name: f"{name} ({unit})" for name, unit in units.items()},
        section="Variables",
    )


def historic_request(params: Mapping[str, Any], today: date) -> tuple[Interval, dict[str, Mapping[str, Any]]]:
    """The days that a historic run asks for, and {block: options}, all checked.

    `today` is the UTC day of the run. A block with an empty list of variables is left out.
    Raises Fatal, naming the valid values, for anything that cannot be fetched, before any of it is.
    """
    known = ("start_date", "end_date", "latitudes", "longitudes", *SOURCES)
    if unknown := sorted(params.keys() - set(known)):
        raise Fatal(f"unknown parameters: {', '.join(unknown)}; known are {', '.join(known)}")
    first, last = historic_dates(today)
    start, end = _chosen(params, "start_date") or first, _chosen(params, "end_date") or last
    interval = historic_interval(start, end, today=today)
    places = {name: _chosen(params, name) for name in ("latitudes", "longitudes")}
    if (params.get("latitudes") is None) != (params.get("longitudes") is None):
        raise Fatal("latitudes and longitudes belong together: give both, or neither for the Airflow Variables'")
    options = {
        block: source.resolve(places | {"variables": _chosen(params, block)})
        for block, source in SOURCES.items()
        if params.get(block) != []
    }
    if not options:
        raise Fatal("no variables at all are asked for: choose some of hourly or daily")
    return interval, options


def _chosen(params: Mapping[str, Any], name: str) -> Any:
    """The form's value, or else the Airflow Variable's, or else None."""
    value = params.get(name)
    return Variable.get(name, default=None) if value is None or value == "" else value
