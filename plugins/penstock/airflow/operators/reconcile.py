"""The last step of a run: hold what landed against what was fetched, and against what the sinks count themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from penstock.airflow.assets import assets
from penstock.airflow.errors import airflow_errors
from penstock.airflow.handover import ProducedBatch, landed_by_id, produced_batches
from penstock.airflow.judging import judged_by_counts, judged_by_keys
from penstock.airflow.lineage import Carried, TellsLineage
from penstock.airflow.lineage import landed as carried_by
from penstock.airflow.recording import attempt, ledger, run_of
from penstock.core.counts import Landed
from penstock.core.errors import Fatal
from penstock.core.pipeline import Pipeline

if TYPE_CHECKING:
    from airflow.sdk import Context

    from penstock.ledger.reconcile import Verdict
    from penstock.observe.lineage import Hop, Places

_MOST_NAMED = 5


class ReconcileOperator(TellsLineage, BaseOperator):
    """Judges each batch of a run, writes the verdicts to the ledger, and fails where one is not whole.

    Success emits the Assets of the pipeline's tables, with the counts as their extra.

    Args:
        pipeline: What the batches are of.
        produced: The result of the produce task, or of all its mapped instances.
        landed: The result of the land task.
        kwargs: Those of BaseOperator.
    """

    template_fields: Sequence[str] = ("produced", "landed")

    def __init__(self, *, pipeline: Pipeline, produced: Any, landed: Any, **kwargs: Any) -> None:
        kwargs.setdefault("outlets", assets(pipeline))
        super().__init__(**kwargs)
        self.pipeline = pipeline
        self.produced = produced
        self.landed = landed

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the sums of the counts over the run's batches.

        Raises AirflowFailException, naming the hop and the numbers, where a record is missing; TryAgain where a sink
        or the ledger is away.
        """
        from penstock.ledger.store import Hop

        with airflow_errors():
            batches, landed = _with_replays(
                produced_batches(self.produced, self.pipeline.name), landed_by_id(self.landed)
            )
            self.carried = Carried(carried_by(batches, list(landed.values())).batches)
            run = run_of(context)
            with attempt(Hop.RECONCILE, run, {each.batch: each.produced.as_of for each in batches}):
                verdicts = self._judge(batches, landed)
            with ledger() as open_ledger:
                for each, verdict in zip(batches, verdicts, strict=True):
                    open_ledger.reconciled(each.batch, verdict, run, as_of=each.produced.as_of)
            _refuse_gaps(batches, verdicts)
            sums = _sums(batches, landed)
            for asset in self.outlets:
                context["outlet_events"][asset].extra = sums
            return sums

    def hop(self, places: Places) -> Hop:
        """What is held against each other. Nothing is written."""
        from penstock.observe.lineage import judges

        return judges(self.pipeline, places)

    def _judge(self, batches: Sequence[ProducedBatch], landed: Mapping[str, Landed]) -> list[Verdict]:
        # A mended record may belong anywhere, and an extent is of one kind of sink.
        replayed = any(each.produced.replays for each in batches)
        by_keys = self.pipeline.shared or self.pipeline.raw_copy or replayed or len(self.pipeline.sinks) > 1
        judged = judged_by_keys if by_keys else judged_by_counts
        return judged(self.pipeline, batches, landed)


def _with_replays(
    batches: Sequence[ProducedBatch], landed: Mapping[str, Landed]
) -> tuple[list[ProducedBatch], dict[str, Landed]]:
    """With the dead letters that were replayed since: a batch may be landed and judged again after that."""
    with ledger() as open_ledger:
        replays = {each.batch.id: open_ledger.replays(each.batch.id, each.produced.as_of) for each in batches}
    return (
        [replace(each, produced=each.produced.with_replays(replays[each.batch.id])) for each in batches],
        {batch_id: each.with_replays(replays.get(batch_id, ())) for batch_id, each in landed.items()},
    )


def _refuse_gaps(batches: Sequence[ProducedBatch], verdicts: Sequence[Verdict]) -> None:
    gaps = [
        f"{each.produced.batch_id}: {verdict.text}"
        for each, verdict in zip(batches, verdicts, strict=True)
        if not verdict.whole
    ]
    if gaps:
        more = f"; and {len(gaps) - _MOST_NAMED} more, see the ledger" if len(gaps) > _MOST_NAMED else ""
        raise Fatal(f"{len(gaps)} of {len(batches)} batches are not whole. {'; '.join(gaps[:_MOST_NAMED])}{more}")


def _sums(batches: Sequence[ProducedBatch], landed: Mapping[str, Landed]) -> dict[str, Any]:
    produced = [each.produced for each in batches]
    return {
        "batches": len(produced),
        "fetched": sum(each.fetched for each in produced),
        "acked": sum(each.acked for each in produced),
        "landed": sum(each.landed for each in landed.values()),
        "rejected": sum(each.rejected for each in produced) + sum(each.rejected for each in landed.values()),
        "duplicates": sum(each.duplicates for each in landed.values()),
    }
