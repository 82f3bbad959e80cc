"""How the sender takes what Cassandra answers."""

import pyarrow as pa
import pytest
from cassandra import AuthenticationFailed, InvalidRequest, OperationTimedOut, Unauthorized
from cassandra.cluster import NoHostAvailable
from cassandra.protocol import OverloadedErrorMessage

from penstock.core.contract import Kind
from penstock.core.errors import Fatal, Retry
from penstock.sinks import sending
from penstock.sinks.cql import encode_rows
from penstock.sinks.patience import Patience, outlast
from penstock.sinks.sending import Piece, Sender, explained

WHERE = "Cassandra at c:9042"


class Statement:
    query_string = "INSERT"


class Session:
    """Answers each batch by `answer(rows)`: None, or the error to give."""

    def __init__(self, answer):
        self.answer = answer
        self.batches = []
        self.under_way = self.most_under_way = 0
        self.prepare_error = None

    def execute_async(self, statement, timeout):
        body = bytes(statement._statements_and_parameters.body)
        rows = [text for text in (b"a", b"b", b"c", b"d", b"e") if text in body]
        self.batches.append(rows)
        return Future(self.answer(rows))

    def prepare(self, query):
        if self.prepare_error:
            raise self.prepare_error


NEVER = Exception("no answer at all")


class Future:
    def __init__(self, error):
        self.error = error

    def add_callbacks(self, callback, errback, callback_args, errback_args):
        if self.error is NEVER:
            return
        if self.error:
            errback(self.error, *errback_args)
        else:
            callback(None, *callback_args)


def pieces(*groups):
    """A piece for each group of one-letter rows."""
    for group in groups:
        encoded = encode_rows(b"", [pa.array(list(group))], [Kind.STRING])
        yield Piece(encoded, 0, len(group), (b"key",))


def send(session, *groups, patience=5.0):
    sender = Sender(session, WHERE, in_flight=2, patience=patience)
    return sender.send(Statement(), list(pieces(*groups)), 1)


def test_each_piece_is_one_batch():
    session = Session(lambda rows: None)
    assert send(session, "ab", "c") == []
    assert session.batches == [[b"a", b"b"], [b"c"]]


def test_what_failed_for_the_moment_is_sent_again():
    errors = [OperationTimedOut(), OverloadedErrorMessage(0x1001, "busy", None), NoHostAvailable("", {})]
    session = Session(lambda rows: errors.pop() if b"b" in rows and errors else None)
    assert send(session, "a", "b", "c") == []
    assert session.batches.count([b"b"]) == 4
    assert session.batches.count([b"c"]) == 1


def test_a_row_that_is_refused_does_not_take_its_neighbours_along():
    session = Session(lambda rows: InvalidRequest("Key length of 70000 is longer") if b"b" in rows else None)
    (refused,) = send(session, "abc", "d")
    assert (refused.row, refused.reason) == (1, "InvalidRequest: Key length of 70000 is longer")
    assert [b"a"] in session.batches
    assert [b"c"] in session.batches


def test_rows_are_not_blamed_for_a_statement_that_no_longer_holds():
    session = Session(lambda rows: InvalidRequest("unconfigured table"))
    session.prepare_error = InvalidRequest("unconfigured table")
    with pytest.raises(Fatal, match="refuses the request: InvalidRequest: unconfigured table"):
        send(session, "ab")


def test_a_server_that_stays_away_ends_in_one_sentence():
    session = Session(lambda rows: NoHostAvailable("", {"c": OperationTimedOut("late")}))
    with pytest.raises(Retry, match="Cassandra at c:9042 does not answer as it should: OperationTimedOut"):
        send(session, "a", patience=0.0)


def test_a_request_that_is_never_answered_is_sent_again(monkeypatch):
    monkeypatch.setattr(sending, "_ANSWER_SECONDS", 0.01)
    answers = [NEVER, NEVER]
    session = Session(lambda rows: answers.pop() if answers else None)
    assert send(session, "a", "b", "c") == []
    assert session.batches == [[b"a"], [b"b"], [b"c"], [b"a"], [b"b"]]


def test_a_missing_right_is_fatal_at_once():
    session = Session(lambda rows: Unauthorized("User app has no MODIFY permission"))
    with pytest.raises(Fatal, match="has no MODIFY permission"):
        send(session, "a", "b")
    assert session.batches == [[b"a"]]


@pytest.mark.parametrize("error", [AuthenticationFailed("x"), NoHostAvailable("", {"c": AuthenticationFailed("x")})])
def test_a_refused_login_says_where_to_look(error):
    with pytest.raises(Fatal, match="check CASSANDRA_USER and CASSANDRA_PASSWORD"), explained(WHERE):
        raise error


def test_errors_that_are_not_the_drivers_pass_unchanged():
    with pytest.raises(KeyError), explained(WHERE):
        raise KeyError("x")


def test_patience_ends_with_the_error_and_progress_renews_it():
    patience = Patience(0.0)
    with pytest.raises(Retry, match="away"):
        patience.wait(Retry("away"))
    patience = Patience(60.0)
    patience.wait(Retry("away"))
    patience.renew()
    patience.wait(Retry("away"))


def test_outlast_returns_what_comes_at_last():
    answers = [Retry("away"), Retry("away"), 42]

    def call():
        answer = answers.pop(0)
        if isinstance(answer, Retry):
            raise answer
        return answer

    assert outlast(60.0, call) == 42
    with pytest.raises(Fatal):
        outlast(60.0, lambda: (_ for _ in ()).throw(Fatal("no")))
