from __future__ import annotations

import pytest

from penstock.core.service import State
from penstock.services.http_health import Answer, HttpProbe, judge
from tests.broken_server import answering_once


@pytest.mark.parametrize(
    ("answers", "state", "reason"),
    [
        ([(0, 200)], State.HEALTHY, "it answers"),
        ([(0, 200), (100, 503)], State.TROUBLED, "it says HTTP 503: what it needs is away"),
        ([(0, 503), (100, 503)], State.TROUBLED, "it says HTTP 503: what it needs is away"),
        ([(0, None)], State.STARTING, "it does not answer yet"),
        ([(0, None), (60, None)], State.STALLED, "it has not answered for 60 s"),
        ([(0, 200), (10, None), (40, None)], State.TROUBLED, "it has not answered for 30 s"),
        ([(0, 200), (10, 500), (70, 500)], State.STALLED, "it has answered HTTP 500 for 60 s"),
        ([(0, 500), (10, 200), (70, 500)], State.TROUBLED, "it has answered HTTP 500 for 0 s"),
    ],
)
def test_a_program_is_judged_by_its_answers(answers: list[tuple[float, int | None]], state: State, reason: str) -> None:
    verdict = judge([Answer(at, status) for at, status in answers], 60.0)
    assert (verdict.state, verdict.reason) == (state, reason)


def test_an_answer_that_is_no_http_counts_as_silence() -> None:
    with answering_once(b"220 at your service\r\n") as url:
        assert HttpProbe(lambda: url).sample(1.0) == Answer(1.0, None)
