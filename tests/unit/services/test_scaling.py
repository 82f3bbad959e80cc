from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from penstock.core.errors import Fatal
from penstock.core.service import Desired, State
from penstock.services import scaling
from penstock.services.scaling import Scaling
from penstock.services.supervisor import Process

SERVICES = ["car-api", "counter-10", "counter-2", "counter-1", "flume-3-way", "reader-1"]


@dataclass
class FakeLedger:
    """What a person wants, as the ledger's services table keeps it."""

    wanted: dict[str, Desired] = field(default_factory=dict)

    def rows(self) -> list[Row]:
        return [Row(name) for name in self.wanted]

    def desire(self, name: str, desired: Desired, by: str) -> None:
        assert by
        self.wanted[name] = desired

    def seen(self, name: str, state: State, reason: str, pid: int | None) -> None:
        assert (state, pid) == (State.STOPPED, None)
        assert reason


@dataclass
class Row:
    name: str


@dataclass
class FakeSupervisor:
    """Programs that run, with their process ids."""

    running: dict[str, int]

    def processes(self) -> dict[str, Process]:
        return {name: Process(name, "RUNNING", pid, 0, 0, "") for name, pid in self.running.items()}

    def stop(self, name: str, *, wait: bool) -> None:
        assert wait
        self.running.pop(name, None)


def test_instances_are_grouped_in_the_order_of_their_numbers() -> None:
    assert scaling.instances(SERVICES) == {"counter": ["counter-1", "counter-2", "counter-10"], "reader": ["reader-1"]}


@pytest.mark.parametrize("name", ["price-consumer", "price_consumer"])
def test_a_group_is_named_with_dashes_or_underscores(name: str) -> None:
    assert scaling.group_named(name, ["price-consumer-1"]) == "price-consumer"


def test_a_service_that_cannot_be_scaled_is_refused_by_naming_those_that_can() -> None:
    with pytest.raises(Fatal, match="car_api is no service that can be scaled; those that can: counter, reader"):
        scaling.group_named("car_api", SERVICES)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_first_ones_start_and_the_others_stop(count: int) -> None:
    members = ("counter-1", "counter-2", "counter-10")
    assert scaling.plan("counter", count, SERVICES) == Scaling(members[:count], members[count:])


@pytest.mark.parametrize(
    ("count", "partitions", "said"),
    [
        (4, None, "cannot be scaled to 4: 3 instances of it are declared"),
        (3, 2, "cannot be scaled to 3: its topic has 2 partitions"),
        (-1, None, "cannot be scaled to -1: give 0 or more"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused(count: int, partitions: int | None, said: str) -> None:
    with pytest.raises(Fatal, match=said):
        scaling.plan("counter", count, SERVICES, partitions)


def test_stopping_is_written_down_also_for_those_that_do_not_run() -> None:
    ledger, supervisor = FakeLedger(), FakeSupervisor({"counter-1": 1, "counter-2": 2})
    planned = scaling.plan("counter", 1, SERVICES)
    assert scaling.stop(planned, supervisor, ledger, by="a test") == ["counter-2"]  # type: ignore[arg-type]
    assert supervisor.running == {"counter-1": 1}
    assert ledger.wanted == dict.fromkeys(["counter-2", "counter-10"], Desired.STOPPED)
