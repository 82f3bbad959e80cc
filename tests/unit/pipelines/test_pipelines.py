from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import fastavro
import pytest

from penstock.core.errors import Fatal
from penstock.core.pipeline import CassandraTable, InfluxMeasurement, LandedBy, Pipeline, RawCopy, Wire
from penstock.core.settings import landed_by
from penstock.pipelines import CARS, PIPELINES, POPULATION
from penstock.sources.car_api import CarApi
from penstock.sources.datausa import DataUsa, normalise
from tests.unit.pipelines.conftest import run_python

JSON = pytest.mark.parametrize("pipeline", [POPULATION, CARS], ids=str)


def test_the_pipelines_are_found_by_their_names() -> None:
    assert list(PIPELINES) == ["car_transactions", "population", "weather_hourly", "weather_daily"]
    assert all(name == pipeline.name for name, pipeline in PIPELINES.items())


def test_importing_the_pipelines_loads_nothing_heavy() -> None:
    loaded = set(run_python("import sys, penstock.pipelines; print(*sys.modules)").split())

    heavy = {"airflow", "pyspark", "pyarrow", "pandas", "cassandra", "confluent_kafka", "fastavro", "psycopg"}
    assert not heavy & loaded


def test_population_and_cars_are_declared_as_documented() -> None:
    assert (POPULATION.topic, POPULATION.schedule) == ("pop", "0 0 * * *")
    assert POPULATION.sinks == (InfluxMeasurement("population_data"),)
    assert POPULATION.raw_copy == RawCopy("/case_pop", "flume-pop-hdfs")
    assert isinstance(POPULATION.source, DataUsa)
    assert (CARS.topic, CARS.schedule) == ("car-transactions-logs", "*/15 * * * *")
    assert CARS.sinks == (InfluxMeasurement("car_transaction_data"),)
    assert CARS.raw_copy == RawCopy("/Cars", "flume-cars-hdfs")
    assert isinstance(CARS.source, CarApi)


@pytest.mark.parametrize(("name", "pipeline"), [("POPULATION", POPULATION), ("CARS", CARS)])
def test_what_lands_a_pipeline_is_chosen_by_its_setting(name: str, pipeline: Pipeline) -> None:
    asked = f"from penstock.pipelines import {name}; print({name}.landed_by, {name}.landing_service)"

    assert pipeline.landed_by is LandedBy.BATCH
    assert run_python(asked, **{f"{name}_LANDED_BY": "stream"}).split() == ["stream", pipeline.landing_service]
    assert pipeline.landing_service in {"landing-population", "landing-car-transactions"}


def test_another_choice_than_batch_or_stream_is_refused() -> None:
    with pytest.raises(Fatal, match="CARS_LANDED_BY is 'spark': set it to batch or stream"):
        landed_by("CARS", {"CARS_LANDED_BY": "spark"})


@pytest.mark.parametrize(
    "changes",
    [{"wire": Wire.AVRO}, {"sinks": (CassandraTable("t"),)}, {"sinks": (CARS.sinks[0], InfluxMeasurement("second"))}],
)
def test_only_json_records_to_one_measurement_can_be_landed_by_a_stream(changes: dict[str, Any]) -> None:
    alone = replace(CARS, raw_copy=None, shared=False)
    assert replace(alone, **changes).landed_by is LandedBy.BATCH
    with pytest.raises(Fatal, match="cannot be landed by a stream, which takes JSON records to one measurement"):
        replace(alone, landed_by=LandedBy.STREAM, **changes)


@JSON
def test_others_write_json_to_the_topic_too(pipeline: Pipeline) -> None:
    assert pipeline.wire is Wire.JSON
    assert pipeline.shared


def test_the_normaliser_is_a_function_that_can_be_found_by_its_name() -> None:
    assert POPULATION.normaliser is not None
    module, name = POPULATION.normaliser.split(":")

    assert (module, name) == (normalise.__module__, normalise.__name__)


@JSON
def test_the_schema_is_valid_avro_and_says_what_each_field_is(pipeline: Pipeline) -> None:
    assert fastavro.parse_schema(json.loads(pipeline.contract.canonical))
    assert all(field.doc and not field.nullable for field in pipeline.contract.fields)


def test_a_point_is_a_nation_and_year_or_one_sale() -> None:
    assert (POPULATION.contract.tags, POPULATION.contract.spread) == (("Nation", "Slug_Nation"), None)
    assert CARS.contract.tags == ("car_brand", "car_model", "country", "branch", "color")
    assert (CARS.contract.key, CARS.contract.spread) == (("transaction_id",), "transaction_id")


def test_names_and_addresses_come_from_the_environment() -> None:
    code = "from penstock.pipelines import CARS, POPULATION as p; print(p.topic, p.source.url, CARS.source.url)"
    environment = {"POPULATION_TOPIC": "t1", "DATAUSA_URL": "http://a/b?c=d", "CAR_API_URL": "http://cars:1/"}

    assert run_python(code, **environment).split() == ["t1", "http://a/b?c=d", "http://cars:1"]
