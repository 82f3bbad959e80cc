"""What the ledger knows: freshness, batches, services, streams, dead letters."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from apps.penstock_exporter.part import Value
from penstock.core.data_sets import DataSets
from penstock.core.service import Desired
from penstock.core.settings import Kafka
from penstock.ledger.dead_letters import DeadLetters
from penstock.ledger.freshness import freshness
from penstock.ledger.measures import Measures
from penstock.ledger.store import Ledger
from penstock.observe.metrics import (
    BATCHES,
    DEAD_LETTERS,
    FRESH,
    FRESHNESS_AGE,
    FRESHNESS_LIMIT,
    RECORDS,
    SERVICE_RESTARTS,
    SERVICE_SEEN_AGE,
    SERVICE_STATE,
    SERVICE_WANTED,
    STREAM_LAG,
    STREAM_RECORDS,
    STREAM_WHOLE,
)
from penstock.pipelines import find_data_sets
from penstock.services import services_now

_BATCHES_OF = timedelta(days=7)  # a loss that nobody mends is told for as long


class LedgerPart:
    """How things stand. Every question is answered from an index."""

    def __init__(self, url: str) -> None:
        self._ledger = Ledger(url)
        self._measures = Measures(url)

    def look(self) -> Iterator[Value]:
        """One look. Raises Retry where the ledger is away."""
        data_sets = find_data_sets()
        yield from self._freshness(data_sets)
        yield from self._batches(data_sets)
        yield from self._services()
        yield from self._streams(data_sets)

    def _freshness(self, data_sets: DataSets) -> Iterator[Value]:
        for each in freshness(self._ledger, data_sets.every):
            labels = {"data_set": each.data_set}
            yield FRESHNESS_LIMIT, labels, each.limit.total_seconds()
            yield FRESH, labels, float(each.fresh)
            if each.age is not None:
                yield FRESHNESS_AGE, labels, each.age.total_seconds()

    def _batches(self, data_sets: DataSets) -> Iterator[Value]:
        for name, standing in self._measures.batches(list(data_sets.pipelines), _BATCHES_OF).items():
            for state, number in standing.items():
                yield BATCHES, {"data_set": name, "state": state}, number

    def _services(self) -> Iterator[Value]:
        for each in self._measures.services(list(services_now())):
            labels = {"service": each.name}
            yield SERVICE_WANTED, labels, float(each.desired is Desired.STARTED)
            yield SERVICE_STATE, {**labels, "state": each.state}, 1
            yield SERVICE_RESTARTS, labels, each.restarts
            if each.seen_age is not None:
                yield SERVICE_SEEN_AGE, labels, each.seen_age

    def _streams(self, data_sets: DataSets) -> Iterator[Value]:
        for each in self._measures.streams(list(data_sets.streams)):
            labels = {"data_set": each.name}
            if each.lag is not None:
                yield STREAM_LAG, labels, each.lag
            if each.whole is not None:
                yield STREAM_WHOLE, labels, float(each.whole)


class TotalsPart:
    """Sums over all that the ledger has, which it has to read for them."""

    def __init__(self, url: str) -> None:
        self._measures = Measures(url)

    def look(self) -> Iterator[Value]:
        """One look. Raises Retry where the ledger is away."""
        data_sets = find_data_sets()
        for name, records in self._measures.records(list(data_sets.pipelines)).items():
            for fate, number in records.items():
                yield RECORDS, {"data_set": name, "fate": fate}, number
        for name, fates in self._measures.fates(list(data_sets.streams)).items():
            for fate in ("rejected", "late", "duplicates", "counted"):
                yield STREAM_RECORDS, {"data_set": name, "fate": fate}, getattr(fates, fate)


class DeadLettersPart:
    """The open dead letters. Those that are new on their topics are noted first, so that nobody else has to."""

    def __init__(self, url: str, kafka: Kafka) -> None:
        self._letters = DeadLetters(url)
        self._kafka = kafka

    def look(self) -> Iterator[Value]:
        """One look. Raises Retry where the ledger or Kafka is away; without Kafka, those known so far are told."""
        topics = find_data_sets().dead_letter_topics
        try:
            self._letters.take_up(self._kafka, topics)
        finally:
            counts = self._letters.open_counts()
            for name in dict.fromkeys(topics.values()):
                yield DEAD_LETTERS, {"data_set": name}, counts.get(name, 0)
