"""What a landing is asked to do, which offsets it reads for that, and how it accounts for every record."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from penstock.core.contract import Contract
from penstock.core.counts import Extent, Landed, OffsetRange, Produced
from penstock.core.errors import Fatal, PenstockError, Retry
from penstock.core.pipeline import CassandraTable, InfluxMeasurement, SinkSpec, Wire
from penstock.sinks.patience import PATIENCE_SECONDS

_NEAR = 50_000
"""Offsets between two ranges that are rather read, and left to others, than given a read of their own."""

_SINKS: Mapping[str, type[SinkSpec]] = {each.__name__: each for each in (CassandraTable, InfluxMeasurement)}


@dataclass(frozen=True)
class Request:
    """The batches of one topic to be landed in `sinks`, in each of them all.

    `extent` is where the batches' own records belong, or None where that is not known. `patience` is how long, in
    seconds, a server may be away before the landing fails. `wire` and `normaliser` are the pipeline's.
    """

    contract: Contract
    topic: str
    dead_letter_topic: str
    sinks: tuple[SinkSpec, ...]
    batches: tuple[Produced, ...]
    wire: Wire = Wire.AVRO
    normaliser: str | None = None
    extent: Extent | None = None
    patience: float = PATIENCE_SECONDS

    def __post_init__(self) -> None:
        ids = [each.batch_id for each in self.batches]
        if twice := sorted({each for each in ids if ids.count(each) > 1}):
            raise Fatal(f"a landing is asked for more than one attempt of {', '.join(twice)}: give the last one only")
        if elsewhere := sorted({each.topic for each in self.batches} - {self.topic}):
            raise Fatal(f"a landing from {self.topic} is asked for batches on {', '.join(elsewhere)}")

    @property
    def records(self) -> int:
        """How many records the batches have on the topic."""
        return sum(each.on_topic for each in self.batches)

    def to_json(self) -> dict[str, Any]:
        """Only JSON types."""
        return {
            "contract": self.contract.schema,
            "topic": self.topic,
            "dead_letter_topic": self.dead_letter_topic,
            "sinks": [{"kind": type(each).__name__, "name": each.name} for each in self.sinks],
            "batches": [each.to_json() for each in self.batches],
            "wire": str(self.wire),
            "normaliser": self.normaliser,
            "extent": self.extent.to_json() if self.extent else None,
            "patience": self.patience,
        }

    @classmethod
    def load(cls, path: Path) -> Request:
        """Read the file that holds what `to_json` wrote. Raises Fatal where it is no request."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                contract=Contract(data["contract"], f"the contract in {path.name}"),
                topic=data["topic"],
                dead_letter_topic=data["dead_letter_topic"],
                sinks=tuple(_SINKS[each["kind"]](each["name"]) for each in data["sinks"]),
                batches=tuple(Produced.from_json(each) for each in data["batches"]),
                wire=Wire(data.get("wire", Wire.AVRO)),
                normaliser=data.get("normaliser"),
                extent=Extent.from_json(data["extent"]) if data.get("extent") else None,
                patience=float(data.get("patience", PATIENCE_SECONDS)),
            )
        except FileNotFoundError as error:
            raise Fatal(f"the landing request {path} does not exist") from error
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise Fatal(f"{path} is no landing request: {error!r}") from error


@dataclass(frozen=True)
class Tally:
    """What one task did with the records of one batch; see Landed."""

    read: int = 0
    landed: int = 0
    rejected: int = 0
    duplicates: int = 0
    foreign: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


def reads(batches: Iterable[Produced]) -> list[list[OffsetRange]]:
    """What the batches have on the topic as a few reads, each with at most one range a partition.

    What overlaps or is near is read once. Every offset of every range is in exactly one read.
    """
    by_partition: dict[int, list[OffsetRange]] = defaultdict(list)
    wanted = {each for batch in batches for each in (*batch.ranges, *batch.claimed)}
    for each in sorted(wanted, key=lambda each: each.start):
        merged = by_partition[each.partition]
        if merged and each.start - merged[-1].end <= _NEAR:
            merged[-1] = OffsetRange(each.partition, merged[-1].start, max(merged[-1].end, each.end))
        else:
            merged.append(each)
    most = max(map(len, by_partition.values()), default=0)
    return [[ranges[turn] for ranges in by_partition.values() if turn < len(ranges)] for turn in range(most)]


def account(batches: Sequence[Produced], tallies: Iterable[tuple[int, Tally]]) -> list[Landed]:
    """The counts of each batch, from those of the tasks: (index of the batch, tally).

    Raises Fatal where a record that was acknowledged was not found, or one more than that, or one without a fate.
    """
    sums = [Tally()] * len(batches)
    for index, tally in tallies:
        sums[index] += tally
    if wrong := [said for batch, tally in zip(batches, sums, strict=True) if (said := _discrepancy(batch, tally))]:
        raise Fatal("; ".join(wrong))
    return [
        Landed(batch.batch_id, each.read, each.landed, each.rejected, each.duplicates, each.foreign)
        for batch, each in zip(batches, sums, strict=True)
    ]


def _discrepancy(batch: Produced, tally: Tally) -> str | None:
    expected = batch.on_topic
    if tally.read != expected:
        ranges = (*batch.ranges, *batch.claimed)
        where = ", ".join(f"{each.partition}: [{each.start}, {each.end})" for each in ranges) or "none"
        missing = expected - tally.read
        what = f"{missing} of its {expected} records are missing" if missing > 0 else f"{-missing} records too many are"
        return (
            f"batch {batch.batch_id}: {what} in the offsets of {batch.topic} that were acknowledged ({where}): "
            "produce the batch again"
        )
    fates = tally.landed + tally.rejected + tally.duplicates
    if tally.read != fates:
        return f"batch {batch.batch_id}: {tally.read} records were read and only {fates} are accounted for"
    return None


def write_report(path: Path, landed: Sequence[Landed], seconds: Mapping[str, float]) -> None:
    """Write {"batches": [counts, ...], "seconds": {part of the job: how long it took}}, whole or not at all."""
    _write(path, {"batches": [each.to_json() for each in landed], "seconds": dict(seconds)})


def write_error(report: Path, error: PenstockError) -> None:
    """Write `error.json` beside the report that there will not be: {"kind": "Retry" or "Fatal", "message": ...}."""
    kind = Retry if isinstance(error, Retry) else Fatal
    _write(report.with_name("error.json"), {"kind": kind.__name__, "message": str(error)})


def _write(path: Path, data: Mapping[str, Any]) -> None:
    staging = path.with_name(f".{path.name}.new")
    staging.write_text(json.dumps(data), encoding="utf-8")
    staging.replace(path)
