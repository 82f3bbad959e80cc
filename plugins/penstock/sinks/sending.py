"""Sends encoded batches to Cassandra, a bounded number in flight, and outlasts a server that is away for a while."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from cassandra import (
    AuthenticationFailed,
    DriverException,
    InvalidRequest,
    OperationTimedOut,
    RequestValidationException,
    UnsupportedOperation,
)
from cassandra.cluster import NoHostAvailable, PreparedStatement, Session
from cassandra.connection import ConnectionException
from cassandra.protocol import ErrorMessage
from cassandra.protocol import RequestValidationException as RefusedByServer

from penstock.core.errors import Fatal, Retry
from penstock.sinks.cql import EncodedBatch, EncodedRows
from penstock.sinks.patience import Patience, outlast

_ANSWER_SECONDS = 10.0  # well above what Cassandra gives a write itself, by default 2 s

_DRIVER_ERRORS = (DriverException, ErrorMessage, ConnectionException, NoHostAvailable)
_REFUSALS = (AuthenticationFailed, RequestValidationException, RefusedByServer, UnsupportedOperation)


@dataclass(frozen=True)
class Piece:
    """Rows [begin, end) of some encoded rows, all of one partition with this routing key."""

    rows: EncodedRows
    begin: int
    end: int
    routing_key: tuple[bytes, ...]

    def batch(self, timestamp: int) -> EncodedBatch:
        """The statement that writes it; `timestamp` in microseconds."""
        return EncodedBatch(self.rows.slice(self.begin, self.end), self.end - self.begin, timestamp, self.routing_key)

    def single_rows(self) -> Iterator[Piece]:
        """Each of its rows as a piece of its own."""
        for row in range(self.begin, self.end):
            yield Piece(self.rows, row, row + 1, self.routing_key)


Failure: TypeAlias = tuple[Piece, Exception]


@dataclass(frozen=True)
class Refused:
    """A row that Cassandra will never take, by its index in the encoded rows."""

    row: int
    reason: str


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Raise what Cassandra or its driver raises as Retry or Fatal; `where` names the server."""
    try:
        yield
    except _DRIVER_ERRORS as error:
        raise explain(error, where) from error


def explain(error: Exception, where: str) -> Retry | Fatal:
    """What to raise for an error of the driver, or for one that Cassandra answered."""
    causes = list(error.errors.values()) if isinstance(error, NoHostAvailable) and error.errors else [error]
    if any(isinstance(cause, AuthenticationFailed) for cause in causes):
        return Fatal(f"{where} refuses the login: check CASSANDRA_USER and CASSANDRA_PASSWORD")
    for cause in causes:
        if isinstance(cause, _REFUSALS):
            return Fatal(f"{where} refuses the request: {_text(cause)}")
    said = "; ".join(dict.fromkeys(_text(cause) for cause in causes))
    return Retry(f"{where} does not answer as it should: {said}")


def _text(error: BaseException) -> str:
    if isinstance(error, ErrorMessage):
        return f"{error.summary}: {error.message}"
    return f"{type(error).__name__}: {error.args[0]}" if error.args else type(error).__name__


class Sender:
    """Sends pieces through `session`, at most `in_flight` at a time: with many more, Cassandra gets slower.

    `patience` is in seconds, see Patience. `where` names server and table in messages.
    """

    def __init__(self, session: Session, where: str, *, in_flight: int, patience: float) -> None:
        self._session = session
        self._where = where
        self._in_flight = in_flight
        self._patience = patience

    def send(self, statement: PreparedStatement, pieces: Sequence[Piece], timestamp: int) -> list[Refused]:
        """Write all pieces, rows encoded for `statement`; return those that Cassandra refuses for their content.

        Raises Retry where it stays away, Fatal where it refuses the user or the statement itself.
        """
        refused: list[Refused] = []
        patience = Patience(self._patience)
        left = list(pieces)
        while left:
            sent, failures = _Attempt(self._session, self._in_flight).send(left, timestamp)
            if sent > len(failures):
                patience.renew()
            left = left[sent:]
            transient = [each for each in failures if not isinstance(each[1], InvalidRequest)]
            if len(transient) < len(failures):
                self._check(statement)
            for piece, error in failures:
                if isinstance(error, InvalidRequest) and piece.end - piece.begin == 1:
                    refused.append(Refused(piece.begin, _text(error)))
                else:
                    left += piece.single_rows() if isinstance(error, InvalidRequest) else [piece]
            if transient:
                self._wait(patience, transient[0][1])
        return refused

    def _wait(self, patience: Patience, error: Exception) -> None:
        known = explain(error, self._where)
        if isinstance(known, Fatal):
            raise known from error
        patience.wait(known)

    def _check(self, statement: PreparedStatement) -> None:
        """Raise Fatal where the table does not take the statement any more: then the rows are not to blame."""

        def prepare() -> None:
            with explained(self._where):
                self._session.prepare(statement.query_string)

        outlast(self._patience, prepare)


class _Attempt:
    """One attempt to send pieces, up to the first failure.

    Requests have no timeout of the driver's: its timers keep each request in memory until the timeout has passed, also
    when the answer has long come.
    """

    def __init__(self, session: Session, in_flight: int) -> None:
        self._session = session
        self._slots = threading.Semaphore(in_flight)
        self._unanswered: dict[int, Piece] = {}
        self._failures: list[Failure] = []

    def send(self, pieces: Sequence[Piece], timestamp: int) -> tuple[int, list[Failure]]:
        """Send, and wait for all answers: how many pieces were sent, and which of them failed."""
        sent = 0
        for piece in pieces:
            if not self._slot_comes() or self._failures:
                break
            self._unanswered[sent] = piece
            future = self._session.execute_async(piece.batch(timestamp), timeout=None)
            future.add_callbacks(self._done, self._failed, callback_args=(sent,), errback_args=(sent,))
            sent += 1
        while self._unanswered and self._slot_comes():
            pass
        late = OperationTimedOut(f"no answer within {_ANSWER_SECONDS:g} s")
        return sent, [*self._failures, *((piece, late) for piece in list(self._unanswered.values()))]

    def _slot_comes(self) -> bool:
        return self._slots.acquire(timeout=_ANSWER_SECONDS)

    def _done(self, _: object, number: int) -> None:
        del self._unanswered[number]
        self._slots.release()

    def _failed(self, error: Exception, number: int) -> None:
        self._failures.append((self._unanswered.pop(number), error))
        self._slots.release()
