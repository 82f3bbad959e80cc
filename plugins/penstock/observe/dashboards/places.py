"""Where the landed data lies that dashboards show."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from penstock.core import settings


@dataclass(frozen=True)
class Places:
    """InfluxDB's bucket, Cassandra's keyspace, and the names of the measurements and tables in them."""

    bucket: str
    keyspace: str
    names: settings.Names

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> Places:
        """All have defaults."""
        return cls(
            bucket=settings.influx_bucket(environment),
            keyspace=settings.cassandra_keyspace(environment),
            names=settings.Names.from_env(environment),
        )
