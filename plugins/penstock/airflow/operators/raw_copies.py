"""Looks after the raw copies on HDFS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from penstock.airflow.errors import airflow_errors
from penstock.airflow.lineage import TellsLineage
from penstock.airflow.operators.dead_letters import HourlyWork
from penstock.core.settings import Hdfs

if TYPE_CHECKING:
    from airflow.sdk import Context

    from penstock.observe.lineage import Hop, Places


class FinishRawCopiesOperator(TellsLineage, HourlyWork):
    """Gives files in progress whose writer is gone their final names, see `penstock.sinks.raw_copies.recover`.

    Args:
        folders: The raw copies' folders on HDFS.
        kwargs: Those of BaseOperator.
    """

    template_fields: Sequence[str] = ("folders",)

    def __init__(self, *, folders: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.folders = list(folders)

    def execute(self, context: Context) -> dict[str, int]:  # noqa: ARG002 - Airflow's signature
        """Return how many files and bytes were finished, deleted, cut, in use and pending.

        Raises TryAgain where HDFS is away, AirflowFailException where it refuses.
        """
        from penstock.sinks.raw_copies import recover

        with airflow_errors():
            recovery = recover(Hdfs.from_env(), self.folders)
            self.log.info("%s", recovery)
            return recovery.to_json()

    def hop(self, places: Places) -> Hop:
        """Each folder, from itself to itself."""
        from penstock.observe.lineage import Hop

        folders = tuple(places.hdfs(folder) for folder in self.folders)
        return Hop(self.task_id, folders, folders)
