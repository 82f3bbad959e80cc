"""The first step of a historic run: split what is asked for into batches of bounded size."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from penstock.airflow.errors import airflow_errors
from penstock.airflow.params import SOURCES, historic_request
from penstock.core.errors import Fatal
from penstock.sources.dates import split

if TYPE_CHECKING:
    from airflow.sdk import Context

MOST_CHUNKS = 1_000
"""Below Airflow's own limit of mapped tasks (core.max_map_length, 1,024)."""


class PlanOperator(BaseOperator):
    """Lists the batches of one block (`hourly` or `daily`) of a historic run, for a mapped produce task.

    All that the run's form asks for is checked, that of the other block too, so that a mistake in either stops both
    before anything is fetched.
    """

    def __init__(self, *, block: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.block = block

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Return `[{"interval": "START/END", "options": {...}}]`, each as the produce operator takes it.

        Raises AirflowFailException, naming the valid values, for what cannot be fetched.
        """
        with airflow_errors():
            today = context["dag_run"].run_after.astimezone(UTC).date()
            interval, options = historic_request(context["params"], today)
            if self.block not in options:
                self.log.info("the run asks for no %s variables", self.block)
                return []
            asked = dict(options[self.block])
            places = len(asked["latitudes"])
            chunks = split(interval, locations=places, rows_per_day=SOURCES[self.block].block.rows_per_day)
            if len(chunks) > MOST_CHUNKS:
                raise Fatal(
                    f"{interval} at {places} locations would be {len(chunks)} batches, and one run has at most "
                    f"{MOST_CHUNKS}: split it into several runs"
                )
            return [{"interval": str(chunk), "options": asked} for chunk in chunks]
