"""Reads whole tables, independent of the platform's own sinks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any

from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.policies import DCAwareRoundRobinPolicy
from cassandra.query import dict_factory

from penstock.core.settings import Cassandra

Row = Mapping[str, Any]


@contextmanager
def session(settings: Cassandra) -> Iterator[Session]:
    """A session of the tests' own, whose rows are dictionaries."""
    profile = ExecutionProfile(load_balancing_policy=DCAwareRoundRobinPolicy(), row_factory=dict_factory)
    cluster = Cluster(
        list(settings.hosts),
        port=settings.port,
        auth_provider=PlainTextAuthProvider(settings.user, settings.password),
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
    )
    try:
        yield cluster.connect(settings.keyspace)
    finally:
        cluster.shutdown()


def rows(session: Session, table: str, start: date | datetime, end: date | datetime) -> list[Row]:
    """The table's rows with `start` <= time < `end`, sorted by place and time."""
    found = session.execute(f'SELECT * FROM "{table}" WHERE time >= %s AND time < %s ALLOW FILTERING', (start, end))
    return sorted(found, key=lambda row: (row["latitude"], row["longitude"], row["time"]))
