"""The InfluxDB sink against a server that misbehaves."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from penstock.core.counts import Count, Extent
from penstock.core.errors import Fatal, Retry
from penstock.core.settings import Influx
from penstock.sinks import patience
from penstock.sinks.influxdb import InfluxSink
from penstock.sinks.influxdb_http import InfluxHttp
from tests.conformance import AS_OF, CONTRACT, JANUARY, as_rows, record


@dataclass
class Answer:
    """What the server answers; `cut` breaks the body off, `reset` breaks off everything, `hang` answers nothing."""

    status: int = 204
    body: Any = ""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    reset: bool = False
    hang: bool = False


TAKEN = Answer()


@dataclass
class Server:
    """Gives the `answers` one after another, then what `then` says of a body."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    then: Callable[[bytes], Answer] = lambda _: TAKEN
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def settings(self) -> Influx:
        return Influx(self.url, "penstock", "plant", "secret-token")

    def bodies(self) -> list[bytes]:
        return [body for _, _, body in self.requests]

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        self.requests.append((path, headers, body))
        return self.answers.pop(0) if self.answers else self.then(body)


@pytest.fixture
def server() -> Iterator[Server]:
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = told.answer(self.path, dict(self.headers), body)
            if answer.hang:
                told.over.wait()
            if answer.hang or answer.reset:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            text = answer.body.encode() if isinstance(answer.body, str) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.status != 204:
                self.send_header("Content-Length", str(len(text) + (10 if answer.cut else 0)))
            self.end_headers()
            self.wfile.write(text)
            self.close_connection = answer.cut

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        told.url = f"http://127.0.0.1:{listening.server_port}"
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield told
        told.over.set()
        listening.shutdown()


class Clock:
    """A clock that only pauses move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(patience, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=clock.sleep))
    return clock


def sink(server: Server, **options: Any) -> InfluxSink:
    return InfluxSink(server.settings, "m", CONTRACT, **{"contested": False} | options)


def problem(status: int, message: str, **headers: str) -> Answer:
    return Answer(status, {"code": "x", "message": message}, {key.replace("_", "-"): headers[key] for key in headers})


def series(rows: list[list[Any]], statement: int = 0) -> dict[str, Any]:
    found = {"name": "m", "columns": ["time", "count"], "tags": {"station": "Alpha", "sensor": "s1"}, "values": rows}
    return {"results": [{"statement_id": statement, "series": [found]}]}


EXTENT = Extent((("Alpha", "s1"),), JANUARY, JANUARY)


def test_a_write_names_bucket_organisation_precision_and_token(server: Server) -> None:
    assert sink(server).write(as_rows([record()]), AS_OF).landed == 1
    ((path, headers, body),) = server.requests
    assert urlsplit(path).path == "/api/v2/write"
    assert parse_qs(urlsplit(path).query) == {"org": ["penstock"], "bucket": ["plant"], "precision": ["ns"]}
    assert headers["Authorization"] == "Token secret-token"
    assert body.startswith(b"m,sensor=s1,station=Alpha as_of=")


def test_a_request_has_at_most_10_000_lines(server: Server) -> None:
    assert sink(server).write(as_rows([record(hour) for hour in range(25_000)]), AS_OF).landed == 25_000
    assert [body.count(b"\n") for body in server.bodies()] == [10_000, 10_000, 5_000]


def test_a_request_of_long_lines_has_fewer(server: Server) -> None:
    rows = as_rows([record(hour, note="x" * 1_000_000) for hour in range(12)])
    assert sink(server).write(rows, AS_OF).landed == 12
    assert sum(body.count(b"\n") for body in server.bodies()) == 12
    assert max(map(len, server.bodies())) < 5_000_000


def test_bodies_are_compressed_only_on_request(server: Server) -> None:
    for compress in (False, True):
        sink(server, compress=compress).write(as_rows([record()]), AS_OF)
    (_, plain_headers, plain), (_, headers, packed) = server.requests
    assert "Content-Encoding" not in plain_headers
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed) == plain


class TestAServerThatIsAway:
    def test_it_is_left_alone_as_long_as_it_asks_for(self, server: Server, clock: Clock) -> None:
        server.answers = [problem(429, "slow down", Retry_After="7"), problem(503, "starting", Retry_After="3")]
        assert sink(server, patience=60).write(as_rows([record()]), AS_OF).landed == 1
        assert clock.pauses == [7.0, 3.0]

    def test_a_wait_beyond_all_patience_is_raised_at_once(self, server: Server, clock: Clock) -> None:
        server.answers = [problem(429, "slow down", Retry_After="90")]
        with pytest.raises(Retry, match="slow down") as raised:
            sink(server, patience=60).write(as_rows([record()]), AS_OF)
        assert raised.value.retry_after == 90
        assert clock.pauses == []

    @pytest.mark.parametrize(
        "trouble", [problem(500, "cache full"), Answer(502, "<html>bad gateway"), Answer(reset=True)]
    )
    def test_trouble_that_passes_is_outlasted(self, server: Server, clock: Clock, trouble: Answer) -> None:
        server.answers = [trouble] * 5
        assert sink(server).write(as_rows([record()]), AS_OF).landed == 1
        assert len(set(server.bodies())) == 1
        assert len(clock.pauses) == 5

    def test_trouble_that_stays_is_raised_in_the_servers_words(self, server: Server, clock: Clock) -> None:
        server.then = lambda _: problem(500, "cache full")
        with pytest.raises(Retry, match=r"InfluxDB at http://127.*failed \(HTTP 500\): cache full"):
            sink(server, patience=10).write(as_rows([record()]), AS_OF)
        assert clock.now == 10

    def test_a_server_that_hangs_is_not_waited_for_longer_than_patience_lasts(self, server: Server) -> None:
        server.then = lambda _: Answer(hang=True)
        with pytest.raises(Retry, match="did not answer in time"):
            sink(server, patience=0.2).write(as_rows([record()]), AS_OF)

    def test_a_server_that_is_not_there_is_named(self, clock: Clock) -> None:
        nowhere = Influx("http://127.0.0.1:1", "penstock", "plant", "secret-token")
        with pytest.raises(Retry, match=r"InfluxDB at http://127\.0\.0\.1:1 cannot be reached.*refused"):
            InfluxSink(nowhere, "m", CONTRACT, patience=5).write(as_rows([record()]), AS_OF)

    def test_rows_that_were_not_written_are_not_remembered(self, server: Server, clock: Clock) -> None:
        landing = sink(server, patience=1)
        server.then = lambda _: problem(503, "away")
        with pytest.raises(Retry):
            landing.write(as_rows([record()]), AS_OF)
        server.then = lambda _: TAKEN
        assert landing.write(as_rows([record()]), AS_OF).landed == 1


class TestRefusal:
    @pytest.mark.parametrize(
        ("status", "said"),
        [
            (401, "does not know INFLUXDB_TOKEN"),
            (403, "refuses INFLUXDB_TOKEN the bucket plant"),
            (404, "no bucket plant of the organisation penstock.*check INFLUXDB_BUCKET"),
            (302, r"refuses the request \(HTTP 302\)"),
        ],
    )
    def test_it_is_fatal_and_says_what_to_check(self, server: Server, status: int, said: str) -> None:
        server.then = lambda _: problem(status, "no")
        with pytest.raises(Fatal, match=said) as raised:
            sink(server).write(as_rows([record()]), AS_OF)
        assert "secret-token" not in str(raised.value)
        assert len(server.requests) == 1

    def test_an_address_that_is_none_is_fatal(self) -> None:
        with pytest.raises(Fatal, match="INFLUXDB_URL is 'influx:8086'"):
            InfluxHttp(Influx("influx:8086", "o", "b", "t"), patience=1).write(b"")

    def test_the_token_is_in_no_representation(self, server: Server) -> None:
        assert "secret-token" not in repr(sink(server)) + repr(InfluxHttp(server.settings, patience=1))


class TestLinesThatAreRefused:
    """Which lines are bad must be found out, by whatever the server tells."""

    GOOD_AND_BAD = tuple(record(hour, note="bad" if hour in {3, 17, 18, 99} else "good") for hour in range(100))

    @staticmethod
    def partial(stored: set[bytes]) -> Callable[[bytes], Answer]:
        def write(body: bytes) -> Answer:
            lines = body.splitlines()
            stored.update(line for line in lines if b"bad" not in line)
            bad = sum(b"bad" in line for line in lines)
            return problem(422, f"failure: partial write: field type conflict dropped={bad}") if bad else TAKEN

        return write

    @staticmethod
    def whole(stored: set[bytes]) -> Callable[[bytes], Answer]:
        def write(body: bytes) -> Answer:
            bad = [line.decode() for line in body.splitlines() if b"bad" in line]
            if bad:
                return problem(400, "\n".join(f"unable to parse '{line}': field type conflict" for line in bad))
            stored.update(body.splitlines())
            return TAKEN

        return write

    @staticmethod
    def too_large(stored: set[bytes]) -> Callable[[bytes], Answer]:
        def write(body: bytes) -> Answer:
            if b"bad" in body:
                return problem(413, "field type conflict")
            stored.update(body.splitlines())
            return TAKEN

        return write

    @pytest.mark.parametrize("kind", ["partial", "whole", "too_large"])
    def test_only_they_are_rejected_each_with_its_reason(self, server: Server, kind: str) -> None:
        stored: set[bytes] = set()
        server.then = getattr(self, kind)(stored)
        written = sink(server).write(as_rows(self.GOOD_AND_BAD), AS_OF)
        assert written.landed == len(stored) == 96
        assert written.rejects == tuple((row, "field type conflict") for row in (3, 17, 18, 99))

    def test_a_good_record_may_come_after_a_refused_one_with_its_key(self, server: Server) -> None:
        server.then = self.partial(set())
        landing = sink(server)
        assert landing.write(as_rows([record(note="bad")]), AS_OF).landed == 0
        assert landing.write(as_rows([record(note="good")]), AS_OF).landed == 1

    def test_a_refused_repeat_is_a_reject_and_no_duplicate(self, server: Server) -> None:
        server.then = self.partial(set())
        landing = sink(server)
        landing.write(as_rows([record(note="good")]), AS_OF)
        written = landing.write(as_rows([record(note="bad")]), AS_OF.replace(year=2027))
        assert (written.landed, written.duplicates, len(written.rejects)) == (0, 0, 1)


class TestQuestions:
    def test_an_answer_that_breaks_off_is_asked_for_again(self, server: Server, clock: Clock) -> None:
        whole = json.dumps(series([[0, 4]])) + "\n"
        server.answers = [Answer(200, whole, cut=True), Answer(200, whole[:30]), Answer(200, whole)]
        assert sink(server).count(EXTENT, AS_OF) == Count(own=4)

    def test_an_error_within_the_answer_is_outlasted(self, server: Server, clock: Clock) -> None:
        server.answers = [Answer(200, {"results": [{"statement_id": 0, "error": "timeout"}]}), Answer(200, series([]))]
        assert sink(server).count(EXTENT, AS_OF) == Count(own=0)
        assert len(server.requests) == 2

    def test_a_bucket_that_the_token_cannot_read_is_fatal(self, server: Server) -> None:
        server.then = lambda _: Answer(200, {"results": [{"error": "database not found: plant"}]})
        with pytest.raises(Fatal, match="lets INFLUXDB_TOKEN read no bucket plant"):
            sink(server).count(EXTENT, AS_OF)

    def test_a_busy_server_is_left_alone_as_long_as_it_asks_for(self, server: Server, clock: Clock) -> None:
        server.answers = [problem(429, "slow down", Retry_After="7"), Answer(200, series([[0, 4]], statement=1))]
        assert sink(server).count(EXTENT, AS_OF) == Count(own=0, newer=4)
        assert clock.pauses == [7.0]
