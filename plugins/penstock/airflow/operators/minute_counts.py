"""Looks after the minute counts on HDFS."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from penstock.airflow.errors import airflow_errors
from penstock.airflow.lineage import TellsLineage
from penstock.airflow.operators.dead_letters import HourlyWork
from penstock.core.settings import Hdfs, ledger_url
from penstock.core.stream import Stream

if TYPE_CHECKING:
    from airflow.sdk import Context

    from penstock.observe.lineage import Hop, Places

_PATIENCE_SECONDS = 30.0

_KEPT = timedelta(days=30)
"""How long the ledger keeps each micro-batch: there are up to 17,280 a day."""


class MergeMinuteCountsOperator(TellsLineage, HourlyWork):
    """Merges the Parquet files of a stream's minute counts, and old micro-batches in the ledger.

    See `penstock.sinks.compaction`, and `Streams.fold`.

    Args:
        stream: The stream whose aggregate has a folder.
        checkpoint: The folder on HDFS of the checkpoint that its job counts with.
        kwargs: Those of BaseOperator.
    """

    def __init__(self, *, stream: Stream, checkpoint: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stream = stream
        self.checkpoint = checkpoint

    def execute(self, context: Context) -> dict[str, int]:  # noqa: ARG002 - Airflow's signature
        """Return how many files and rows were merged, of how many dates, how many of these were made smaller.

        `folded` is how many rows of the ledger went into those of their days.

        Raises TryAgain where HDFS or the ledger is away, AirflowFailException where one refuses.
        """
        from penstock.ledger.locks import held_lock
        from penstock.ledger.streams import Streams
        from penstock.services.stream_driver import folder_of
        from penstock.sinks.checkpoint import Checkpoint
        from penstock.sinks.compaction import compact

        with airflow_errors():
            hdfs, folder = Hdfs.from_env(), folder_of(self.stream)
            with held_lock(ledger_url(), f"merging files in {folder}", _PATIENCE_SECONDS):
                done = compact(hdfs, folder, self.stream.aggregate.contract, Checkpoint(hdfs, self.checkpoint))
            with closing(Streams(ledger_url())) as ledger:
                folded = ledger.fold(self.stream.name, datetime.now(UTC) - _KEPT)
            self.log.info("%s, %d rows of the ledger folded", done, folded)
            return done.to_json() | {"folded": folded}

    def hop(self, places: Places) -> Hop:
        """The folder of the counts, from itself to itself."""
        from penstock.observe.lineage import Hop
        from penstock.services.stream_driver import folder_of

        folder = (places.hdfs(folder_of(self.stream), self.stream.aggregate.contract),)
        return Hop(self.task_id, folder, folder)
