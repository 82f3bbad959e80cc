"""The watch over one service: look, judge, and restart what is dead or stalled.

It keeps no state that matters: whoever goes on with a watch, after Airflow was killed or in a new run, finds the
process at supervisord and the rest in the ledger, and takes it up as it is.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from penstock.core.errors import Retry
from penstock.core.service import Desired, State
from penstock.ledger.services import Orders, Services
from penstock.services.service import Service, Verdict
from penstock.services.supervisor import Process, Supervisor

LOOK_SECONDS = 5.0
"""How often a watch looks whether the process runs."""

SAMPLE_SECONDS = 10.0
"""How often it looks at what a healthy process does."""

KILL_SECONDS = 15.0
"""How long a stalled process may take to stop."""

_KILL_UNTIL_SECONDS = 120.0
_WRITE_SECONDS = 30.0
"""How often it writes down that nothing has changed."""

_SAMPLES = 64
_LONGEST_WATCH = timedelta(hours=3)


class End(StrEnum):
    """Why a watch is over."""

    HANDED_OVER = "handed over"
    EXPIRED = "expired"
    GAVE_UP = "gave up"


@dataclass(frozen=True)
class Look:
    """What one look has found and done. `news` are lines for the log, and `changed` says that the state is another."""

    state: State
    reason: str
    pid: int | None
    news: tuple[str, ...] = ()
    changed: bool = False
    end: End | None = None


class Watch:
    """Watches one service for `watcher`, who must have taken the watch in the ledger.

    It asks in blocking calls of a few seconds at most, one look at a time. However many watches there are, in whatever
    processes, a life of the service is restarted once.
    """

    def __init__(
        self,
        service: Service,
        supervisor: Supervisor,
        ledger: Services,
        watcher: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._supervisor = supervisor
        self._ledger = ledger
        self._watcher = watcher
        self._clock = clock
        self._samples: deque[Any] = deque(maxlen=_SAMPLES)
        self._life: tuple[int | None, int] | None = None
        self._verdict = Verdict(State.STARTING, "it was not looked at yet")
        self._last = Look(State.UNKNOWN, "", None)
        self._written = float("-inf")
        self._news: list[str] = []

    def look(self) -> Look:
        """Look once, and act on what is seen. What is away for a time makes the state unknown.

        Raises Fatal where the configuration is wrong.
        """
        self._news = []
        try:
            orders = self._ledger.orders(self._service.name, self._service.budget.window)
            if end := self._over(orders):
                return Look(self._last.state, _ENDS[end], self._last.pid, end=end)
            found = self._found(orders)
        except Retry as error:
            found = Look(State.UNKNOWN, str(error), self._last.pid)
        return self._told(found)

    def _over(self, orders: Orders) -> End | None:
        if orders.watcher != self._watcher:
            return End.HANDED_OVER
        if (orders.watched_for or 0.0) > _LONGEST_WATCH.total_seconds():
            return End.EXPIRED
        return None

    def _found(self, orders: Orders) -> Look:
        process = self._supervisor.process(self._service.name)
        if process.life != self._life:
            self._take_up(process)
        if orders.desired is Desired.STOPPED:
            return self._held(process, orders)
        if process.ended:
            return self._restart(State.DEAD, str(process), process, orders)
        if process.state == "STOPPED":
            self._act(process, orders, self._start)
            return Look(State.STARTING, "it was not running and is being started", None)
        if process.state == "STOPPING":
            return self._stopping(process, orders)
        if not process.runs:
            return Look(State.STARTING, str(process), process.pid)
        verdict = self._judged()
        if verdict.state is State.STALLED:
            return self._restart(State.STALLED, verdict.reason, process, orders)
        return Look(verdict.state, verdict.reason, process.pid)

    def _take_up(self, process: Process) -> None:
        """Begin to watch a life of the process, whoever started it."""
        self._samples.clear()
        self._life = process.life
        if process.pid:
            self._news.append(f"it runs as process {process.pid}")

    def _held(self, process: Process, orders: Orders) -> Look:
        if process.state in {"RUNNING", "STARTING", "BACKOFF"}:
            self._act(process, orders, self._stop)
        return Look(State.STOPPED, f"stopped by {orders.desired_by}", process.pid)

    def _stopping(self, process: Process, orders: Orders) -> Look:
        """A stalled process that a watch has told to stop is not waited for as long as one that a person stops."""
        if orders.restart_ages and KILL_SECONDS <= orders.restart_ages[0] < _KILL_UNTIL_SECONDS:
            self._act(process, orders, lambda: self._supervisor.kill(self._service.name))
        return Look(State.STARTING, "it is stopping, and will be started again", process.pid)

    def _judged(self) -> Verdict:
        now = self._clock()
        # What may be in trouble is looked at more closely.
        healthy = self._samples and self._verdict.state is State.HEALTHY
        if not healthy or now - self._samples[-1].at >= SAMPLE_SECONDS:
            self._samples.append(self._service.probe.sample(now))
            self._verdict = self._service.probe.judge(list(self._samples), self._service.stall_limit)
        return self._verdict

    def _restart(self, state: State, reason: str, process: Process, orders: Orders) -> Look:
        budget, ages = self._service.budget, orders.restart_ages
        if budget.used_up(ages) and ages[0] < (orders.watched_for or 0.0):
            self._show_log()
            return Look(state, f"{reason}; it is left so after {budget}", process.pid, end=End.GAVE_UP)
        if wait := budget.wait(ages):
            return Look(state, f"{reason}; to be restarted after a pause of {_pause(ages, wait)} s", process.pid)
        self._act(process, orders, lambda: self._restart_now(state, reason))
        return Look(state, f"{reason}; restarted", process.pid)

    def _restart_now(self, state: State, reason: str) -> None:
        self._ledger.restarted(self._service.name, f"{state}: {reason}")
        self._news.append(f"restarting it, because it is {state}: {reason}")
        self._show_log()
        # Where it has to stop first, a later look finds it stopped, and starts it.
        if state is State.STALLED:
            self._stop()
        else:
            self._start()

    def _act(self, seen: Process, orders: Orders, action: Callable[[], None]) -> None:
        """Do it, if nobody else is at work on the service, and process and orders are still those that were seen."""
        name = self._service.name
        with self._ledger.only_one(name) as alone:
            if not alone:
                return
            process = self._supervisor.process(name)
            now = self._ledger.orders(name, self._service.budget.window)
            if (process.life, process.state, now.desired, now.watcher) == (
                seen.life,
                seen.state,
                orders.desired,
                orders.watcher,
            ):
                action()

    def _start(self) -> None:
        self._supervisor.start(self._service.name)

    def _stop(self) -> None:
        self._supervisor.stop(self._service.name)

    def _show_log(self) -> None:
        lines = self._supervisor.log_tail(self._service.name)
        self._news += ["the end of its log:", *(f"  {line}" for line in lines)] if lines else ["its log is empty"]

    def _told(self, found: Look) -> Look:
        """The look with its news, written to the ledger where it is new, or at least now and then."""
        changed = found.state is not self._last.state
        if changed:
            self._news.append(f"{found.state}: {found.reason}")
        now = self._clock()
        if changed or found.reason != self._last.reason or now - self._written >= _WRITE_SECONDS:
            try:
                self._ledger.seen(self._service.name, found.state, found.reason, found.pid)
                self._written = now
            except Retry as error:
                if found.state is not State.UNKNOWN:
                    self._news.append(str(error))
        self._last = found
        return Look(found.state, found.reason, found.pid, tuple(self._news), changed, found.end)


_ENDS = {
    End.HANDED_OVER: "another run watches it from now on",
    End.EXPIRED: "no newer run has taken over: is its DAG paused?",
}


def _pause(ages: tuple[float, ...], wait: float) -> str:
    """The whole pause since the last restart: the same at every look, so that it is written down once."""
    return f"{ages[0] + wait:.0f}"
