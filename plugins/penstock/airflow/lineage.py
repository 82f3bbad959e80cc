"""What operators tell the OpenLineage provider, whose listener makes and emits the events of their tasks.

Without the provider's settings, or with lineage off, nobody calls this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.airflow.handover import ProducedBatch
from penstock.core.counts import Landed

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from penstock.observe.lineage import Hop, Places
    from penstock.observe.lineage_events import BatchCounts


@dataclass(frozen=True)
class Carried:
    """What a task has done, as far as its lineage tells it.

    `read` is how many records it has read from its one input, `written` how many it has written to each of its outputs,
    in the order of the hop's.
    """

    batches: Sequence[BatchCounts] = ()
    read: int | None = None
    written: Sequence[int] = ()


class TellsLineage:
    """An operator whose task has a hop. Its execution may set `carried`; what fails before that tells the hop alone."""

    carried: Carried | None = None

    def hop(self, places: Places) -> Hop | None:
        """What the task reads and writes, or None where it carries nothing."""
        raise NotImplementedError

    def get_openlineage_facets_on_start(self) -> OperatorLineage[Any, Any] | None:
        """The hop. The provider calls this."""
        return self._told(Carried())

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:  # noqa: ARG002
        """The hop with its counts. The provider calls this, also where the task has failed."""
        return self._told(self.carried or Carried())

    def _told(self, carried: Carried) -> OperatorLineage[Any, Any] | None:
        from penstock.observe.lineage import Places

        hop = self.hop(Places())
        return operator_lineage(hop, carried) if hop else None


def operator_lineage(hop: Hop, carried: Carried) -> OperatorLineage[Any, Any]:
    """What a task has carried over its hop, in the provider's terms."""
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset

    from penstock.observe.lineage_events import batches_facet, counted, dataset_facets, input_facets, output_facets

    counts = counted(hop, carried.read, carried.written)
    return OperatorLineage(
        inputs=[
            InputDataset(each.namespace, each.name, facets=dataset_facets(each), inputFacets=input_facets(each, counts))
            for each in hop.inputs
        ],
        outputs=[
            OutputDataset(
                each.namespace, each.name, facets=dataset_facets(each), outputFacets=output_facets(each, counts)
            )
            for each in hop.outputs
        ],
        run_facets=batches_facet(carried.batches),
    )


def produced(batch: ProducedBatch) -> Carried:
    """What a produce task has put on its topics: others' records that it took up were there already."""
    from penstock.observe.lineage_events import BatchCounts

    counts = batch.produced
    told = {
        "fetched": counts.fetched,
        "acked": counts.acked,
        "rejected": counts.rejected,
        "taken_up": counts.taken_up,
    }
    return Carried(
        (BatchCounts(batch.batch.id, batch.batch.interval, told),),
        written=(counts.on_topic - counts.taken_up, counts.rejected),
    )


def landed(batches: Sequence[ProducedBatch], counts: Sequence[Landed]) -> Carried:
    """What a landing has read, and written to the sink and to the dead letters."""
    from penstock.observe.lineage_events import BatchCounts

    by_id = {each.batch_id: each for each in counts}
    told = [
        BatchCounts(
            each.batch.id,
            each.batch.interval,
            {
                "read": found.read,
                "landed": found.landed,
                "rejected": found.rejected,
                "duplicates": found.duplicates,
            },
        )
        for each in batches
        if (found := by_id.get(each.produced.batch_id))
    ]
    return Carried(
        told,
        read=sum(each.read for each in counts),
        written=(sum(each.landed for each in counts), sum(each.rejected for each in counts)),
    )


def parent_of_children(task_instance: Any) -> dict[str, str]:
    """The environment by which a child process learns whose it is, as OpenLineage's integrations have it.

    Empty where lineage is off.
    """
    from airflow.providers.openlineage.conf import is_disabled

    if is_disabled():
        return {}
    from airflow.providers.openlineage.plugins.macros import lineage_parent_id

    return {"OPENLINEAGE_PARENT_ID": lineage_parent_id(task_instance)}
