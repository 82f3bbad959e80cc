"""Lags of all consumer groups, measured in the background and told as Prometheus metrics."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Protocol, TypeAlias

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from apps.status_server import Health
from penstock.core.errors import Retry
from penstock.kafka.group_lags import Lags

_log = logging.getLogger(__name__)

_STUCK_ROUNDS = 4
_PATIENCE_SECONDS = 60.0


class Measures(Protocol):
    """What `penstock.kafka.group_lags.GroupLags` does."""

    def measure(self) -> Lags:
        """Raises Retry where Kafka is away."""
        ...


Note: TypeAlias = Callable[[Lags], None]
"""Hands on what was found. Raises Retry where nobody takes it at present."""


class Exporter(Collector):
    """Measures every `seconds`; in between, and while Kafka is away, it tells what it found last, or nothing.

    What it has found is handed to `note` each time.
    """

    def __init__(self, measures: Measures, seconds: float, note: Note = lambda _: None) -> None:
        self._measures = measures
        self._seconds = seconds
        self._note = note
        self._found: Lags | None = None
        self._away: str | None = "nothing has been measured yet"
        self._turned = time.monotonic()

    def run(self, stopping: threading.Event) -> None:
        """Measure until `stopping` is set. Raises Fatal where Kafka refuses."""
        while not stopping.is_set():
            self.refresh()
            stopping.wait(self._seconds)

    def refresh(self) -> None:
        """Measure once. Old lags are no lags: while Kafka is away, there are none."""
        try:
            found = self._measures.measure()
        except Retry as error:
            self._found, self._away = None, str(error)
            _log.warning("%s", error)
        else:
            self._found, self._away = found, None
            for group, reason in found.failed.items():
                _log.warning("the lag of %s is not known: %s", group, reason)
            self._hand_on(found)
        self._turned = time.monotonic()

    def _hand_on(self, found: Lags) -> None:
        try:
            self._note(found)
        except Retry as error:
            _log.warning("%s", error)

    def health(self) -> Health:
        """503 while Kafka is away, 500 where measuring has stopped."""
        silent = time.monotonic() - self._turned
        if silent > _STUCK_ROUNDS * self._seconds + _PATIENCE_SECONDS:
            return Health(HTTPStatus.INTERNAL_SERVER_ERROR, {"detail": f"nothing was measured for {silent:.0f} s"})
        if self._away is not None:
            return Health(HTTPStatus.SERVICE_UNAVAILABLE, {"detail": self._away})
        found = self._found
        groups = {each.group for each in found.partitions} if found else set()
        return Health(HTTPStatus.OK, {"groups": sorted(groups)})

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client. A group that is gone, or not known at present, has no series."""
        found = self._found
        yield GaugeMetricFamily("kafka_lag_exporter_kafka_up", "Whether Kafka answers", value=int(found is not None))
        yield GaugeMetricFamily(
            "kafka_lag_exporter_failed_groups", "Groups whose lag is not known", value=len(found.failed) if found else 0
        )
        yield from _gauges(found or Lags((), {}))


def _gauges(lags: Lags) -> Iterator[Metric]:
    labels = ["group", "topic", "partition"]
    lag = GaugeMetricFamily("kafka_consumergroup_lag", "Records that the group has not taken", labels=labels)
    current = GaugeMetricFamily("kafka_consumergroup_current_offset", "The next record it takes", labels=labels)
    end = GaugeMetricFamily("kafka_consumergroup_end_offset", "The partition's end", labels=labels)
    sums: Counter[tuple[str, str]] = Counter()
    for each in lags.partitions:
        values = [each.group, each.topic, str(each.partition)]
        lag.add_metric(values, each.lag)
        current.add_metric(values, each.current)
        end.add_metric(values, each.end)
        sums[each.group, each.topic] += each.lag
    total = GaugeMetricFamily("kafka_consumergroup_lag_sum", "The same of all partitions", labels=labels[:2])
    for key, value in sums.items():
        total.add_metric(key, value)
    yield from (lag, current, end, total)
