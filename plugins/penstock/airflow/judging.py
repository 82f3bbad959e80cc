"""The two ways to judge a run's batches: by the sinks' own counts, or key by key."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from penstock.airflow.handover import ProducedBatch
from penstock.core.counts import Count, Landed, Produced
from penstock.core.errors import Retry
from penstock.core.pipeline import Pipeline
from penstock.core.settings import Kafka

if TYPE_CHECKING:
    from penstock.ledger.evidence import TopicRecords, Witness
    from penstock.ledger.reconcile import Verdict
    from penstock.sinks.base import Sink

log = logging.getLogger(__name__)

_RAW_COPY_PATIENCE_SECONDS = 90.0
_RAW_COPY_PAUSE_SECONDS = 1.0


def judged_by_counts(
    pipeline: Pipeline, batches: Sequence[ProducedBatch], landed: Mapping[str, Landed]
) -> list[Verdict]:
    """Each sink counts the rows where the batch's records belong: quick, however many they are."""
    from penstock.ledger.reconcile import verdict
    from penstock.sinks.catalogue import address_of, open_sink

    with ExitStack() as open_sinks:
        sinks = {
            each.name: open_sinks.enter_context(closing(open_sink(each, address_of(each), pipeline.contract)))
            for each in pipeline.sinks
        }
        return [
            verdict(
                each.produced,
                landed[each.produced.batch_id],
                {name: _count(sink, each) for name, sink in sinks.items()},
            )
            for each in batches
        ]


def _count(sink: Sink, batch: ProducedBatch) -> Count:
    """What the sink itself counts where the batch's rows belong."""
    return sink.count(batch.extent, batch.produced.as_of) if batch.extent else Count(own=0)


def judged_by_keys(pipeline: Pipeline, batches: Sequence[ProducedBatch], landed: Mapping[str, Landed]) -> list[Verdict]:
    """Each record is read from the topic again and looked up in each sink and in the raw copy.

    Others' records may be of any time, so that no count of a range could tell theirs from the batch's own. Flume fills
    the raw copy by itself: it is waited for. Raises Retry where it stays behind.
    """
    from penstock.ledger.evidence import TopicRecords
    from penstock.ledger.witnesses import witnesses

    records = TopicRecords(Kafka.from_env(), pipeline)
    with witnesses(pipeline) as places:
        return [_judged(pipeline, records, places, each.produced, landed[each.produced.batch_id]) for each in batches]


def _judged(
    pipeline: Pipeline, records: TopicRecords, places: Sequence[Witness], produced: Produced, landed: Landed
) -> Verdict:
    from penstock.ledger.evidence import tally
    from penstock.ledger.reconcile import verdict

    sinks = [each for each in places if each.name in {sink.name for sink in pipeline.sinks}]
    copies = [each for each in places if each not in sinks]
    found = tally(records, produced, sinks)
    counted = {each.name: Count(own=found.present(each.name)) for each in sinks}
    raw_copied = min((_copied(pipeline, records, copy, produced) for copy in copies), default=None)
    return verdict(produced, landed, counted, topic_keys=found.keys, raw_copied=raw_copied)


def _copied(pipeline: Pipeline, records: TopicRecords, copy: Witness, produced: Produced) -> int:
    """How many of the batch's records the raw copy has: all of them, once Flume has caught up."""
    from penstock.ledger.evidence import tally

    deadline = time.monotonic() + _RAW_COPY_PATIENCE_SECONDS
    while lacking := (found := tally(records, produced, [copy])).lacking[copy.name]:
        agent = pipeline.raw_copy.agent if pipeline.raw_copy else "its agent"
        if time.monotonic() > deadline:
            named = ", ".join(found.first_lacking[copy.name])
            raise Retry(
                f"{produced.batch_id}: {lacking} of {found.keys} records are not in the raw copy {copy.name} yet, the "
                f"first {named}: is the agent {agent} running?"
            )
        log.info("%s: waiting for %d records in the raw copy", produced.batch_id, lacking)
        time.sleep(_RAW_COPY_PAUSE_SECONDS)
    return found.keys
