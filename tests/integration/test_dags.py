"""What holds for every DAG, and what Airflow makes of them in a database.

`UPDATE_SNAPSHOT=1 pytest tests/integration/test_dags.py` writes the definitions anew; read the difference before you
commit it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from penstock.core.pools import BACKFILL, LIVE, POOLS, WATCH
from penstock.core.settings import PROJECT
from penstock.services import SERVICES
from tests import airflow_home

SNAPSHOT = Path(__file__).with_name("dags.snapshot.json")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture(scope="module")
def bag() -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(PROJECT / "dags")


@pytest.fixture(scope="module")
def definitions(bag: Any) -> dict[str, Any]:
    """{DAG id: its definition as Airflow stores it}."""
    from airflow.serialization.serialized_objects import DagSerialization

    return {dag_id: json.loads(json.dumps(DagSerialization.to_dict(bag.dags[dag_id])["dag"])) for dag_id in bag.dags}


def test_all_dags_are_imported(bag: Any) -> None:
    assert bag.import_errors == {}
    watches = [dag_id for dag_id in bag.dags if dag_id.startswith("service_")]
    assert sorted(watches) == sorted(f"service_{name.replace('-', '_')}" for name in SERVICES)
    assert len(watches) == 18
    assert sorted(bag.dags.keys() - set(watches)) == [
        "car_transactions",
        "maintenance",
        "population",
        "weather_daily",
        "weather_historic",
        "weather_hourly",
        "web_events",
        "wiki",
    ]


def test_every_dag_says_what_it_is(bag: Any) -> None:
    for dag in bag.dags.values():
        assert len(dag.doc_md.strip()) > 100, dag.dag_id
        assert dag.tags, dag.dag_id
        assert dag.owner == "penstock", dag.dag_id
        assert not dag.catchup
        assert dag.is_paused_upon_creation is False
        assert dag.max_active_runs < 10


def test_every_task_can_fail_for_a_while_but_not_for_ever(bag: Any) -> None:
    names = {pool.name for pool in POOLS}
    for dag in bag.dags.values():
        for task in dag.tasks:
            where = f"{dag.dag_id}.{task.task_id}"
            assert task.retries >= 2, where
            assert task.retry_exponential_backoff > 1, where
            assert timedelta(0) < task.retry_delay < task.max_retry_delay <= HOUR, where
            assert timedelta(0) < task.execution_timeout <= 2 * HOUR, where
            assert task.pool in names, where
            assert not task.depends_on_past, where
            assert task.start_date.tzinfo is not None, where


def test_a_historic_run_takes_no_slot_of_live_runs(bag: Any) -> None:
    assert {task.pool for task in bag.dags["weather_historic"].tasks} == {BACKFILL.name}
    assert {task.pool for task in bag.dags["weather_hourly"].tasks} == {LIVE.name}


@pytest.mark.parametrize("dag_id", ["weather_hourly", "weather_daily", "population", "car_transactions"])
def test_a_scheduled_run_is_produce_land_reconcile(bag: Any, dag_id: str) -> None:
    dag = bag.dags[dag_id]
    assert [task.task_id for task in dag.topological_sort()] == ["produce", "land", "reconcile"]


def test_a_historic_run_has_one_landing_for_each_block(bag: Any) -> None:
    dag = bag.dags["weather_historic"]
    assert {task.task_id for task in dag.tasks} == {
        f"{block}.{step}" for block in ("hourly", "daily") for step in ("plan", "produce", "land", "reconcile")
    }
    assert {task.task_id for task in dag.tasks if task.is_mapped} == {"hourly.produce", "daily.produce"}


def test_every_reconciled_table_is_an_asset(bag: Any) -> None:
    outlets = {
        dag_id: sorted(asset.uri for task in dag.tasks for asset in task.outlets) for dag_id, dag in bag.dags.items()
    }
    hourly, daily = "cassandra://analytics/hourlydata", "cassandra://analytics/dailydata"
    assert {dag_id: uris for dag_id, uris in outlets.items() if uris} == {
        "weather_hourly": [hourly],
        "weather_daily": [daily],
        "weather_historic": [daily, hourly],
        "population": ["influxdb://ETL_Project/population_data"],
        "car_transactions": ["influxdb://ETL_Project/car_transaction_data"],
        "web_events": ["influxdb://ETL_Project/price_buckets_minute"],
        "wiki": [
            "hdfs://user/bigdata/aggregates/wiki_edits_minute",
            "influxdb://ETL_Project/wiki_edits_minute",
        ],
    }


def test_a_service_is_watched_by_one_task_that_takes_no_slot_of_data_runs(bag: Any) -> None:
    for service in SERVICES.values():
        dag = bag.dags[service.dag_id]
        (watch,) = dag.tasks
        assert (watch.task_id, watch.service, watch.pool) == ("watch", service.name, WATCH.name)
        assert dag.params.dump() == {"action": "watch"}
        assert service.runbook in dag.doc_md
        assert dag.max_active_runs > 1, "a person's run must not wait for the end of the watch"


@pytest.mark.parametrize("file", sorted(path.stem for path in (PROJECT / "dags").glob("*.py")))
def test_parsing_imports_nothing_heavy(file: str) -> None:
    code = (
        "import sys, importlib.util as u;"
        f"spec = u.spec_from_file_location('{file}', {str(PROJECT / 'dags' / f'{file}.py')!r});"
        "spec.loader.exec_module(u.module_from_spec(spec));"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"pyspark", "cassandra", "pyarrow", "pandas", "numpy", "fastavro", "psycopg"}
    assert heavy.isdisjoint(done.stdout.split())


def test_parsing_twice_gives_the_same_definition(definitions: dict[str, Any]) -> None:
    """A definition with an object's address in it would be a new version of the DAG at every parse."""
    assert "object at 0x" not in json.dumps(definitions)


def test_the_definitions_are_as_they_were_last_seen(definitions: dict[str, Any]) -> None:
    seen = json.dumps({dag_id: _outline(definitions[dag_id]) for dag_id in sorted(definitions)}, indent=1) + "\n"
    seen = seen.replace(str(PROJECT), "$PROJECT")
    if os.environ.get("UPDATE_SNAPSHOT") == "1":
        SNAPSHOT.write_text(seen, encoding="utf-8")
    assert SNAPSHOT.read_text(encoding="utf-8") == seen


def _outline(definition: dict[str, Any]) -> dict[str, Any]:
    kept = ("timetable", "catchup", "max_active_runs", "is_paused_upon_creation", "tags")
    tasks = [task["__var"] for task in definition["tasks"]]
    return {name: definition.get(name) for name in kept} | {
        "params": {name: _param(schema) for name, schema in definition["params"]},
        "tasks": {task["task_id"]: _task(task) for task in tasks},
    }


def _param(param: dict[str, Any]) -> dict[str, Any]:
    schema = param["schema"]["__var"]
    items = schema.get("items", {}).get("__var", {})
    return {"type": schema["type"], "format": schema.get("format"), "choices": len(items.get("enum", []))}


def _task(task: dict[str, Any]) -> dict[str, Any]:
    unwanted = {"params", "template_fields", "ui_color", "ui_fgcolor", "task_id", "_needs_expansion"}
    shown = {name: value for name, value in task.items() if name not in unwanted and not name.startswith("template")}
    shown.pop("partial_kwargs", None)
    return dict(sorted(shown.items()))


@pytest.fixture(scope="module")
def stored(bag: Any) -> Iterator[dict[str, Any]]:
    """{DAG id: the DAG as the scheduler sees it}, in a new database."""
    subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env=os.environ | airflow_home.ENVIRONMENT,
        check=True,
        capture_output=True,
    )
    from airflow.dag_processing.dagbag import sync_bag_to_db
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session

    with create_session() as session:
        session.add(DagBundleModel(name="test"))
        session.commit()
        sync_bag_to_db(bag, "test", None, session=session)
        session.commit()
        yield {dag_id: SerializedDagModel.get_dag(dag_id, session=session) for dag_id in bag.dags}


def _backfill(dag_id: str, first: datetime, last: datetime, *, reverse: bool = False) -> None:
    from airflow.models.backfill import Backfill, ReprocessBehavior, _create_backfill
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState

    created = _create_backfill(
        dag_id=dag_id,
        from_date=first,
        to_date=last,
        max_active_runs=2,
        reverse=reverse,
        dag_run_conf=None,
        triggering_user_name="test",
        reprocess_behavior=ReprocessBehavior.COMPLETED,
    )
    with create_session() as session:  # as the scheduler does in the end: only one backfill of a DAG may be under way
        session.get(Backfill, created.id).completed_at = datetime.now(UTC)
        for run in _runs(dag_id, session):
            run.state = DagRunState.SUCCESS


def _runs(dag_id: str, session: Any) -> list[Any]:
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    return list(session.scalars(select(DagRun).where(DagRun.dag_id == dag_id).order_by(DagRun.logical_date)))


def _tasks(dag_id: str) -> dict[tuple[datetime, str], tuple[str, int]]:
    """{(logical date, task): (pool, priority)}."""
    from airflow.utils.session import create_session

    with create_session() as session:
        return {
            (run.logical_date, task.task_id): (task.pool, task.priority_weight)
            for run in _runs(dag_id, session)
            for task in run.get_task_instances(session=session)
        }


def _intervals(dag_id: str) -> list[tuple[datetime, datetime]]:
    from airflow.utils.session import create_session

    with create_session() as session:
        return [(run.data_interval_start, run.data_interval_end) for run in _runs(dag_id, session)]


def _schedule(dag: Any, start: datetime, length: timedelta) -> None:
    """Have the run for one data interval made as the scheduler makes it."""
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    with create_session() as session:
        dag.create_dagrun(
            run_id=f"scheduled__{start.isoformat()}",
            logical_date=start,
            data_interval=(start, start + length),
            run_after=start + length,
            run_type=DagRunType.SCHEDULED,
            triggered_by=DagRunTriggeredByType.TIMETABLE,
            state=DagRunState.SUCCESS,
            session=session,
        )


def test_the_next_scheduled_run_has_a_whole_interval(stored: dict[str, Any]) -> None:
    for dag_id, length in (("weather_hourly", HOUR), ("weather_daily", DAY)):
        info = stored[dag_id].next_dagrun_info(last_automated_run_info=None)
        assert info.data_interval.end - info.data_interval.start == length
        assert info.data_interval.end <= datetime.now(UTC) < info.data_interval.end + 2 * length


def test_a_backfill_fills_whole_intervals_in_its_own_pool(stored: dict[str, Any]) -> None:
    first, last = datetime(2026, 3, 1, 0, tzinfo=UTC), datetime(2026, 3, 1, 2, tzinfo=UTC)
    for reverse in (False, True):  # the second one runs the same intervals again, backwards
        _backfill("weather_hourly", first, last, reverse=reverse)
        assert _intervals("weather_hourly") == [(first + n * HOUR, first + (n + 1) * HOUR) for n in range(3)]
        tasks = _tasks("weather_hourly")
        assert len(tasks) == 9
        assert set(tasks.values()) == {(BACKFILL.name, BACKFILL.priority)}


def test_a_live_run_keeps_its_pool_until_a_backfill_runs_it_again(stored: dict[str, Any]) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    old, new = today - 30 * DAY, today - DAY
    for start in (old, new):
        _schedule(stored["weather_daily"], start, DAY)
    tasks = _tasks("weather_daily")
    assert {tasks[new, step] for step in ("produce", "land", "reconcile")} == {(LIVE.name, LIVE.priority)}
    _backfill("weather_daily", old, old)
    tasks = _tasks("weather_daily")
    assert {tasks[old, step] for step in ("produce", "land", "reconcile")} == {(BACKFILL.name, BACKFILL.priority)}
    assert tasks[new, "produce"] == (LIVE.name, LIVE.priority)


def test_airflow_loads_one_plugin_of_ours_and_nothing_else_below_plugins(stored: dict[str, Any]) -> None:
    from airflow._shared.module_loading import find_path_from_directory

    found = find_path_from_directory(PROJECT / "plugins", ".airflowignore", "glob")
    assert [Path(each).name for each in found] == ["penstock_plugin.py"]
