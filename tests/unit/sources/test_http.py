from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
import responses

from penstock.core.errors import Fatal, Retry
from penstock.sources.http import JsonClient, Refused

URL = "http://weather.test/v1/forecast?apikey=hunter2"


class Clock:
    """Sleeps nowhere and remembers how long it should have."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


class Ledger:
    """A budget that remembers what was spent, and the errors that left it."""

    def __init__(self) -> None:
        self.spent: list[tuple[str, float]] = []
        self.seen: list[BaseException] = []

    @contextmanager
    def spend(self, host: str, weight: float) -> Iterator[None]:
        self.spent.append((host, weight))
        try:
            yield
        except Retry as error:
            self.seen.append(error)
            raise


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(clock: Clock) -> Iterator[JsonClient]:
    with JsonClient(sleep=clock, wait_after_429={"minute": 60.0, "day": 40_000.0}.get) as client:
        yield client


@responses.activate
def test_returns_the_parsed_body_and_says_who_asks(client: JsonClient) -> None:
    responses.get(URL, json={"latitude": 52.5})

    assert client.get(URL) == {"latitude": 52.5}
    assert "penstock" in responses.calls[0].request.headers["User-Agent"]


@responses.activate
@pytest.mark.parametrize(
    "failure",
    [
        {"status": 500, "body": "oops"},
        {"status": 503, "json": {"reason": "later", "error": True}},
        {"status": 408, "body": ""},
        {"body": requests.ConnectTimeout("slow")},
        {"body": requests.ReadTimeout("slow")},
        {"body": requests.ConnectionError("refused")},
        {"body": requests.exceptions.ChunkedEncodingError("cut")},
        {"body": '[{"latitude": 52.5, "hourly": {"ti'},
        {"body": "<html>Bad gateway</html>"},
        {"body": ""},
        {"body": b"\xff\xfe\x00"},
        {"json": {"error": True, "reason": "timeoutReached"}},
        {"status": 429, "json": {"error": True, "reason": "Too many concurrent requests"}},
    ],
)
def test_a_passing_failure_is_tried_again_after_a_back_off(
    client: JsonClient, clock: Clock, failure: dict[str, Any]
) -> None:
    responses.get(URL, **failure)
    responses.get(URL, json={"ok": 1})

    assert client.get(URL) == {"ok": 1}
    assert len(clock.slept) == 1


@responses.activate
def test_the_back_off_grows_and_is_jittered(clock: Clock) -> None:
    responses.get(URL, status=500)
    with JsonClient(sleep=clock, attempts=6) as client, pytest.raises(Retry):
        client.get(URL)

    assert len(clock.slept) == 5
    assert all(0 <= wait <= 2**number for number, wait in enumerate(clock.slept))
    assert len(set(clock.slept)) == 5


@responses.activate
def test_a_failure_that_lasts_becomes_a_retry_that_names_host_status_and_reason(client: JsonClient) -> None:
    responses.get(URL, status=503, json={"reason": "maintenance", "error": True})

    with pytest.raises(Retry, match=r"weather\.test/v1/forecast failed \(HTTP 503\): maintenance"):
        client.get(URL)


@responses.activate
@pytest.mark.parametrize("body", ['{"error":true,"reason":"no such name"}', '{"reason":"no such name","error":true}'])
def test_a_refusal_is_fatal_at_once_and_keeps_its_reason(client: JsonClient, clock: Clock, body: str) -> None:
    responses.get(URL, status=400, body=body)

    with pytest.raises(Refused, match=r"\(HTTP 400\): no such name") as caught:
        client.get(URL)

    assert isinstance(caught.value, Fatal)
    assert caught.value.reason == "no such name"
    assert clock.slept == []


@responses.activate
def test_a_refusal_without_json_quotes_the_beginning_of_its_body(client: JsonClient) -> None:
    responses.get(URL, status=404, body="<h1>\nNot found</h1>")

    with pytest.raises(Refused, match="<h1> Not found</h1>"):
        client.get(URL)


@responses.activate
def test_a_short_limit_is_waited_out_for_as_long_as_its_reason_says(client: JsonClient, clock: Clock) -> None:
    responses.get(URL, status=429, json={"error": True, "reason": "minute"})
    responses.get(URL, json=[])

    assert client.get(URL) == []
    assert 60 <= clock.slept[0] <= 61


@responses.activate
def test_a_long_limit_is_handed_on_instead_of_slept(client: JsonClient, clock: Clock) -> None:
    responses.get(URL, status=429, json={"error": True, "reason": "day"})

    with pytest.raises(Retry, match="fewer requests: day") as caught:
        client.get(URL)

    assert caught.value.retry_after == 40_000
    assert clock.slept == []


@responses.activate
def test_a_retry_after_header_comes_before_the_reason(client: JsonClient, clock: Clock) -> None:
    responses.get(URL, status=429, json={"error": True, "reason": "day"}, headers={"Retry-After": "7"})
    responses.get(URL, json=[])

    client.get(URL)

    assert 7 <= clock.slept[0] <= 8


@responses.activate
def test_every_attempt_is_counted_against_the_budget_by_its_weight(clock: Clock) -> None:
    responses.get(URL, status=500)
    responses.get(URL, json=[])
    budget = Ledger()
    with JsonClient(budget, sleep=clock) as client:
        client.get(URL, weight=12.5)

    assert budget.spent == [("weather.test", 12.5)] * 2


@responses.activate
def test_the_budget_hears_how_long_the_host_asks_to_wait(clock: Clock) -> None:
    responses.get(URL, status=429, headers={"Retry-After": "3600"})
    budget = Ledger()
    with JsonClient(budget, sleep=clock) as client, pytest.raises(Retry):
        client.get(URL)

    assert [error.retry_after for error in budget.seen if isinstance(error, Retry)] == [3600]


@responses.activate
def test_a_budget_used_up_for_long_stops_before_any_request(clock: Clock) -> None:
    class UsedUp:
        @contextmanager
        def spend(self, host: str, weight: float) -> Iterator[None]:
            raise Retry(f"no calls left for {host}", retry_after=1800)
            yield

    with JsonClient(UsedUp(), sleep=clock) as client, pytest.raises(Retry, match="no calls left"):
        client.get(URL)

    assert len(responses.calls) == 0
    assert clock.slept == []


@responses.activate
@pytest.mark.parametrize(
    "failure", [{"status": 500}, {"status": 400}, {"status": 429}, {"body": "x"}, {"body": requests.ReadTimeout(URL)}]
)
def test_no_error_shows_the_query_which_may_hold_a_key(client: JsonClient, failure: dict[str, Any]) -> None:
    responses.get(URL, **failure)

    with pytest.raises((Retry, Fatal)) as caught:
        client.get(URL)

    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("url", ["weather.test/v1", "ftp://weather.test/v1", "http://"])
def test_an_address_that_is_none_is_fatal(client: JsonClient, url: str) -> None:
    with pytest.raises(Fatal, match="not an http address"):
        client.get(url)


def test_a_host_that_nobody_serves_is_a_retry_with_the_system_s_words(clock: Clock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with JsonClient(sleep=clock, attempts=2) as client, pytest.raises(Retry, match=r"cannot be reached: .*refused"):
        client.get(f"http://127.0.0.1:{port}/v1")


def test_a_body_shorter_than_announced_is_a_retry(clock: Clock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b'{"latitude": 52.5'

        def cut_off() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=cut_off)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        with JsonClient(sleep=clock, attempts=1) as client, pytest.raises(Retry, match="broke off its answer"):
            client.get(url)
        thread.join()


def test_a_host_that_does_not_answer_in_time_is_a_retry(clock: Clock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        silent = JsonClient(sleep=clock, attempts=1, timeout=(1.0, 0.05))
        with (
            silent as client,
            pytest.raises(Retry, match=r"did not answer in time \(1 s to connect, 0\.05 s to read\)"),
        ):
            client.get(url)
