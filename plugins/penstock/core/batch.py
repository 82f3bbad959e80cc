"""A batch: the unit of idempotency for live, retried and backfilled runs alike."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.core.errors import Fatal

_STAMP = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, order=True)
class Interval:
    """A half-open data interval [start, end) of UTC-aware times."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        for name, value in (("start", self.start), ("end", self.end)):
            if value.tzinfo is None or value.utcoffset() != timedelta(0):
                raise Fatal(f"the interval's {name} {value.isoformat()} is not in UTC: give it as {_STAMP!r}")
        if self.end <= self.start:
            raise Fatal(f"the interval ends at {self.end.isoformat()}, not after its start {self.start.isoformat()}")

    def __str__(self) -> str:
        return f"{self.start.strftime(_STAMP)}/{self.end.strftime(_STAMP)}"

    @classmethod
    def parse(cls, text: str) -> Interval:
        """Read what `str` wrote. Raises Fatal where `text` is no such interval."""
        try:
            start, end = (datetime.strptime(part, _STAMP).replace(tzinfo=UTC) for part in text.split("/"))
        except ValueError as error:
            raise Fatal(f"{text!r} is not an interval of the form START/END with times like {_STAMP}") from error
        return cls(start, end)


def digest(options: Mapping[str, Any]) -> str:
    """Eight hex digits that name `options`, whatever the order of its keys."""
    canonical = json.dumps(options, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Batch:
    """One pipeline's work for one data interval.

    `options` narrow a run that a person asked for (locations, variables). They are part of the identity, so that a
    historic run of two cities is not the same batch as one of a hundred. A scheduled run has none: what it fetches is
    configuration, and running it again after a change must replace the same batch.
    """

    pipeline: str
    interval: Interval
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def id(self) -> str:
        """`PIPELINE:START/END`, with `:DIGEST` of the options where there are any."""
        plain = f"{self.pipeline}:{self.interval}"
        return f"{plain}:{digest(self.options)}" if self.options else plain
