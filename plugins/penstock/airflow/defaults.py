"""What every DAG of Penstock has in common."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, CronTriggerTimetable

from penstock.airflow.errors import AsAskedFor
from penstock.core.errors import Fatal
from penstock.core.pipeline import Pipeline
from penstock.core.pools import BACKFILL, LIVE, WATCH
from penstock.core.stream import Stream

TASK_DEFAULTS: dict[str, Any] = {
    "owner": "penstock",
    "pool": LIVE.name,  # penstock.airflow.policy moves a backfill's tasks out of it
    "priority_weight": LIVE.priority,
    "weight_rule": "absolute",
    "retries": 4,
    "retry_delay": timedelta(seconds=20),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=15),
    "retry_policy": AsAskedFor(),
    "execution_timeout": timedelta(minutes=10),
    "depends_on_past": False,
}

HISTORIC_TASK_DEFAULTS: dict[str, Any] = TASK_DEFAULTS | {
    "pool": BACKFILL.name,
    "priority_weight": BACKFILL.priority,
    "execution_timeout": timedelta(minutes=15),  # Kafka's longest transaction, unless a broker allows more
}

WATCH_TASK_DEFAULTS: dict[str, Any] = TASK_DEFAULTS | {"pool": WATCH.name, "priority_weight": WATCH.priority}

DAG_DEFAULTS: dict[str, Any] = {
    "start_date": datetime(2026, 1, 1, tzinfo=UTC),
    "catchup": False,
    "is_paused_upon_creation": False,
    "max_active_runs": 3,
}


def every_interval(pipeline: Pipeline | Stream) -> CronDataIntervalTimetable:
    """Its schedule, with real data intervals: in Airflow 3 a bare cron string gives empty ones.

    Raises Fatal where the pipeline has no schedule.
    """
    if pipeline.schedule is None:
        raise Fatal(f"the pipeline {pipeline} has no schedule")
    return CronDataIntervalTimetable(pipeline.schedule, timezone="UTC")


def every_hour(name: str) -> CronTriggerTimetable:
    """Once an hour, at a minute that is always the same for `name` and different for most names.

    Not in the first five minutes, in which the hour's data runs are under way.
    """
    return CronTriggerTimetable(f"{5 + zlib.crc32(name.encode()) % 55} * * * *", timezone="UTC")
