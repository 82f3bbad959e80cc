"""What a run waits for where a stream lands its records: that the stream has come past them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from penstock.core.counts import Produced
from penstock.core.errors import Fatal, Retry
from penstock.core.pipeline import Pipeline
from penstock.core.service import Desired
from penstock.services.supervisor import Process

LOOK_SECONDS = 2.0
STALL_SECONDS = 180.0
"""How long the stream may stand still: a watch that finds it dead starts it anew several times in this."""


class Looks(Protocol):
    """Where the stream's progress and its process are looked up; each raises Retry where what it asks is away."""

    def progress(self) -> Mapping[int, int]:
        """{partition: one past the last offset that has landed}."""
        ...

    def desired(self) -> Desired:
        """What a person wants of the service."""
        ...

    def process(self) -> Process:
        """What supervisord knows of it. Raises Fatal where it has no such program."""
        ...


def ends(batches: Iterable[Produced]) -> dict[int, int]:
    """{partition: one past the last offset of the batches' records, and of those that they took up}."""
    wanted: dict[int, int] = {}
    for each in (part for batch in batches for part in (*batch.ranges, *batch.claimed)):
        wanted[each.partition] = max(each.end, wanted.get(each.partition, 0))
    return wanted


class LandingWait:
    """Waits for a pipeline's stream to come to the `wanted` ends, look by look."""

    def __init__(
        self,
        pipeline: Pipeline,
        wanted: Mapping[int, int],
        looks: Looks,
        *,
        stall_limit: float = STALL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pipeline = pipeline
        self._wanted = wanted
        self._looks = looks
        self._stall_limit = stall_limit
        self._clock = clock
        self._left: int | None = None
        self._moved = clock()

    def over(self) -> bool:
        """Whether all has landed.

        Raises Retry where the stream does not get on for the stall limit, in seconds, and Fatal where it was stopped by
        a person, or there is no such service.
        """
        left = None
        try:
            left = self._offsets_left()
            if self._left is None or left < self._left:
                self._left, self._moved = left, self._clock()
            state = self._state(left) if left else ""
        except Retry as error:
            state = str(error)
        if left == 0:
            return True
        stood = self._clock() - self._moved
        if stood >= self._stall_limit:
            raise Retry(
                f"{self._pipeline.landing_service} does not get on with {self._pipeline.topic}: {state}, and for "
                f"{stood:.0f} s none of the offsets that this run waits for has landed, of {self._left or 'many'}: "
                "its log says why"
            )
        return False

    def _offsets_left(self) -> int:
        landed = self._looks.progress()
        return sum(max(0, end - landed.get(partition, 0)) for partition, end in self._wanted.items())

    def _state(self, left: int) -> str:
        service, process = self._pipeline.landing_service, self._looks.process()
        if self._looks.desired() is Desired.STOPPED:
            raise Fatal(
                f"{service}, which lands {self._pipeline.topic}, was stopped with {left} offsets of this run to go: "
                f"start it with `penstock service start {service}`, and clear this task"
            )
        return "it runs" if process.runs else str(process)


def looks(pipeline: Pipeline) -> Looks:
    """The real ones, by the addresses in the environment."""
    return _Servers(pipeline)


class _Servers:
    def __init__(self, pipeline: Pipeline) -> None:
        from penstock.core import settings
        from penstock.kafka.lag import Lag
        from penstock.services.supervisor import Supervisor

        self._pipeline = pipeline
        self._lag = Lag(settings.Kafka.from_env())
        self._supervisor = Supervisor(settings.Supervisor.from_env())
        self._ledger_url = settings.ledger_url()

    def progress(self) -> Mapping[int, int]:
        return self._lag.progress(self._pipeline.landing_service, self._pipeline.topic)

    def desired(self) -> Desired:
        from contextlib import closing

        from penstock.ledger.services import Services

        with closing(Services(self._ledger_url)) as ledger:
            rows = ledger.rows([self._pipeline.landing_service])
        return rows[0].desired if rows else Desired.STARTED

    def process(self) -> Process:
        return self._supervisor.process(self._pipeline.landing_service)
