"""How a stream that lands is judged by its progress."""

from __future__ import annotations

from typing import TypeAlias

import pytest

from penstock.core.pipeline import Pipeline
from penstock.core.service import State
from penstock.pipelines import CARS, POPULATION
from penstock.services.landing_health import Sample, judge, landing_service

Look: TypeAlias = tuple[int, int] | None
"""(offsets landed, offsets waiting), None where Kafka did not answer."""


def judged(*looks: Look) -> State:
    """The verdict on looks ten seconds apart, with a stall limit of 30 s."""
    samples = [
        Sample(10.0 * at, *look) if look else Sample(10.0 * at, unknown="Kafka is away")
        for at, look in enumerate(looks)
    ]
    return judge(samples, 30.0).state


@pytest.mark.parametrize(
    ("looks", "state"),
    [
        ([(0, 0)], State.HEALTHY),
        ([(7, 9), (7, 9)], State.STARTING),
        ([(7, 9), (8, 8), (8, 8)], State.HEALTHY),
        ([(7, 9), (7, 9), (7, 9), (7, 12)], State.STALLED),
        ([(7, 0), (7, 0), (7, 0), (7, 5)], State.STARTING),
        ([(6, 1), (7, 0), (7, 0), (7, 5)], State.HEALTHY),
        ([(7, 9), None], State.TROUBLED),
        ([(7, 9), None, None, (7, 9)], State.STALLED),
        ([(7, 9), None, None, (8, 9)], State.HEALTHY),
    ],
)
def test_records_that_wait_while_none_lands_are_a_stall(looks: list[Look], state: State) -> None:
    assert judged(*looks) is state


@pytest.mark.parametrize(
    ("pipeline", "name"), [(CARS, "landing-car-transactions"), (POPULATION, "landing-population")], ids=str
)
def test_a_pipelines_stream_is_a_service(pipeline: Pipeline, name: str) -> None:
    service = landing_service(pipeline)
    assert (service.name, service.probe.group) == (name, name)  # type: ignore[attr-defined]
    assert service.probe.topic() == pipeline.topic  # type: ignore[attr-defined]
