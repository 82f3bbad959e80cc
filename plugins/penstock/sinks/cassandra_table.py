"""Brings keyspace and table up to a contract, and never changes what is already there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cassandra import Unauthorized
from cassandra.cluster import Session

from penstock.core import settings
from penstock.core.contract import Contract
from penstock.core.errors import Fatal

# Unified compaction needs no tuning to the load. Time windows would: they go by write time, which for a backfill says
# nothing of the event time, so that its partitions would stay spread over many windows.
_TABLE_OPTIONS = "compaction = {'class': 'UnifiedCompactionStrategy'}"


@dataclass(frozen=True)
class Column:
    """A column as Cassandra has it: its type and its place, like `partition_key 0`, `clustering 0`, `regular`."""

    cql_type: str
    place: str


def ensure(session: Session, where: settings.Cassandra, table: str, contract: Contract) -> None:
    """Create what is missing: the keyspace, the table, columns for new fields.

    Columns that the contract does not have are left alone. Raises Fatal where a column's type or the primary key
    differ, or where the role may not do what is missing.
    """
    try:
        _ensure_keyspace(session, where)
        present = columns(session, where.keyspace, table)
        if not present:
            create = contract.cql_create_table(where.keyspace, table)
            session.execute(f"{create} WITH {_TABLE_OPTIONS}")
            present = columns(session, where.keyspace, table)
        wanted = _wanted(contract)
        _refuse_conflicts(f"{where.keyspace}.{table}", present, wanted)
        for name in wanted.keys() - present.keys():
            session.execute(
                f'ALTER TABLE "{where.keyspace}"."{table}" ADD IF NOT EXISTS "{name}" {wanted[name].cql_type}'
            )
    except Unauthorized as error:
        raise Fatal(f"the role {where.user} may not set up {where.keyspace}.{table}: {error.args[0]}") from error


def _ensure_keyspace(session: Session, where: settings.Cassandra) -> None:
    query = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = %s"
    if session.execute(query, (where.keyspace,)).one():
        return
    session.execute(
        f'CREATE KEYSPACE IF NOT EXISTS "{where.keyspace}" WITH replication = '
        f"{{'class': 'NetworkTopologyStrategy', 'replication_factor': {where.replication}}}"
    )


def columns(session: Session, keyspace: str, table: str) -> Mapping[str, Column]:
    """{name: column} of the table, empty where there is none."""
    query = (
        "SELECT column_name, type, kind, position FROM system_schema.columns "
        "WHERE keyspace_name = %s AND table_name = %s"
    )
    rows = session.execute(query, (keyspace, table))
    return {name: Column(cql_type, _place(kind, position)) for name, cql_type, kind, position in rows}


def _place(kind: str, position: int) -> str:
    return f"{kind} {position}" if kind in {"partition_key", "clustering"} else kind


def _wanted(contract: Contract) -> Mapping[str, Column]:
    places = {name: _place("partition_key", at) for at, name in enumerate(contract.partition_key)}
    places |= {name: _place("clustering", at) for at, name in enumerate(contract.clustering_key)}
    return {name: Column(cql_type, places.get(name, "regular")) for name, cql_type in contract.cql_columns().items()}


def _refuse_conflicts(target: str, present: Mapping[str, Column], wanted: Mapping[str, Column]) -> None:
    conflicts = [
        f"{name} is {present[name].cql_type} ({present[name].place}) there and {column.cql_type} ({column.place}) here"
        for name, column in wanted.items()
        if name in present and present[name] != column
    ]
    key = {name for name, column in present.items() if column.place != "regular"}
    conflicts += [f"{name} is part of its key and not of the contract" for name in sorted(key - wanted.keys())]
    new_key = {name for name, column in wanted.items() if column.place != "regular"}
    conflicts += [f"{name} is new in the key" for name in sorted(new_key - present.keys())]
    if conflicts:
        raise Fatal(
            f"the table {target} does not fit its contract: {'; '.join(conflicts)}. "
            "Land into another table, or move the old one away"
        )
