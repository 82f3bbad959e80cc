from __future__ import annotations

import subprocess
import sys

import pytest
from airflow.executors.local_executor import LocalExecutor

from penstock.airflow import executor
from penstock.airflow.executor import TASK_LIBRARIES, WarmLocalExecutor

STEPS = (
    "penstock.airflow.lineage_transport",
    "penstock.airflow.operators.land",
    "penstock.airflow.operators.plan",
    "penstock.airflow.operators.produce",
    "penstock.airflow.operators.reconcile",
    "penstock.kafka.produce",
    "penstock.ledger.limits",
    "penstock.ledger.store",
    "penstock.sinks.cassandra",
)


def test_libraries_are_imported_before_the_workers_are_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(executor, "import_module", order.append)
    monkeypatch.setattr(LocalExecutor, "start", lambda _: order.append("start"))
    WarmLocalExecutor().start()
    assert order == [*TASK_LIBRARIES, "start"]


def test_every_step_finds_its_libraries_imported_and_our_own_modules_not() -> None:
    code = f"""
import sys
from importlib import import_module
for name in {TASK_LIBRARIES}: import_module(name)
print(*(name for name in sys.modules if name.startswith(("penstock.sources", "penstock.pipelines", "penstock.sinks"))))
before = {{name.split(".")[0] for name in sys.modules}}
for name in {STEPS}: import_module(name)
print(*({{name.split(".")[0] for name in sys.modules}} - before))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours, new = done.stdout.splitlines()
    assert ours == ""
    heavy = {"cassandra", "confluent_kafka", "numpy", "openlineage", "psycopg", "pyarrow", "requests", "tenacity"}
    assert heavy.isdisjoint(new.split())
