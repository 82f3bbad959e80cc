"""Where in Airflow's own pages the log of a hop is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote

from airflow.models.taskinstance import TaskInstance
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from penstock.core.batch import Interval
from penstock.ledger.overview import BatchHops, HopRow
from penstock.ledger.store import Hop

TASKS: Mapping[Hop, tuple[str, ...]] = {
    Hop.PRODUCE: ("produce",),
    Hop.LAND: ("land", "await_landing"),
    Hop.RECONCILE: ("reconcile",),
}
"""The tasks that make a hop, see penstock.airflow.runs; a historic run has one of each in a group per block."""


def run_path(run_id: str) -> str | None:
    """The page of the run that the ledger names `DAG_ID/RUN_ID`, below Airflow's own address."""
    dag_id, _, name = run_id.partition("/")
    return f"dags/{quote(dag_id, safe='')}/runs/{quote(name, safe='')}" if name else None


def task_logs(found: BatchHops, dag_ids: Collection[str], session: Session) -> dict[Hop, str]:
    """{hop: the page of its latest try's log}, for those whose DAG is among `dag_ids` and whose task still exists."""
    interval = Interval(found.row.interval_start, found.row.interval_end)
    logs = {}
    for hop, row in found.hops.items():
        if row.run_id.partition("/")[0] in dag_ids:
            task = _task(row, found.row.pipeline, str(interval), session)
            if task is not None:
                logs[hop] = f"{run_path(row.run_id)}/tasks/{task}?try_number={row.try_number}"
    return logs


def _task(row: HopRow, pipeline: str, interval: str, session: Session) -> str | None:
    """The task that works on the batch: of mapped ones, the one that names itself after the batch's interval."""
    dag_id, _, name = row.run_id.partition("/")
    rendered: Any = TaskInstance.rendered_map_index
    instances = session.execute(
        select(TaskInstance.task_id, TaskInstance.map_index).where(
            TaskInstance.dag_id == dag_id,
            TaskInstance.run_id == name,
            or_(TaskInstance.map_index < 0, rendered == interval),
        )
    )
    for task_id, map_index in instances:
        group, _, task = task_id.rpartition(".")
        if task in TASKS[row.hop] and pipeline.endswith(group):
            mapped = f"/mapped/{map_index}" if map_index >= 0 else ""
            return quote(task_id, safe="") + mapped
    return None
