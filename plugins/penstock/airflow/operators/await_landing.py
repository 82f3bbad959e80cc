"""The second step of a run whose records a stream lands: wait until it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from penstock.airflow.errors import airflow_errors
from penstock.airflow.handover import ProducedBatch, produced_batches
from penstock.airflow.lineage import TellsLineage
from penstock.airflow.lineage import landed as carried_by
from penstock.airflow.recording import attempt, ledger, run_of
from penstock.airflow.triggers import LandingTrigger
from penstock.core.counts import Landed
from penstock.core.errors import Fatal, PenstockError, Retry
from penstock.core.pipeline import Pipeline

if TYPE_CHECKING:
    from airflow.sdk import Context

    from penstock.observe.lineage import Hop, Places

_KINDS: Mapping[str, type[PenstockError]] = {"Retry": Retry, "Fatal": Fatal}


class AwaitLandingOperator(TellsLineage, BaseOperator):
    """Waits, without a worker slot, until the pipeline's stream has landed a run's batches, and counts them.

    It answers what LandOperator answers, so that the reconciliation knows no difference.

    Args:
        pipeline: What the batches are of; one that is landed by a stream.
        produced: The result of the produce task, or of all its mapped instances.
        kwargs: Those of BaseOperator.
    """

    template_fields: Sequence[str] = ("produced",)

    def __init__(self, *, pipeline: Pipeline, produced: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pipeline = pipeline
        self.produced = produced

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Defer until all has landed. Raises TryAgain where the ledger is away."""
        from penstock.ledger.store import Hop
        from penstock.services.landing_wait import ends

        with airflow_errors():
            batches = produced_batches(self.produced, self.pipeline.name)
            run = run_of(context)
            with ledger() as open_ledger:
                for each in batches:
                    open_ledger.started(each.batch, Hop.LAND, run, as_of=each.produced.as_of)
        wanted = ends(each.produced for each in batches if each.produced.on_topic)
        if not wanted:
            return self.landed(context, {})
        self.defer(trigger=LandingTrigger(self.pipeline.name, wanted), method_name="landed")
        raise AssertionError("defer raises")

    def landed(self, context: Context, event: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the counts of each batch, as `Landed.to_json` gives them.

        Raises TryAgain where the stream does not get on, AirflowFailException where it was stopped, or has left a
        record out.
        """
        from penstock.ledger.store import Hop

        with airflow_errors():
            batches = produced_batches(self.produced, self.pipeline.name)
            run = run_of(context)
            with attempt(Hop.LAND, run, {each.batch: each.produced.as_of for each in batches}):
                if event.get("kind"):
                    raise _KINDS.get(event["kind"], Fatal)(event["message"])
                counts = [self._counted(each) for each in batches]
            with ledger() as open_ledger:
                for each, landed in zip(batches, counts, strict=True):
                    open_ledger.landed(each.batch, landed, run, as_of=each.produced.as_of)
            self.carried = carried_by(batches, counts)
            return [each.to_json() for each in counts]

    def hop(self, places: Places) -> Hop:
        """From the topic to the sinks, which the stream has done for this task."""
        from penstock.observe.lineage import lands

        return lands(self.pipeline, places)

    def _counted(self, batch: ProducedBatch) -> Landed:
        from penstock.core import settings
        from penstock.ledger.landings import landed_by_stream

        if not batch.produced.on_topic:
            return Landed(batch.produced.batch_id, read=0, landed=0, rejected=0)
        return landed_by_stream(self.pipeline, batch.produced, settings.Kafka.from_env(), settings.ledger_url())
