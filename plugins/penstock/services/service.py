"""A service: a program that runs for ever, and how one sees whether it gets anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from penstock.core.errors import Fatal
from penstock.core.service import State

SPARK_STALL_SECONDS = 150.0
"""The stall limit of a driver of Spark, whose first micro-batch takes a minute on a busy machine."""


@dataclass(frozen=True)
class Verdict:
    """What the samples say of a service, with the sentence a person reads."""

    state: State
    reason: str


class Probe(Protocol):
    """Looks at a running service, and judges what it saw."""

    def sample(self, at: float) -> Any:
        """One look at the moment `at`, in seconds of the monotonic clock.

        What does not answer is part of the sample: raises Fatal only, where the configuration is wrong.
        """
        ...

    def judge(self, samples: Sequence[Any], stall_limit: float) -> Verdict:
        """Judge samples of one life of the process, at least one, the oldest first. Pure."""
        ...


@dataclass(frozen=True)
class Budget:
    """How often a service is restarted, and how soon.

    The first restart in a while comes at once, the next ones after `base` seconds, twice that, and so on up to
    `longest`. After `restarts` of them within `window` it is left as it is.
    """

    restarts: int = 5
    window: timedelta = timedelta(minutes=30)
    base: float = 5.0
    longest: float = 120.0

    def __post_init__(self) -> None:
        if self.restarts < 1 or self.window <= timedelta(0) or not 0 < self.base <= self.longest:
            raise Fatal(f"{self} allows no restart: give positive numbers, the base at most the longest back-off")

    def wait(self, ages: Sequence[float]) -> float:
        """Seconds until a restart may be made, 0 where it may be now.

        `ages` are those of the earlier restarts in the window, in seconds, the youngest first.
        """
        if self.used_up(ages):
            return max(0.0, self.window.total_seconds() - ages[self.restarts - 1])
        if not ages:
            return 0.0
        pause: float = min(self.base * 2 ** (len(ages) - 1), self.longest)
        return max(0.0, pause - ages[0])

    def used_up(self, ages: Sequence[float]) -> bool:
        """Whether there have been as many restarts within the window as there may be."""
        return len(ages) >= self.restarts

    def __str__(self) -> str:
        return f"{self.restarts} restarts in {self.window.total_seconds() / 60:.0f} min"


@dataclass(frozen=True)
class Service:
    """A long-running job.

    `name` is its supervisord program. `stall_limit` is how long, in seconds, work may wait without any being done, or
    the service may be silent. `runbook` is what a person does whom the alert has woken.
    """

    name: str
    title: str
    probe: Probe
    runbook: str
    stall_limit: float = 60.0
    budget: Budget = Budget()

    def __str__(self) -> str:
        """The name alone: Airflow writes this into the serialized DAG, which must be the same at every parse."""
        return self.name

    @property
    def dag_id(self) -> str:
        """The DAG that watches it."""
        return f"service_{self.name.replace('-', '_')}"
