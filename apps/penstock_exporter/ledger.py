"""What the ledger knows: freshness, batches, services, streams."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from apps.penstock_exporter.part import Value
from penstock.ledger.freshness import freshness
from penstock.ledger.store import Ledger
from penstock.observe.metrics import FRESH, FRESHNESS_AGE, FRESHNESS_LIMIT
from penstock.pipelines import PIPELINES, STREAMS


class LedgerPart:
    """Asks the ledger at an address."""

    def __init__(self, url: str) -> None:
        self._ledger = Ledger(url)

    def look(self) -> Iterator[Value]:
        """One look. Raises Retry where the ledger is away."""
        with self._ledger:
            yield from self._freshness()

    def _freshness(self) -> Iterator[Value]:
        for each in freshness(self._ledger, [*PIPELINES.values(), *STREAMS.values()]):
            labels = {"data_set": each.data_set}
            yield FRESHNESS_LIMIT, labels, each.limit.total_seconds()
            yield FRESH, labels, float(each.fresh)
            if each.age is not None:
                yield FRESHNESS_AGE, labels, each.age / timedelta(seconds=1)
