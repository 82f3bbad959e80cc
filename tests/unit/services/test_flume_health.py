from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from penstock.core.errors import Retry
from penstock.core.service import State
from penstock.services.flume_health import Channel, Deliverer, FlumeProbe, Sample, judge, read
from tests.broken_server import answering_once

LIMIT = 60.0


def samples(*looks: tuple[float, int | None, int, int | None]) -> list[Sample]:
    """Each look is (at, drained, in the channel, waiting outside)."""
    return [
        Sample(at, drained, (Channel("c1", size, None),), waiting, unit="records")
        for at, drained, size, waiting in looks
    ]


@pytest.mark.parametrize(
    ("looks", "state", "reason"),
    [
        pytest.param([(0, 0, 0, 0)], State.HEALTHY, "nothing waits", id="idle from the start"),
        pytest.param([(0, 7, 0, 0), (600, 7, 0, 0)], State.HEALTHY, "nothing waits", id="idle for long"),
        pytest.param([(0, 7, 0, 9), (10, 8, 0, 9)], State.HEALTHY, "9 records wait", id="behind, but at work"),
        pytest.param(
            [(0, 7, 0, 9), (50, 7, 0, 9)],
            State.HEALTHY,
            "9 records wait, not drained for 50 s",
            id="stuck, but not for long",
        ),
        pytest.param(
            [(0, 7, 0, 9), (30, 7, 0, 12), (60, 7, 0, 15)],
            State.STALLED,
            "15 records wait, and nothing was drained for 60 s",
            id="records wait and the sink is dead",
        ),
        pytest.param(
            [(0, 7, 5, 0), (70, 7, 5, 0)],
            State.STALLED,
            "5 events are in its channels, and nothing was drained for 70 s",
            id="the channel is not drained",
        ),
        pytest.param(
            [(0, 7, 0, 0), (100, 7, 0, 3), (150, 7, 0, 3)],
            State.HEALTHY,
            "3 records wait, not drained for 50 s",
            id="work that came after a long idle time counts from its coming",
        ),
        pytest.param(
            [(0, 7, 0, 3), (50, 8, 0, 3), (100, 8, 0, 3)],
            State.HEALTHY,
            "3 records wait, not drained for 50 s",
            id="progress starts the clock again",
        ),
        pytest.param(
            [(0, 7, 0, 3), (50, 7, 0, 0), (100, 7, 0, 3)],
            State.HEALTHY,
            "3 records wait",
            id="an idle moment starts the clock again",
        ),
        pytest.param(
            [(0, 7, 0, 3), (50, None, 0, None), (100, 7, 0, 3)],
            State.HEALTHY,
            "3 records wait",
            id="one time-out is no stall",
        ),
        pytest.param([(0, None, 0, None)], State.STARTING, "it does not answer yet", id="the JVM starts"),
        pytest.param(
            [(0, None, 0, None), (60, None, 0, None)],
            State.STALLED,
            "it has not answered for 60 s",
            id="it has never answered",
        ),
        pytest.param(
            [(0, 7, 0, 0), (10, None, 0, None), (30, None, 0, None)],
            State.TROUBLED,
            "it has not answered for 20 s",
            id="silent for a while",
        ),
        pytest.param(
            [(0, 7, 0, 0), (10, None, 0, None), (70, None, 0, None)],
            State.STALLED,
            "it has not answered for 60 s",
            id="frozen",
        ),
    ],
)
def test_an_agent_is_judged_by_what_it_drains(
    looks: list[tuple[float, int | None, int, int | None]], state: State, reason: str
) -> None:
    verdict = judge(samples(*looks), LIMIT)
    assert (verdict.state, verdict.reason) == (state, reason)


def test_a_backlog_that_is_not_known_is_no_stall() -> None:
    seen = [Sample(at, 7, (Channel("c1", 0, None),), None, unknown="Kafka does not answer") for at in (0, 100)]
    verdict = judge(seen, LIMIT)
    assert verdict.state is State.TROUBLED
    assert verdict.reason == "what waits for it is not known: Kafka does not answer"


def test_a_channel_that_is_nearly_full_is_named() -> None:
    seen = [Sample(at, at, (Channel("spool", 950, 95.0), Channel("other", 1, 1.0)), 0) for at in (0, 10)]
    verdict = judge(seen, LIMIT)
    assert verdict.state is State.TROUBLED
    assert verdict.reason == "the channel spool is 95 % full"
    stuck = judge([Sample(at, 7, (Channel("spool", 950, 95.0),), 0) for at in (0, 60)], LIMIT)
    assert stuck.state is State.STALLED
    assert stuck.reason.endswith("; the channel spool is 95 % full")


ANSWER: dict[str, dict[str, Any]] = {
    "SOURCE.files": {"Type": "SOURCE", "EventAcceptedCount": "120", "EventReceivedCount": "120"},
    "CHANNEL.disk": {
        "Type": "CHANNEL",
        "ChannelCapacity": "1000",
        "ChannelSize": "20",
        "ChannelFillPercentage": "2.0",
        "EventPutSuccessCount": "120",
    },
    "CHANNEL.kafka": {
        "Type": "CHANNEL",
        "ChannelCapacity": "0",
        "ChannelSize": "0",
        "ChannelFillPercentage": "1.7976931348623157E308",
    },
    "SINK.one": {"Type": "SINK", "EventDrainSuccessCount": "60"},
    "SINK.two": {"Type": "SINK", "EventDrainSuccessCount": "40"},
}


def test_the_counters_of_all_sinks_add_up_and_a_kafka_channel_has_no_fill() -> None:
    sample = read(ANSWER, 5.0, waiting=3, unit="files")
    assert sample == Sample(5.0, 100, (Channel("disk", 20, 2.0), Channel("kafka", 0, None)), waiting=3, unit="files")
    assert sample.work == "3 files wait and 20 events are in its channels"


def test_an_agent_whose_channel_is_the_topic_delivers_by_its_source() -> None:
    assert read(ANSWER, 5.0, Deliverer.SOURCE).drained == 120


def test_an_agent_without_its_sink_drains_nothing() -> None:
    lost = {name: values for name, values in ANSWER.items() if not name.startswith("SINK")}
    assert read(lost, 5.0).drained == 0


class Waiting:
    unit = "records"

    def __init__(self, answer: int | Retry) -> None:
        self._answer = answer

    def waiting(self) -> int:
        if isinstance(self._answer, Retry):
            raise self._answer
        return self._answer


@contextmanager
def answering(body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/metrics"
        server.shutdown()


def test_a_sample_is_the_counters_and_the_backlog() -> None:
    with answering(json.dumps(ANSWER).encode()) as url:
        sample = FlumeProbe(lambda: url, Waiting(4)).sample(1.0)
        away = FlumeProbe(lambda: url, Waiting(Retry("Kafka does not answer"))).sample(1.0)
    assert (sample.drained, sample.waiting, sample.unknown) == (100, 4, "")
    assert (away.drained, away.waiting, away.unknown) == (100, None, "Kafka does not answer")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"status": "ok"}'])
def test_an_answer_that_is_none_counts_as_silence(body: bytes) -> None:
    with answering(body) as url:
        assert FlumeProbe(lambda: url, Waiting(4)).sample(1.0) == Sample(1.0)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"220 at your service\r\n", id="another protocol"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", id="it breaks off"),
    ],
)
def test_an_answer_that_is_no_http_counts_as_silence(answer: bytes) -> None:
    with answering_once(answer) as url:
        assert FlumeProbe(lambda: url, Waiting(4)).sample(1.0) == Sample(1.0)


def test_an_agent_that_does_not_listen_is_silent() -> None:
    with answering(b"") as url:
        pass
    assert FlumeProbe(lambda: url, Waiting(4)).sample(1.0) == Sample(1.0)
