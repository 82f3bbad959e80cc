"""What Spark's Python workers do for a stream: make the contract's rows of messages, and set aside what has none."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from penstock.core import settings
from penstock.core.contract import Contract, Kind
from penstock.kafka.dead_letters import Rejected, forward
from penstock.sinks.json_rows import decode, judged, normaliser
from penstock.sinks.patience import PATIENCE_SECONDS

_REJECTS_AT_ONCE = 10_000

_SPARK_TYPES = {Kind.TIMESTAMP: pa.timestamp("us", "UTC"), Kind.DATE: pa.date32()}


@dataclass(frozen=True)
class Judge:
    """The function for `mapInArrow`: batches of (partition, offset, value) in, rows of the contract out.

    A record that breaks the contract goes to the dead letters before the task ends. A task that is repeated writes
    those of its letters again, with the same ids.
    """

    contract: Contract
    topic: str
    dead_letter_topic: str
    kafka: settings.Kafka
    normaliser: str | None = None
    patience: float = PATIENCE_SECONDS

    def __call__(self, windows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Raises Retry where Kafka stays away, Fatal where it refuses, unless every dead letter was acknowledged."""
        normalise = normaliser(self.normaliser)
        rejects: list[Rejected] = []
        for window in windows:
            found = judged(decode(window.column("value"), self.contract, normalise), self.contract)
            partitions, offsets = window.column("partition"), window.column("offset")
            rejects += (
                Rejected(self.topic, partitions[row].as_py(), offsets[row].as_py(), reason)
                for row, reason in found.rejects.items()
            )
            if len(rejects) >= _REJECTS_AT_ONCE:
                self._set_aside(rejects)
                rejects = []
            yield spark_rows(found.rows, self.contract)
        self._set_aside(rejects)

    def _set_aside(self, rejects: Iterable[Rejected]) -> None:
        forward(self.kafka, self.dead_letter_topic, rejects, deadline=time.monotonic() + self.patience)


def spark_rows(rows: pa.RecordBatch, contract: Contract) -> pa.RecordBatch:
    """Physical rows in the types that Spark has for them, which `Contract.spark_ddl` names."""
    columns = [
        column if field.kind not in _SPARK_TYPES else _times(column, field.kind)
        for field, column in zip(contract.fields, rows.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names=rows.schema.names)


def _times(column: pa.Array, kind: Kind) -> pa.Array:
    counted = column.cast(pa.timestamp("ms", "UTC")) if kind is Kind.TIMESTAMP else column
    return counted.cast(_SPARK_TYPES[kind])
