"""The shape that the scheduled DAGs share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.airflow.operators.await_landing import AwaitLandingOperator
from penstock.airflow.operators.land import LandOperator
from penstock.airflow.operators.produce import ReliableProduceToTopicOperator
from penstock.airflow.operators.reconcile import ReconcileOperator
from penstock.core.pipeline import LandedBy, Pipeline


def produce_land_reconcile(pipeline: Pipeline, options: Mapping[str, Any] | None = None) -> None:
    """Put the three steps of a scheduled run into the DAG that is being declared.

    Where a stream lands the pipeline's records, the second step only waits for it.

    `options` go to the pipeline's source, rendered as templates.
    """
    produce = ReliableProduceToTopicOperator(task_id="produce", pipeline=pipeline, options=options)
    land = (
        AwaitLandingOperator(task_id="await_landing", pipeline=pipeline, produced=produce.output)
        if pipeline.landed_by is LandedBy.STREAM
        else LandOperator(task_id="land", pipeline=pipeline, produced=produce.output)
    )
    ReconcileOperator(task_id="reconcile", pipeline=pipeline, produced=produce.output, landed=land.output)
