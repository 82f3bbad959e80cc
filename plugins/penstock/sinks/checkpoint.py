"""What is written down in the checkpoint of a Spark query: how far it is, without asking Spark.

The files are those of Spark's HDFSMetadataLog, version 1: `metadata` with the query's id; `offsets/N`, written before
micro-batch N begins, with the watermark and then, a line a source, the offsets where it ends; `commits/N`, written when
it is over and will never be repeated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.core import settings
from penstock.core.errors import Fatal
from penstock.sinks.webhdfs import Missing, WebHdfs

_VERSION = "v1"
_NOTHING_YET = "-"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Plan:
    """What a micro-batch was to do. `sources` are the offsets where it ends, {partition: offset} of each source."""

    watermark: datetime
    sources: tuple[Mapping[int, int], ...]

    @property
    def end(self) -> dict[int, int]:
        """{partition: one past the last offset} of all sources."""
        return {partition: offset for source in self.sources for partition, offset in source.items()}


class Checkpoint:
    """A checkpoint of a query over Kafka. Methods raise Retry where HDFS is away, Fatal where it refuses."""

    def __init__(self, hdfs: settings.Hdfs, folder: str) -> None:
        self._hdfs = hdfs
        self.folder = folder

    def query_id(self) -> str | None:
        """The id that the query keeps over all its restarts, or None where there is no checkpoint."""
        found = self._read("metadata")
        return None if found is None else str(json.loads(found)["id"])

    def committed(self) -> int | None:
        """The newest micro-batch that is over, and with it all earlier ones; None where there is none."""
        return self._newest("commits")

    def planned(self, batch: int) -> Plan:
        """What a micro-batch was to do. Raises Fatal where it is not written down, or Spark writes it otherwise."""
        found = self._read(f"offsets/{batch}")
        if found is None:
            raise Fatal(f"{self.folder}/offsets/{batch} is missing: the checkpoint is not whole")
        version, metadata, *sources = found.splitlines()
        if version != _VERSION:
            raise Fatal(f"{self.folder}/offsets/{batch} is of version {version}, and only {_VERSION} is known")
        watermark = _EPOCH + timedelta(milliseconds=json.loads(metadata)["batchWatermarkMs"])
        return Plan(watermark, tuple(_offsets(line) for line in sources))

    def newest_plan(self) -> Plan | None:
        """What the newest micro-batch was to do, be it over or not; None where none has begun."""
        newest = self._newest("offsets")
        return None if newest is None else self.planned(newest)

    def _newest(self, log: str) -> int | None:
        with WebHdfs(self._hdfs) as client:
            names = (entry.name for entry in client.entries(f"{self.folder}/{log}"))
            return max((int(name) for name in names if name.isdigit()), default=None)

    def _read(self, name: str) -> str | None:
        with WebHdfs(self._hdfs) as client:
            try:
                return b"".join(client.read(f"{self.folder}/{name}")).decode()
            except Missing:
                return None


def _offsets(line: str) -> dict[int, int]:
    if line == _NOTHING_YET:
        return {}
    by_topic: dict[str, Any] = json.loads(line)
    return {int(partition): offset for each in by_topic.values() for partition, offset in each.items()}
