from __future__ import annotations

import pytest

from penstock.core.service import State
from penstock.services.http_health import Answer, judge


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
