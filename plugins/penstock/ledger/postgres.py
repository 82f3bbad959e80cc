"""Connections to the ledger's PostgreSQL, with errors that say what to do and never hold the password."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Any, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row

from penstock.core.errors import Fatal, Retry

Connection: TypeAlias = psycopg.Connection[Any]

_CONNECT_TIMEOUT_SECONDS = 10
_STATEMENT_TIMEOUT_SECONDS = 30

# The server ends a session, and with it frees its locks, about a minute after the client's machine has vanished.
_KEEPALIVE = "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"

# libpq gives no SQLSTATE for a refused connection. Where the server's messages are translated, these refusals pass as
# transient, with the same text.
_REFUSALS = ("authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry", "invalid")


class Address:
    """Where a PostgreSQL database is: parsed once, and shown without its password."""

    def __init__(self, url: str) -> None:
        """Raises Fatal where `url` is not `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`."""
        try:
            parameters: dict[str, Any] = conninfo_to_dict(url) if "://" in url else {}
        except psycopg.ProgrammingError:
            parameters = {}  # libpq's message may quote the password
        # A password with a bare "/" or "@" would otherwise be read, and then shown, as host and port.
        if not parameters or not str(parameters.get("port", "0")).replace(",", "").isdigit():
            raise Fatal(
                "the ledger's address is not of the form postgresql://USER:PASSWORD@HOST:PORT/DATABASE, "
                "with the password's special characters percent-encoded"
            )
        self._parameters = parameters

    def __repr__(self) -> str:
        host = self._parameters.get("host", "localhost")
        return f"{host}:{self._parameters.get('port', 5432)}/{self._parameters.get('dbname', '')}"

    def conninfo(self, statement_timeout: float) -> str:
        """The connection string for sessions that speak UTC and end a statement after so many seconds."""
        options = (
            f"{self._parameters.get('options', '')} -c TimeZone=UTC {_KEEPALIVE} "
            f"-c statement_timeout={round(statement_timeout * 1000)}"
        )
        defaults: dict[str, Any] = {"connect_timeout": _CONNECT_TIMEOUT_SECONDS, "application_name": "penstock"}
        return make_conninfo("", **defaults | self._parameters | {"options": options.strip()})


def connect(address: Address, statement_timeout: float = _STATEMENT_TIMEOUT_SECONDS) -> Connection:
    """A session in autocommit mode: each statement, or each `transaction()` block, stands by itself.

    Raises Retry where the server can't be reached now, Fatal where it refuses user, password or database.
    """
    try:
        return psycopg.connect(address.conninfo(statement_timeout), autocommit=True)
    except psycopg.Error as error:
        reason = " ".join(str(error).split())
        if any(each in reason for each in _REFUSALS):
            raise Fatal(f"the ledger at {address} refuses the connection, check LEDGER_URL: {reason}") from error
        raise Retry(f"the ledger at {address} can't be reached: {reason}") from error


class Kept:
    """One session that is kept, which threads may share; it is made anew after a failure."""

    def __init__(self, url: str) -> None:
        """Raises Fatal where `url` is no PostgreSQL address."""
        self.address = Address(url)
        self._session: Connection | None = None
        self._turn = Lock()

    def close(self) -> None:
        """End the session."""
        with self._turn:
            self._end()

    def execute(self, statement: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of one statement. Raises Retry where the database is away, and Fatal where it refuses."""
        with self._turn, translated(self.address):
            try:
                if self._session is None:
                    self._session = connect(self.address)
                with self._session.cursor(row_factory=dict_row) as cursor:
                    cursor.execute(statement, values)
                    return cursor.fetchall() if cursor.description else []
            except BaseException:
                self._end()
                raise

    def _end(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


@contextmanager
def translated(address: Address) -> Iterator[None]:
    """Turn the driver's errors into Retry (connection lost, time-out, server stopping) or Fatal (all others)."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise Retry(f"the ledger at {address} failed: {_primary(error)}") from error
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        raise Fatal(f"the ledger at {address} has not been migrated ({_primary(error)}): run `penstock up`") from error
    except psycopg.IntegrityError as error:
        raise Fatal(f"the ledger refuses a row that breaks its rule {error.diag.constraint_name}") from error
    except psycopg.Error as error:
        raise Fatal(f"the ledger at {address} refuses the statement: {_primary(error)}") from error


def _primary(error: psycopg.Error) -> str:
    return error.diag.message_primary or " ".join(str(error).split())
