"""An executor whose tasks start with their libraries already imported."""

from __future__ import annotations

from importlib import import_module

from airflow.executors.local_executor import LocalExecutor

TASK_LIBRARIES = (
    "airflow.providers.apache.kafka.operators.produce",
    "airflow.providers.apache.spark.operators.spark_submit",
    "airflow.providers.openlineage.plugins.openlineage",
    "cassandra.cluster",
    "confluent_kafka",
    "croniter",
    "msgspec",
    "numpy",
    "psycopg.types.json",
    "pyarrow.compute",
    "pyarrow.json",
    "requests",
    "tenacity",
)
"""What our tasks import from others. Not our own modules: an edited one counts from the next task on."""


class WarmLocalExecutor(LocalExecutor):
    """A LocalExecutor that imports `TASK_LIBRARIES` before it forks its workers, so that no task has to."""

    def start(self) -> None:
        """Import, then start as LocalExecutor does."""
        for name in TASK_LIBRARIES:
            import_module(name)
        super().start()
