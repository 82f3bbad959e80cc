"""Twenty watched services: what watching costs, and how soon a dead or stalled one is back.

The triggers run as in a triggerer, in one event loop and with real probes, half of them on a consumer group's lag; the
services are small programs, so that the figures are those of the watch and not of a JVM's start.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import structlog

from penstock.core.service import State
from penstock.kafka.topics import Topic, ensure
from penstock.services.backlog import Records
from penstock.services.flume_health import FlumeProbe
from penstock.services.service import Budget, Service
from penstock.services.supervisor import Supervisor
from penstock.stack.context import Context
from tests import airflow_home
from tests.bench.lines import Line
from tests.services import Agents, agents

_SERVICES = 20
_IDLE_SECONDS = 60.0
_KILLS = 5
_STOP_SECONDS = 60
_CPU_GOAL = 0.05
_DEAD_GOAL_SECONDS = 30.0
_STALLED_GOAL_SECONDS = 120.0


def run(context: Context, scale: float) -> list[Line]:
    """Measure all three; `scale` shortens the time over which the processor's is measured."""
    listed = [f"bench-agent-{number:02}" for number in range(_SERVICES)]
    with tempfile.TemporaryDirectory() as folder, agents(Path(folder), listed, stop_seconds=_STOP_SECONDS) as running:
        told = airflow_home.ENVIRONMENT | {
            "LEDGER_URL": context.ledger_url,
            "KAFKA_BOOTSTRAP_SERVERS": context.environment()["KAFKA_BOOTSTRAP_SERVERS"],
            "SCHEMA_REGISTRY_URL": context.registry_url,
            "SUPERVISOR_URL": running.at.url,
            "SUPERVISOR_USER": running.at.user,
            "SUPERVISOR_PASSWORD": running.at.password,
        }
        with patch.dict(os.environ, told):
            services = {name: running.service(name, budget=Budget()) for name in listed}
            topic = f"bench{uuid.uuid4().hex[:8]}"  # that nobody writes to: else the agents' groups would lag behind
            ensure(told["KAFKA_BOOTSTRAP_SERVERS"], [Topic(topic, 3)])
            for name in listed[: _SERVICES // 2]:
                services[name] = _on_a_topic(services[name], topic)
            return asyncio.run(_measure(context, running, services, scale))


def _on_a_topic(service: Service, topic: str) -> Service:
    """The service with a consumer group's lag as its backlog."""
    assert isinstance(service.probe, FlumeProbe)
    backlog = Records(lambda: topic, group=service.name)
    return replace(service, probe=replace(service.probe, backlog=backlog))


async def _measure(context: Context, running: Agents, services: dict[str, Service], scale: float) -> list[Line]:
    from penstock.airflow import triggers
    from penstock.ledger.services import Services

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))  # or it buries the table
    ledger = Services(context.ledger_url)
    with patch.object(triggers, "SERVICES", services):
        for name in services:
            ledger.take_watch(name, "bench")
        watches = [asyncio.create_task(_run(triggers.ServiceTrigger(name, "bench"))) for name in services]
        bench = _Bench(running, services, ledger.rows)
        try:
            started = await bench.all_healthy()
            cpu = await _cpu_share(_IDLE_SECONDS * scale)
            dead = [await bench.back_after(name, signal.SIGKILL) for name in list(services)[:_KILLS]]
            frozen, stuck = list(services)[-2:]
            stalled = list(
                await asyncio.gather(bench.back_after(frozen, signal.SIGSTOP), bench.back_after_stuck(stuck))
            )
        finally:
            for each in watches:
                each.cancel()
            ledger.close()
    return _lines(cpu, started, dead, stalled)


def _lines(cpu: float, started: float, dead: list[float], stalled: list[float]) -> list[Line]:
    return [
        {
            "name": f"{_SERVICES} watched services: share of a core",
            "value": cpu,
            "unit": "cores",
            "goal": f"under {_CPU_GOAL:g}",
            "met": cpu < _CPU_GOAL,
        },
        {
            "name": f"killed service: until it runs and is healthy, worst of {len(dead)}",
            "value": max(dead),
            "unit": "s",
            "baseline": "p50",
            "baseline_value": statistics.median(dead),
            "goal": f"at most {_DEAD_GOAL_SECONDS:.0f} s",
            "met": max(dead) <= _DEAD_GOAL_SECONDS,
        },
        *(
            {
                "name": f"stalled service ({how}): until it runs and is healthy",
                "value": seconds,
                "unit": "s",
                "baseline": f"all {_SERVICES} from nothing",
                "baseline_value": started,
                "goal": f"at most {_STALLED_GOAL_SECONDS:.0f} s",
                "met": seconds <= _STALLED_GOAL_SECONDS,
            }
            for how, seconds in zip(("frozen", "drains nothing"), stalled, strict=True)
        ),
    ]


async def _run(trigger: Any) -> None:
    async for event in trigger.run():
        raise AssertionError(f"a watch ended: {event}")


async def _cpu_share(seconds: float) -> float:
    """The processor time of this process, which does nothing but watch, over the time that passes."""
    began, busy = time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    return (time.process_time() - busy) / (time.perf_counter() - began)


class _Bench:
    """Breaks services, and waits until they are back."""

    def __init__(self, running: Agents, services: dict[str, Service], rows: Callable[..., Any]) -> None:
        self._running, self._services, self._rows = running, services, rows
        self._client: Supervisor = running.client()

    async def all_healthy(self) -> float:
        return await _seconds_until(lambda: all(row.state is State.HEALTHY for row in self._rows(list(self._services))))

    async def back_after(self, name: str, sign: signal.Signals) -> float:
        pid = self._pid(name)
        os.kill(pid, sign)
        return await self._back(name, pid)

    async def back_after_stuck(self, name: str) -> float:
        """The agent lives on and drains nothing; the one that comes after it is in order."""
        pid, spool = self._pid(name), self._running.spool(name)
        (spool / ".stuck").touch()
        (spool / "file").touch()
        return await self._back(name, pid, lambda: (spool / ".stuck").unlink(missing_ok=True))

    async def _back(self, name: str, before: int, repaired: Callable[[], None] = lambda: None) -> float:
        def back() -> bool:
            now = self._client.process(name)
            if now.pid != before:
                repaired()
            (row,) = self._rows([name])
            return now.runs and now.pid not in (before, None) and row.pid == now.pid and row.state is State.HEALTHY

        return await _seconds_until(back)

    def _pid(self, name: str) -> int:
        pid = self._client.process(name).pid
        assert pid is not None, f"{name} does not run"
        return pid


async def _seconds_until(done: Callable[[], bool]) -> float:
    began = time.perf_counter()
    while not done():  # noqa: ASYNC110 - what is waited for are other processes
        await asyncio.sleep(0.2)
    return time.perf_counter() - began
