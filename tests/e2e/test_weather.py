"""The weather DAGs through the real scheduler, from the replay server to Cassandra."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cassandra.cluster import Session

from penstock.core.batch import Interval
from penstock.core.errors import Fatal
from penstock.core.settings import Cassandra, Kafka
from penstock.kafka import dead_letters
from penstock.ledger.store import Ledger, LedgerRow
from penstock.pipelines.weather import WEATHER_HOURLY
from penstock.pipelines.weather_defaults import CITIES
from penstock.stack.airflow_api import Airflow
from tests import lineage, tables

pytestmark = pytest.mark.e2e

HOUR, DAY = timedelta(hours=1), timedelta(days=1)

TWO_CITIES = {"latitudes": "52.52, 48.14", "longitudes": "13.41, 11.58"}


@pytest.fixture(scope="module")
def cassandra_session(cassandra_settings: Cassandra) -> Iterator[Session]:
    with tables.session(cassandra_settings) as session:
        yield session


def midnight(days_ago: int) -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - days_ago * DAY


def written_down(ledger: Ledger, pipeline: str, interval: Interval) -> list[LedgerRow]:
    with ledger as open_ledger:
        return open_ledger.batches(pipeline, interval.start, interval.end)


def backfill(airflow: Airflow, interval: Interval, *, backwards: bool = False) -> None:
    """Airflow's own backfill of weather_hourly, to its end."""
    number = airflow.backfill("weather_hourly", interval.start, interval.end - HOUR, backwards=backwards)
    airflow.wait_backfill(number)


def finished(airflow: Airflow, run_id: str) -> Mapping[str, str]:
    """{task: state} of a historic run that has ended."""
    airflow.wait("weather_historic", run_id)
    return {task["task_id"]: task["state"] for task in airflow.tasks("weather_historic", run_id)}


def test_a_backfill_is_whole_and_a_second_one_changes_nothing(
    airflow: Airflow, ledger: Ledger, cassandra_session: Session
) -> None:
    interval = Interval(midnight(3), midnight(3) + 3 * HOUR)
    backfill(airflow, interval)
    batches = written_down(ledger, "weather_hourly", interval)
    assert [(each.interval_start, each.interval_end) for each in batches] == [
        (interval.start + n * HOUR, interval.start + (n + 1) * HOUR) for n in range(3)
    ]
    for each in batches:
        assert each.verdict == "whole"
        assert each.fetched == each.acked == each.landed == len(CITIES)
        assert each.rejected == 0

    rows = tables.rows(cassandra_session, "hourlydata", interval.start, interval.end)
    assert len(rows) == 3 * len(CITIES)
    assert {row["temperature_2m"] is not None for row in rows} == {True}

    backfill(airflow, interval, backwards=True)
    assert tables.rows(cassandra_session, "hourlydata", interval.start, interval.end) == rows
    assert [each.verdict for each in written_down(ledger, "weather_hourly", interval)] == ["whole"] * 3


def test_a_backfill_does_not_take_the_slots_of_live_runs(airflow: Airflow) -> None:
    interval = Interval(midnight(4), midnight(4) + HOUR)
    backfill(airflow, interval)
    (run,) = [
        each for each in airflow.runs("weather_hourly") if each["logical_date"] == interval.start.isoformat()[:19] + "Z"
    ]
    assert {task["pool"] for task in airflow.tasks("weather_hourly", run["dag_run_id"])} == {"backfill"}


def test_a_historic_run_lands_what_the_form_asks_for(
    airflow: Airflow, ledger: Ledger, cassandra_session: Session
) -> None:
    interval = Interval(midnight(12), midnight(10))
    asked = TWO_CITIES | {
        "start_date": interval.start.date().isoformat(),
        "end_date": (interval.end - DAY).date().isoformat(),
        "hourly": ["temperature_2m", "precipitation"],
        "daily": ["temperature_2m_max"],
    }
    states = finished(airflow, airflow.trigger("weather_historic", asked))
    assert set(states.values()) == {"success"}

    (hourly,) = written_down(ledger, "weather_hourly", interval)
    (daily,) = written_down(ledger, "weather_daily", interval)
    assert (hourly.verdict, hourly.landed) == ("whole", 2 * 2 * 24)
    assert (daily.verdict, daily.landed) == ("whole", 2 * 2)

    rows = tables.rows(cassandra_session, "hourlydata", interval.start, interval.end)
    assert len(rows) == 2 * 2 * 24
    assert {(row["latitude"], row["longitude"]) for row in rows} == {(52.52, 13.41), (48.14, 11.58)}
    assert {row["temperature_2m"] is not None for row in rows} == {True}
    assert {row["cloud_cover"] for row in rows} == {None}


def test_a_historic_run_of_hours_alone_skips_the_days(airflow: Airflow) -> None:
    day = midnight(20).date().isoformat()
    asked = TWO_CITIES | {"start_date": day, "end_date": day, "hourly": ["rain"], "daily": []}
    states = finished(airflow, airflow.trigger("weather_historic", asked))
    assert states["hourly.reconcile"] == "success"
    assert states["daily.plan"] == "success"
    assert {states[f"daily.{step}"] for step in ("produce", "land", "reconcile")} == {"skipped"}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"hourly": ["temprature_2m"]}, "temperature_2m"),
        ({"start_date": "last week"}, "date"),
        ({"latitudes": [91], "longitudes": [0]}, "90"),
    ],
)
def test_the_form_refuses_what_cannot_be_fetched(airflow: Airflow, wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(Fatal, match=named):
        airflow.trigger("weather_historic", wrong)


def test_a_mistake_that_no_form_can_see_stops_the_run_before_anything_is_fetched(airflow: Airflow) -> None:
    asked = {"start_date": midnight(5).date().isoformat(), "end_date": midnight(6).date().isoformat()}
    run_id = airflow.trigger("weather_historic", asked)
    states = finished(airflow, run_id)
    assert {states[f"{block}.plan"] for block in ("hourly", "daily")} == {"failed"}
    assert {states[f"{block}.produce"] for block in ("hourly", "daily")} == {"upstream_failed"}
    (plan,) = [each for each in airflow.tasks("weather_historic", run_id) if each["task_id"] == "hourly.plan"]
    assert plan["try_number"] == 1
    assert "is before start_date" in airflow.task_log("weather_historic", run_id, "hourly.plan")


def test_invalid_records_are_set_aside_and_the_rest_lands(
    airflow: Airflow, ledger: Ledger, cassandra_session: Session, kafka_settings: Kafka, replay: Any
) -> None:
    interval = Interval(midnight(25), midnight(24))
    day = interval.start.date().isoformat()
    replay.fault("bad-value", times=1)  # one hour of each place
    asked = TWO_CITIES | {"start_date": day, "end_date": day, "hourly": ["rain"], "daily": []}
    assert finished(airflow, airflow.trigger("weather_historic", asked))["hourly.reconcile"] == "success"
    (batch,) = written_down(ledger, "weather_hourly", interval)
    assert (batch.verdict, batch.fetched, batch.rejected, batch.landed) == ("whole", 48, 2, 46)

    topic = WEATHER_HOURLY.dead_letter_topic
    letters = {letter.id: letter for letter in dead_letters.read(kafka_settings, topic, batch.batch_id)}
    assert len(letters) == 2
    assert all("rain" in letter.reason for letter in letters.values())
    assert len(tables.rows(cassandra_session, "hourlydata", interval.start, interval.end)) == 46


def test_no_secret_is_in_what_airflow_shows(airflow: Airflow, stack: Any) -> None:
    interval = Interval(midnight(7), midnight(7) + HOUR)
    backfill(airflow, interval)
    logical = interval.start.isoformat()[:19] + "Z"
    (run,) = [each for each in airflow.runs("weather_hourly") if each["logical_date"] == logical]
    tasks = airflow.tasks("weather_hourly", run["dag_run_id"])
    shown = [str(task["rendered_fields"]) for task in tasks]
    shown += [airflow.task_log("weather_hourly", run["dag_run_id"], task["task_id"]) for task in tasks]
    secrets = [value for name, value in stack.environment().items() if name.endswith(("PASSWORD", "SECRET", "KEY"))]
    assert len(secrets) >= 3
    assert not [text for text in shown for secret in secrets if secret in text]


def test_lineage_leads_from_the_source_to_the_table_though_its_server_is_away(
    airflow: Airflow, ledger: Ledger, stack: Any
) -> None:
    assert stack.environment()["OPENLINEAGE_URL"] == lineage.DEAD_SERVER
    interval = Interval(midnight(3), midnight(3) + HOUR)
    backfill(airflow, interval)
    (batch,) = written_down(ledger, "weather_hourly", interval)
    assert batch.verdict == "whole"
    graph, places = lineage.graph(stack), lineage.places(stack)
    source = str(places.api(stack.context.source_settings["BASE_URL"]))
    topic, table = str(places.topic(WEATHER_HOURLY.topic)), str(places.sink(WEATHER_HOURLY.sinks[0]))
    assert {topic, table, f"{topic}.dlq"} <= graph.downstream(source)
    assert source in graph.upstream(table)

    produce, land, reconcile = (
        lineage.completed(graph, f"weather_hourly.{step}", batch.batch_id) for step in ("produce", "land", "reconcile")
    )
    (spark,) = (run for run in graph.runs.values() if run.parent == land.run_id)
    assert (spark.job, spark.state) == ("land_hourlymetrics", "COMPLETE")
    assert produce.outputs == {topic: len(CITIES), f"{topic}.dlq": 0}
    for run in (land, spark):
        assert (run.inputs, run.outputs) == ({topic: len(CITIES)}, {table: len(CITIES), f"{topic}.dlq": 0})
    assert {topic, table} <= reconcile.inputs.keys()
