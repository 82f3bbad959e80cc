"""Cassandra's roles: ours in place of the superuser with a well-known password that a new cluster starts with."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from penstock.core.errors import Fatal
from penstock.core.settings import Cassandra

if TYPE_CHECKING:
    from cassandra.cluster import Session

ADMIN = "penstock_admin"
_BUILT_IN = ("cassandra", "cassandra")


@contextmanager
def _session(settings: Cassandra, user: str, password: str) -> Iterator[Session]:
    from cassandra.auth import PlainTextAuthProvider
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
    from cassandra.policies import RoundRobinPolicy

    cluster = Cluster(
        list(settings.hosts),
        port=settings.port,
        auth_provider=PlainTextAuthProvider(user, password),
        protocol_version=5,
        connect_timeout=5,
        execution_profiles={EXEC_PROFILE_DEFAULT: ExecutionProfile(RoundRobinPolicy(), request_timeout=30)},
    )
    try:
        yield cluster.connect()
    finally:
        cluster.shutdown()


def _refused(error: Exception) -> bool:
    from cassandra import AuthenticationFailed
    from cassandra.cluster import NoHostAvailable

    if isinstance(error, NoHostAvailable) and isinstance(error.errors, dict):
        return any(isinstance(each, AuthenticationFailed) for each in error.errors.values())
    return isinstance(error, AuthenticationFailed)


def _logs_in(settings: Cassandra, user: str, password: str) -> bool:
    """Raises NoHostAvailable where it is not the password that stands in the way."""
    from cassandra.cluster import NoHostAvailable

    try:
        with _session(settings, user, password):
            return True
    except NoHostAvailable as error:
        if _refused(error):
            return False
        raise


def can_log_in(settings: Cassandra, admin_password: str) -> bool:
    """Whether the node knows our superuser or, new as it is, still its built-in one."""
    from cassandra.cluster import NoHostAvailable

    try:
        return _logs_in(settings, ADMIN, admin_password) or _logs_in(settings, *_BUILT_IN)
    except NoHostAvailable:
        return False


def provision(settings: Cassandra, admin_password: str) -> None:
    """Make our superuser, shut out the built-in one, and make the keyspace and the role that writes it.

    Idempotent. Raises Fatal where neither superuser can log in.
    """
    if _logs_in(settings, ADMIN, admin_password):
        with _session(settings, ADMIN, admin_password) as session:
            _grant(session, settings)
        return
    if not _logs_in(settings, *_BUILT_IN):
        raise Fatal(
            "Cassandra refuses the superuser's password: its data was made with another CASSANDRA_ADMIN_PASSWORD;"
            " put that one back into .env, or wipe the data with `penstock clean`"
        )
    with _session(settings, *_BUILT_IN) as session:
        session.execute(
            f"CREATE ROLE IF NOT EXISTS {ADMIN} WITH SUPERUSER = true AND LOGIN = true AND PASSWORD = %s",
            (admin_password,),
        )
    with _session(settings, ADMIN, admin_password) as session:
        session.execute(
            "ALTER ROLE cassandra WITH SUPERUSER = false AND LOGIN = false AND PASSWORD = %s",
            (secrets.token_urlsafe(32),),
        )
        _grant(session, settings)


def _grant(session: Session, settings: Cassandra) -> None:
    keyspace, role = settings.keyspace, settings.user
    session.execute(
        f'CREATE KEYSPACE IF NOT EXISTS "{keyspace}" WITH replication ='
        f" {{'class': 'SimpleStrategy', 'replication_factor': {settings.replication}}}"
    )
    session.execute(f'CREATE ROLE IF NOT EXISTS "{role}" WITH LOGIN = true AND PASSWORD = %s', (settings.password,))
    # Cassandra refuses a second change of a password within 5 s, so one that is right already is left alone.
    if not _logs_in(settings, role, settings.password):
        session.execute(f'ALTER ROLE "{role}" WITH PASSWORD = %s', (settings.password,))
    session.execute(f'GRANT ALL PERMISSIONS ON KEYSPACE "{keyspace}" TO "{role}"')
