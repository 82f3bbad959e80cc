"""What has to be done now and then, whatever the data."""

from __future__ import annotations

from airflow.sdk import dag

from penstock.airflow.defaults import DAG_DEFAULTS, HISTORIC_TASK_DEFAULTS, every_hour
from penstock.airflow.operators.minute_counts import MergeMinuteCountsOperator
from penstock.airflow.operators.raw_copies import FinishRawCopiesOperator
from penstock.core.settings import StreamJob
from penstock.pipelines import PIPELINES, STREAMS, WIKI


@dag(
    schedule=every_hour("maintenance"),
    tags=["maintenance"],
    default_args=HISTORIC_TASK_DEFAULTS,  # it can wait: no slot of a live run
    **DAG_DEFAULTS | {"max_active_runs": 1},
)
def maintenance() -> None:
    """Puts right what crashes have left behind.

    `finish_raw_copies`: a Flume agent that is killed leaves its open files on HDFS as `.tmp`, with records that nobody
    writes again. Those whose writer is gone are closed and get their final names; a file with a writer that lives is
    never touched. The result says how many files were finished, and how many are still in use.

    `merge_minute_counts`: the stream of recent changes writes small Parquet files. Those of each day become one, in one
    step of HDFS, so that a reader sees each row once at any moment.
    """
    FinishRawCopiesOperator(
        task_id="finish_raw_copies",
        folders=[each.raw_copy.folder for each in (*PIPELINES.values(), *STREAMS.values()) if each.raw_copy],
    )
    MergeMinuteCountsOperator(
        task_id="merge_minute_counts",
        stream=WIKI,
        checkpoint=StreamJob.of("wiki", "wiki_edits_minute").checkpoint,
    )


maintenance()
