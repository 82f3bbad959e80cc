"""What the steps of a run hand to each other as XComs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.core.batch import Batch, Interval
from penstock.core.counts import Extent, Landed, Produced


@dataclass(frozen=True)
class ProducedBatch:
    """A batch, what its produce task put on the topic, and where its rows belong, if it has any."""

    batch: Batch
    produced: Produced
    extent: Extent | None

    def to_json(self) -> dict[str, Any]:
        """`Produced.to_json`, and the batch's interval, options and extent."""
        return self.produced.to_json() | {
            "interval": str(self.batch.interval),
            "options": dict(self.batch.options),
            "extent": self.extent.to_json() if self.extent else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], pipeline: str) -> ProducedBatch:
        """Read what `to_json` wrote. Raises Fatal where the interval is none."""
        counts = dict(data)
        batch = Batch(pipeline, Interval.parse(counts.pop("interval")), counts.pop("options"))
        extent = counts.pop("extent")
        return cls(batch, Produced.from_json(counts), Extent.from_json(extent) if extent else None)


def produced_batches(result: Any, pipeline: str) -> list[ProducedBatch]:
    """The batches in the result of a produce task, or in those of its mapped instances.

    Airflow hands over the latter as a sequence that asks its API for each element; a slice is one question for all.
    """
    results: Sequence[Any] = [result] if isinstance(result, Mapping) else result[:]
    return [ProducedBatch.from_json(each, pipeline) for each in results]


def landed_by_id(results: Iterable[Mapping[str, Any]]) -> dict[str, Landed]:
    """{batch id: counts} in the result of a land task."""
    return {each["batch_id"]: Landed.from_json(dict(each)) for each in results}
