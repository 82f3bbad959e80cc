"""What Penstock knows of itself, as Prometheus metrics: part by part, so that one that is away hides no other."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from apps.penstock_exporter.part import Part, Value
from apps.status_server import Health
from penstock.observe.metrics import LEDGER_UP, PART_UP

LEDGER = "ledger"
"""The part whose metric of its own says whether it answers."""


class Exporter(Collector):
    """Tells what its parts have found. A scrape waits for nothing."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts

    def run(self, stopping: threading.Event) -> None:
        """Have every part look, each in a thread of its own, until `stopping` is set."""
        for part in self._parts:
            # Not waited for at the end: a look that hangs must not keep the program from ending.
            threading.Thread(target=part.run, args=(stopping,), name=part.name, daemon=True).start()
        stopping.wait()

    def health(self) -> Health:
        """503 while something that it looks at is away."""
        problems = {part.name: problem for part in self._parts if (problem := part.problem) is not None}
        return Health(HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK, {"problems": problems})

    def collect(self) -> Iterator[Family]:
        """See prometheus_client."""
        values: list[Value] = []
        for part in self._parts:
            up = float(part.problem is None)
            values += [(PART_UP, {"part": part.name}, up), *part.values]
            values += [(LEDGER_UP, {}, up)] if part.name == LEDGER else []
        yield from families(values)


def families(values: Iterable[Value]) -> Iterator[Family]:
    """The values, those of a metric together."""
    found: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
    for metric, labels, value in values:
        if metric.name not in found:
            kind = CounterMetricFamily if metric.counter else GaugeMetricFamily
            found[metric.name] = kind(metric.name, metric.help, labels=metric.labels)
        found[metric.name].add_metric([labels[name] for name in metric.labels], value)
    yield from found.values()
