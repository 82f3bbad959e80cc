"""What has to be done now and then, whatever the data."""

from __future__ import annotations

from airflow.sdk import dag

from penstock.airflow.defaults import DAG_DEFAULTS, HISTORIC_TASK_DEFAULTS, every_hour
from penstock.airflow.letters_form import letters_form
from penstock.airflow.operators.dead_letters import DropDeadLettersOperator, ReplayDeadLettersOperator
from penstock.airflow.operators.minute_counts import MergeMinuteCountsOperator
from penstock.airflow.operators.raw_copies import FinishRawCopiesOperator
from penstock.core.pools import LIVE
from penstock.core.settings import StreamJob
from penstock.pipelines import PIPELINES, STREAMS, WIKI


@dag(
    schedule=every_hour("maintenance"),
    tags=["maintenance"],
    default_args=HISTORIC_TASK_DEFAULTS,  # it can wait: no slot of a live run
    params=letters_form(),
    **DAG_DEFAULTS | {"max_active_runs": 8},  # a run for letters waits for no other
)
def maintenance() -> None:
    """Puts right what crashes have left behind.

    `finish_raw_copies`: a Flume agent that is killed leaves its open files on HDFS as `.tmp`, with records that nobody
    writes again. Those whose writer is gone are closed and get their final names; a file with a writer that lives is
    never touched. The result says how many files were finished, and how many are still in use.

    `merge_minute_counts`: the stream of recent changes writes small Parquet files. Those of each day become one, in one
    step of HDFS, so that a reader sees each row once at any moment.

    `replay_dead_letters`, `drop_dead_letters`: a run that a person triggers with letters in its form does with them
    what it says there, and none of the hourly work. A replayed record is put on its topic again, lands once, and its
    batch is judged anew; a letter that would be rejected again is refused, and stays as it is. `penstock dlq` triggers
    such runs.
    """
    person_waits = {"pool": LIVE.name, "priority_weight": LIVE.priority}
    ReplayDeadLettersOperator(task_id="replay_dead_letters", **person_waits)
    DropDeadLettersOperator(task_id="drop_dead_letters", **person_waits)
    FinishRawCopiesOperator(
        task_id="finish_raw_copies",
        folders=[each.raw_copy.folder for each in (*PIPELINES.values(), *STREAMS.values()) if each.raw_copy],
        max_active_tis_per_dag=1,
    )
    MergeMinuteCountsOperator(
        task_id="merge_minute_counts",
        stream=WIKI,
        checkpoint=StreamJob.of("wiki", "wiki_edits_minute").checkpoint,
        max_active_tis_per_dag=1,
    )


maintenance()
