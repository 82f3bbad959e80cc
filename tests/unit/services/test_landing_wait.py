"""A run's wait for the stream that lands its records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from penstock.core.counts import OffsetRange, Produced
from penstock.core.errors import Fatal, Retry
from penstock.core.service import Desired
from penstock.pipelines import CARS
from penstock.services.landing_wait import LandingWait, ends
from penstock.services.supervisor import Process
from tests.conformance import AS_OF

RUNS = Process("landing-car-transactions", "RUNNING", 7, 1, 0, "")
BATCH = Produced("b", CARS.topic, 0, AS_OF, 1, 1, 0, (OffsetRange(0, 5, 9), OffsetRange(1, 0, 4)))


class World:
    """The stream, its service and the clock."""

    def __init__(self) -> None:
        self.landed: dict[int, int] = {}
        self.wanted_state = Desired.STARTED
        self.seen = RUNS
        self.away = False
        self.now = 0.0

    def progress(self) -> Mapping[int, int]:
        if self.away:
            raise Retry("Kafka is away")
        return self.landed

    def desired(self) -> Desired:
        return self.wanted_state

    def process(self) -> Process:
        return self.seen


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def wait(world: World) -> LandingWait:
    return LandingWait(CARS, ends([BATCH]), world, stall_limit=60.0, clock=lambda: world.now)


def test_a_run_waits_for_its_own_records_and_for_those_that_it_took_up() -> None:
    claiming = replace(BATCH, claimed=(OffsetRange(1, 0, 12), OffsetRange(2, 0, 3)))
    assert ends([BATCH, claiming]) == {0: 9, 1: 12, 2: 3}
    assert ends([]) == {}


def test_it_is_over_once_the_stream_is_past_them_in_every_partition(world: World, wait: LandingWait) -> None:
    assert not wait.over()
    world.landed = {0: 9, 1: 3}
    assert not wait.over()
    world.landed = {0: 30, 1: 4, 2: 8}
    assert wait.over()


def test_as_long_as_the_stream_gets_on_it_is_waited_for(world: World, wait: LandingWait) -> None:
    for offset in range(9):
        world.landed, world.now = {0: offset}, world.now + 59.0
        assert not wait.over()


def test_a_stream_that_stands_still_fails_the_run_with_its_state(world: World, wait: LandingWait) -> None:
    assert not wait.over()
    world.now, world.seen = 60.0, replace(RUNS, state="EXITED", pid=None, exit_status=1)
    with pytest.raises(
        Retry, match=r"landing-car-transactions does not get on .* it has ended \(exit code 1\), and .*13"
    ):
        wait.over()


def test_a_server_that_is_away_is_no_progress(world: World, wait: LandingWait) -> None:
    world.away = True
    assert not wait.over()
    world.now = 60.0
    with pytest.raises(Retry, match="Kafka is away, and for 60 s"):
        wait.over()
    world.away, world.landed = False, {0: 1}
    assert not wait.over()


def test_a_stream_that_a_person_stopped_is_not_waited_for(world: World, wait: LandingWait) -> None:
    world.wanted_state = Desired.STOPPED
    with pytest.raises(Fatal, match="was stopped with 13 offsets of this run to go: start it with `penstock service"):
        wait.over()
    world.landed = {0: 9, 1: 4}
    assert wait.over()
