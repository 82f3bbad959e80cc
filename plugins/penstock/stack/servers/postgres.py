"""PostgreSQL: the databases of Airflow, of the ledger and of the schema registry."""

from __future__ import annotations

import os
import shutil
import tempfile

from penstock.core.settings import INCLUDE
from penstock.stack import ready
from penstock.stack.artifacts import MavenArtifact
from penstock.stack.context import Context
from penstock.stack.servers.base import Server, run

BINARIES = MavenArtifact("postgres", INCLUDE / "postgres" / "pom.xml", unpack=True)

_NOBODY = 65534


def _as_other_than_root() -> list[str]:
    """PostgreSQL refuses to run as root.

    It then runs as nobody with the one capability to enter folders that are root's, wherever the checkout lies.
    """
    if os.geteuid() != 0:
        return []
    capabilities = ["--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override"]
    # Without this bit, access(2) looks at the user alone and not at the capability.
    honoured = "--securebits=+no_setuid_fixup"
    return ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", honoured, *capabilities, "--"]


def _postgres_binary(context: Context, name: str) -> str:
    return str(BINARIES.path(context.layout.cache) / "bin" / name)


def _postgres_command(context: Context) -> list[str]:
    conf, data = context.layout.conf("postgres"), context.layout.data("postgres")
    options = ["-c", f"config_file={conf}/postgresql.conf", "-c", f"hba_file={conf}/pg_hba.conf"]
    return [*_as_other_than_root(), _postgres_binary(context, "postgres"), "-D", str(data), *options]


def _prepare_postgres(context: Context) -> None:
    data = context.layout.data("postgres")
    if data.exists():
        return
    # The folder gets its name once it is whole, so that an interrupted start leaves nothing half-made.
    staging = data.with_name("postgres.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True, mode=0o700)
    with tempfile.NamedTemporaryFile("w", dir=context.layout.run) as password_file:  # mode 600
        password_file.write(context.secret("POSTGRES_PASSWORD"))
        password_file.flush()
        if os.geteuid() == 0:
            os.chown(staging, _NOBODY, _NOBODY)
        options = [
            "-U",
            "postgres",
            "-A",
            "scram-sha-256",
            f"--pwfile={password_file.name}",
            "-E",
            "UTF8",
            "--locale=C",
        ]
        initdb = [*_as_other_than_root(), _postgres_binary(context, "initdb"), "-D", str(staging), *options]
        run(initdb, "making the PostgreSQL data folder")
    staging.rename(data)


DATABASES = (
    ("airflow", "AIRFLOW_DB_PASSWORD"),
    ("penstock", "LEDGER_DB_PASSWORD"),
    ("registry", "REGISTRY_DB_PASSWORD"),
)
"""Each a role and the database it owns."""


def _provision_postgres(context: Context) -> None:
    import psycopg
    from psycopg import sql

    url = context.postgres_url("postgres", "postgres", "POSTGRES_PASSWORD")
    with psycopg.connect(url, autocommit=True) as connection:
        for name, secret in DATABASES:
            role = sql.Identifier(name)
            known = connection.execute("select 1 from pg_roles where rolname = %s", (name,)).fetchone()
            verb = sql.SQL("alter role {} with login password {}" if known else "create role {} with login password {}")
            connection.execute(verb.format(role, sql.Literal(context.secret(secret))))
            if not connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone():
                connection.execute(sql.SQL("create database {} owner {}").format(role, role))


POSTGRES = Server(
    name="postgres",
    title="PostgreSQL 17",
    artifacts=(BINARIES,),
    folder="postgres",
    ports=("postgres",),
    command=_postgres_command,
    prepare=_prepare_postgres,
    ready=ready.postgres,
    provision=_provision_postgres,
    stop_seconds=60,
)
