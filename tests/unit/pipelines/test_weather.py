from __future__ import annotations

import json
from datetime import date

import fastavro
import pytest

from penstock.core.contract import Kind
from penstock.core.errors import Fatal
from penstock.core.pipeline import Pipeline
from penstock.pipelines import WEATHER_DAILY, WEATHER_HOURLY
from penstock.pipelines.weather_defaults import CITIES, HISTORIC_DAYS, historic_dates
from penstock.sources.open_meteo import NO_VARIABLES
from tests.unit.pipelines.conftest import run_python

WEATHER = (WEATHER_HOURLY, WEATHER_DAILY)
ALL = pytest.mark.parametrize("pipeline", WEATHER, ids=str)


def test_topics_tables_and_schedules_are_the_documented_ones() -> None:
    declared = [(each.topic, each.dead_letter_topic, each.sinks[0].name, each.schedule) for each in WEATHER]

    assert declared == [
        ("hourlymetrics", "hourlymetrics.dlq", "hourlydata", "0 * * * *"),
        ("dailymetrics", "dailymetrics.dlq", "dailydata", "0 0 * * *"),
    ]


@ALL
def test_the_defaults_are_valid_options(pipeline: Pipeline) -> None:
    options = pipeline.source.resolve({})

    assert len(options["latitudes"]) == len(options["longitudes"]) == len(CITIES)
    assert len(options["variables"]) == 10


def test_a_variable_of_the_other_block_is_refused() -> None:
    with pytest.raises(Fatal, match=r"unknown variables: temperature_2m_max \(did you mean temperature_2m"):
        WEATHER_HOURLY.source.resolve({"variables": "temperature_2m_max"})


@ALL
def test_a_location_s_month_is_one_partition_and_the_key_is_location_and_time(pipeline: Pipeline) -> None:
    contract = pipeline.contract

    assert contract.key == ("latitude", "longitude", "time")
    assert contract.event_time == "time"
    assert contract.partition_key == ("latitude", "longitude", "month")
    assert contract.clustering_key == ("time",)
    assert [(bucket.name, bucket.of, bucket.by) for bucket in contract.buckets] == [("month", "time", "month")]


@ALL
def test_every_variable_is_nullable_has_a_default_a_unit_and_a_description(pipeline: Pipeline) -> None:
    for field in pipeline.contract.fields:
        assert field.doc
        if field.name not in NO_VARIABLES:
            assert field.nullable
            assert field.has_default
            assert (field.unit is None) == (field.kind is Kind.TIMESTAMP)


def test_hours_are_timestamps_and_days_are_dates() -> None:
    assert WEATHER_HOURLY.contract.by_name["time"].kind is Kind.TIMESTAMP
    assert WEATHER_DAILY.contract.by_name["time"].kind is Kind.DATE
    assert WEATHER_DAILY.contract.by_name["sunrise"].kind is Kind.TIMESTAMP


def test_only_what_is_bounded_by_its_nature_has_bounds() -> None:
    bounded = {
        field.name: (field.minimum, field.maximum)
        for pipeline in WEATHER
        for field in pipeline.contract.fields
        if field.minimum is not None or field.maximum is not None
    }

    circle = (0, 360)
    assert bounded == {
        "latitude": (-90, 90),
        "longitude": (-180, 180),
        "relative_humidity_2m": (0, 100),
        "wind_direction_10m_dominant": circle,
        **{f"wind_direction_{height}m": circle for height in (10, 80, 120, 180)},
    }


@ALL
def test_the_schema_is_valid_avro(pipeline: Pipeline) -> None:
    assert fastavro.parse_schema(json.loads(pipeline.contract.canonical))


def test_a_historic_run_that_names_no_dates_takes_the_last_whole_days() -> None:
    start, end = historic_dates(date(2026, 3, 2))

    assert (start, end) == (date(2026, 1, 31), date(2026, 3, 1))
    assert (end - start).days + 1 == HISTORIC_DAYS


def test_topic_and_table_names_come_from_the_environment() -> None:
    code = "from penstock.pipelines import WEATHER_DAILY as w; print(w.topic, w.sinks[0].name)"

    assert run_python(code, DAILY_DATA_TOPIC="t1", DAILY_SINK_TABLE="t2").split() == ["t1", "t2"]
