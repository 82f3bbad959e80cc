"""What the raw copy in HDFS holds of a batch: the lines that Flume wrote, read back over WebHDFS."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from penstock.core.errors import Fatal, Reject
from penstock.core.pipeline import Pipeline
from penstock.core.record import Record
from penstock.core.settings import Hdfs
from penstock.ledger.evidence import shown
from penstock.sinks.hdfs import read_lines
from penstock.sinks.json_rows import normaliser, parse

log = logging.getLogger(__name__)

_HOUR_MS = 3_600_000


class RawLines:
    """Looks records up in a pipeline's raw copy. A record that is there twice is there: Flume writes at least once."""

    def __init__(self, where: Hdfs, pipeline: Pipeline) -> None:
        """Raises Fatal where the pipeline has no raw copy."""
        if pipeline.raw_copy is None:
            raise Fatal(f"the pipeline {pipeline} has no raw copy")
        self.name = f"hdfs:{pipeline.raw_copy.folder}"
        self._where = where
        self._folder = pipeline.raw_copy.folder
        self._contract = pipeline.contract
        self._normalise = normaliser(pipeline.normaliser)
        self._names = (self._contract.event_time, *(n for n in self._contract.key if n != self._contract.event_time))

    def key(self, record: Record) -> tuple[Any, ...]:
        """The event time, then the other key fields."""
        return tuple(record[name] for name in self._names)

    def lacking(self, keys: Mapping[tuple[Any, ...], int]) -> Iterator[tuple[Any, ...]]:
        """See Witness; a copy has no as-of times. Only the hours that the keys are of are read, line by line."""
        wanted = set(keys)
        for first, last in _runs_of_hours(sorted({key[0] // _HOUR_MS for key in keys})):
            for line in read_lines(self._where, self._folder, first * _HOUR_MS, (last + 1) * _HOUR_MS - 1):
                if (key := self._key_of_line(line)) is not None:
                    wanted.discard(key)
        yield from sorted(wanted)

    def named(self, key: tuple[Any, ...]) -> str:
        """The key fields by their names."""
        return shown(self._contract, dict(zip(self._names, key, strict=True)))

    def _key_of_line(self, line: bytes) -> tuple[Any, ...] | None:
        """The key of the record in a line, or None where that is none: landing has rejected it."""
        try:
            record = parse(line)
            if self._normalise:
                record = self._normalise(record)
            return self.key(record)
        except (Reject, KeyError, TypeError) as error:
            log.debug("a line that is no record: %s", error)
            return None


def _runs_of_hours(hours: list[int]) -> Iterator[tuple[int, int]]:
    """The (first, last) of each run of consecutive hours."""
    first = last = None
    for hour in hours:
        if first is None or last is None:
            first = hour
        elif hour > last + 1:
            yield first, last
            first = hour
        last = hour
    if first is not None and last is not None:
        yield first, last
