"""`penstock scale`: what it asks of supervisord, and what it says."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from penstock import cli
from penstock.core.counts import OffsetRange
from penstock.core.errors import Fatal
from penstock.kafka import topics
from penstock.kafka.topics import Description
from penstock.services.supervisor import Process

SERVICES = dict.fromkeys(["car-api", *(f"price-consumer-{number}" for number in range(1, 5))])


@dataclass
class Stack:
    """Programs that run, and what a person wants of them."""

    running: list[str] = field(default_factory=list)
    wanted: dict[str, str] = field(default_factory=dict)
    partitions: int = 4

    ledger_url = "postgresql://nowhere"

    @property
    def supervisor(self) -> Stack:
        return self

    @property
    def client(self) -> Stack:
        return self

    def states(self) -> dict[str, dict[str, Any]]:
        return {name: {"statename": "RUNNING" if name in self.running else "STOPPED"} for name in SERVICES}

    def processes(self) -> dict[str, Process]:
        return {name: Process(name, "RUNNING", 1, 0, 0, "") for name in self.running}

    def stop(self, name: str, *, wait: bool) -> None:
        if name in self.running:
            self.running.remove(name)

    def start_one(self, _: Any, server: Any, __: Any) -> None:
        if server.name not in self.running:
            self.running.append(server.name)

    def desire(self, name: str, desired: str, by: str) -> None:
        self.wanted[name] = str(desired)

    def seen(self, *_: Any) -> None:
        """Of no interest here."""

    def close(self) -> None:
        """Nothing to let go of."""

    def describe(self, _: str, name: str) -> list[Description]:
        assert name == "events"
        return [Description(name, tuple(OffsetRange(each, 0, 0) for each in range(self.partitions)))]


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Stack:
    found = Stack()
    monkeypatch.setattr(cli, "SERVICES", SERVICES)
    monkeypatch.setattr(cli.Context, "load", lambda: found)
    monkeypatch.setattr(cli, "Services", lambda _: found)
    monkeypatch.setattr(cli.lifecycle, "start_one", found.start_one)
    monkeypatch.setattr(cli.servers, "wanted", lambda _: [SimpleNamespace(name=name) for name in SERVICES])
    monkeypatch.setattr(topics, "describe", found.describe)
    monkeypatch.setenv("LEDGER_URL", found.ledger_url)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "nowhere:1")
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", "http://nowhere")
    return found


def scale(*words: str) -> Result:
    return CliRunner().invoke(cli.app, ["scale", *words])


def members(*numbers: int) -> list[str]:
    return [f"price-consumer-{number}" for number in numbers]


def test_instances_are_started_and_stopped_and_named(stack: Stack) -> None:
    assert scale("price_consumer", "3").output.splitlines() == [
        "started: price-consumer-1, price-consumer-2, price-consumer-3",
        "stopped: none",
    ]
    assert scale("price-consumer", "2").output.splitlines() == ["started: none", "stopped: price-consumer-3"]
    assert stack.running == members(1, 2)
    assert stack.wanted == dict.fromkeys(members(1, 2), "started") | dict.fromkeys(members(3, 4), "stopped")


@pytest.mark.parametrize(
    ("words", "partitions", "said"),
    [
        (("price_consumer", "5"), 8, "price-consumer cannot be scaled to 5: 4 instances of it are declared"),
        (("price_consumer", "4"), 3, "price-consumer cannot be scaled to 4: its topic has 3 partitions"),
        (("car_api", "2"), 4, "car_api is no service that can be scaled; those that can: price-consumer"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(
    stack: Stack, words: tuple[str, ...], partitions: int, said: str
) -> None:
    stack.partitions, stack.running = partitions, members(1)
    done = scale(*words)
    assert isinstance(done.exception, Fatal)
    assert said in str(done.exception)
    assert (stack.running, stack.wanted) == (members(1), {})
