"""Airflow's cluster policy: live runs go first.

Airflow applies it through `plugins/airflow_local_settings.py`, for every executor and every DAG. Imports nothing of
Airflow, which reads it while it is itself being imported.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from penstock.core.pools import BACKFILL, LIVE

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance

_LIVE_FOR_INTERVALS = 2


def task_instance_mutation_hook(task_instance: TaskInstance, dag_run: DagRun | None) -> None:
    """Move what waits in the pool of live runs, and belongs to none, to the backfills' pool and priority.

    Airflow calls this more than once for a task instance, and without a run before it is bound to one.
    """
    if dag_run is None or task_instance.pool != LIVE.name or is_live(dag_run, datetime.now(UTC)):
        return
    task_instance.pool = BACKFILL.name
    task_instance.priority_weight = BACKFILL.priority


def is_live(dag_run: DagRun, now: datetime) -> bool:
    """Whether a run is about the newest data: no backfill, and its interval ended at most one interval too early.

    The age matters because a backfill that runs a finished live run again first clears it, tasks and pools included,
    and marks it as a backfill only then.
    """
    if dag_run.run_type == "backfill":
        return False
    start, end = dag_run.data_interval_start, dag_run.data_interval_end
    if start is None or end is None or start == end:
        return True
    return now - end < _LIVE_FOR_INTERVALS * (end - start)
