"""The DAG of a data set that has no DAG file of its own."""

from __future__ import annotations

from airflow.sdk import DAG

from penstock.airflow.defaults import DAG_DEFAULTS, TASK_DEFAULTS, every_interval
from penstock.airflow.runs import produce_land_reconcile
from penstock.core.pipeline import CassandraTable, Pipeline

_DOC = """{declared}

Each run fetches its data interval, puts the records on the topic `{topic}`, lands them in {places}, and proves with
counts that all arrived. What breaks the contract is on `{dead_letters}`, with the reason.

To fill in the past: *Trigger > Backfill*, or `penstock backfill {name}`. It can be done twice, in either direction, and
beside live runs.
"""


def dag_of(pipeline: Pipeline, declared: str) -> DAG:
    """Produce, land and reconcile; `declared` is what the data set's own file says of it.

    Without a schedule, a person starts the runs, with a logical date.
    """
    with DAG(
        pipeline.name,
        schedule=every_interval(pipeline) if pipeline.schedule else None,
        doc_md=_doc(pipeline, declared),
        tags=[*pipeline.tags, "data set"],
        default_args=TASK_DEFAULTS,
        **DAG_DEFAULTS,
    ) as dag:
        produce_land_reconcile(pipeline, _options(pipeline))
    return dag


def _options(pipeline: Pipeline) -> dict[str, str]:
    """As templates, which are rendered in the run."""
    return {option: f"{{{{ var.value.get('{name}', '') }}}}" for option, name in pipeline.variables.items()}


def _doc(pipeline: Pipeline, declared: str) -> str:
    places = [
        f"{'Cassandra' if isinstance(sink, CassandraTable) else 'InfluxDB'}'s `{sink.name}`" for sink in pipeline.sinks
    ]
    if pipeline.raw_copy:
        places.append(f"HDFS's `{pipeline.raw_copy.folder}`")
    return _DOC.format(
        declared=declared or f"The data set {pipeline}.",
        topic=pipeline.topic,
        places=" and ".join(places),
        dead_letters=pipeline.dead_letter_topic,
        name=pipeline.name,
    )
