"""Replays of dead letters that are killed with SIGKILL, wherever they are."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.core.pipeline import Wire
from penstock.core.settings import Kafka
from tests.dead_letters import POINTS, Case, killed_and_repeated, known, record

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("maximum", [60.0, 1000.0], ids=["of produce", "of landing"])
@pytest.mark.parametrize("wire", Wire)
@pytest.mark.parametrize("point", POINTS)
def test_a_replay_that_is_killed_and_repeated_lands_once(
    stack: Any,
    kafka_settings: Kafka,
    ledger_url: str,
    unique: str,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    wire: Wire,
    maximum: float,
) -> None:
    monkeypatch.setenv("LEDGER_URL", ledger_url)
    case = Case.made(unique, wire, kafka_settings, ledger_url)
    known(monkeypatch, case.pipeline)
    case.run([record(0), record(1), record(2, value=99)], maximum=maximum)
    assert case.counts() == (3, 3, 2, 1, 0, "whole")
    killed_and_repeated(case, stack.environment(), point, {**record(2), "value": 9.9})
    assert case.counts() == (3, 3, 3, 0, 0, "whole")
