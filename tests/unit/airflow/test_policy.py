from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.airflow.policy import is_live, task_instance_mutation_hook
from penstock.core.pools import BACKFILL, LIVE, POOLS

NOW = datetime(2026, 3, 1, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def run(run_type: str, ended: timedelta, length: timedelta = HOUR) -> Any:
    end = NOW.replace(minute=0) - ended
    return SimpleNamespace(run_type=run_type, data_interval_start=end - length, data_interval_end=end)


@pytest.mark.parametrize(
    ("dag_run", "live"),
    [
        (run("scheduled", timedelta(0)), True),
        (run("scheduled", HOUR), True),
        (run("manual", timedelta(0)), True),
        (run("backfill", timedelta(0)), False),
        (run("scheduled", 2 * HOUR), False),
        (run("manual", timedelta(days=30)), False),
        (run("scheduled", timedelta(hours=20), timedelta(days=1)), True),
        (run("manual", timedelta(days=30), timedelta(0)), True),
        (SimpleNamespace(run_type="manual", data_interval_start=None, data_interval_end=None), True),
    ],
)
def test_a_run_is_live_while_its_data_are_the_newest(dag_run: Any, live: bool) -> None:
    assert is_live(dag_run, NOW) is live


def waiting(pool: str = LIVE.name) -> Any:
    return SimpleNamespace(pool=pool, priority_weight=LIVE.priority)


def test_a_backfill_leaves_the_pool_of_live_runs() -> None:
    instance = waiting()
    for _ in range(2):  # Airflow applies the policy more than once
        task_instance_mutation_hook(instance, run("backfill", timedelta(0)))
    assert (instance.pool, instance.priority_weight) == (BACKFILL.name, BACKFILL.priority)


def test_a_task_of_no_run_yet_stays_where_it_is() -> None:
    instance = waiting()
    task_instance_mutation_hook(instance, None)
    assert instance.pool == LIVE.name


def test_other_pools_are_left_alone() -> None:
    instance = waiting("default_pool")
    task_instance_mutation_hook(instance, run("backfill", timedelta(0)))
    assert (instance.pool, instance.priority_weight) == ("default_pool", LIVE.priority)


def test_live_tasks_come_before_those_of_backfills() -> None:
    assert LIVE.priority > BACKFILL.priority
    assert len({pool.name for pool in POOLS}) == len(POOLS)
