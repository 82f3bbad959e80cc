"""The DAG of a data set without a DAG file of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest

import tests.airflow_home  # noqa: F401 - before anything imports Airflow
from penstock.airflow.data_sets import dag_of
from penstock.airflow.operators.reconcile import ReconcileOperator
from penstock.core.pipeline import CassandraTable, InfluxMeasurement, Pipeline
from penstock.core.pools import LIVE
from penstock.pipelines import CARS, WEATHER_HOURLY

TIDES = replace(CARS, name="tides", tags=("tides",), variables={"service": "tides_service"})
BOTH = replace(WEATHER_HOURLY, name="both", sinks=(CassandraTable("a"), InfluxMeasurement("b")))


def test_it_is_produce_land_reconcile_in_the_pool_of_live_runs() -> None:
    dag = dag_of(TIDES, "The tides.")
    assert [task.task_id for task in dag.topological_sort()] == ["produce", "land", "reconcile"]
    assert {task.pool for task in dag.tasks} == {LIVE.name}
    assert dag.tags == {"tides", "data set"}
    assert dag.timetable.expression == "*/15 * * * *"
    assert dag.max_active_runs > 1


def test_it_says_what_it_is_and_where_the_records_go() -> None:
    text = dag_of(TIDES, "The tides.").doc_md or ""
    assert text.startswith("The tides.\n")
    for place in (TIDES.topic, TIDES.dead_letter_topic, "InfluxDB's `car_transaction_data`", "HDFS's `/Cars`"):
        assert place in text


def test_options_are_read_from_variables_in_the_run() -> None:
    produce = dag_of(TIDES, "").get_task("produce")
    assert produce.options == {"service": "{{ var.value.get('tides_service', '') }}"}


def test_without_a_schedule_a_person_starts_it() -> None:
    assert dag_of(replace(TIDES, schedule=None), "").timetable.can_be_scheduled is False


@pytest.mark.parametrize(("pipeline", "by"), [(BOTH, "keys"), (CARS, "keys"), (WEATHER_HOURLY, "counts")])
def test_several_sinks_are_judged_key_by_key(monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline, by: str) -> None:
    for each in ("keys", "counts"):
        monkeypatch.setattr(f"penstock.airflow.operators.reconcile.judged_by_{each}", lambda *_, each=each: [each])
    operator = ReconcileOperator(task_id="r", pipeline=pipeline, produced=None, landed=None)
    assert operator._judge([], {}) == [by]
