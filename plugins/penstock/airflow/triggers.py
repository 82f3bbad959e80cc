"""Triggers: what waits in the triggerer, where a thousand of them share one process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk.execution_time.xcom import XCom
from airflow.triggers.base import BaseTrigger, TriggerEvent

from penstock.core.errors import Fatal, PenstockError, Retry
from penstock.core.settings import Supervisor, ledger_url
from penstock.services import service_now

if TYPE_CHECKING:
    from penstock.ledger.services import Services
    from penstock.services.landing_wait import LandingWait
    from penstock.services.watch import Look, Watch

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

STATE_KEY = "state"
"""The XCom of a watch with the service's state and its reason."""

_THREADS = ThreadPoolExecutor(16, thread_name_prefix="watch")
"""Watches ask in blocking calls: in threads of their own, so that no other trigger waits for them."""


class ServiceTrigger(BaseTrigger):
    """Watches one service until another run takes over, or its restart budget is used up.

    It restarts what is dead or stalled by itself: no worker is needed for that, and no scheduler. The lines of a look
    go to the task's log, and a new state to its XCom `state`. A triggerer that dies takes nothing with it: the trigger
    begins again in the next one, and finds the service as it is.

    Args:
        service: The name of the service.
        watcher: Who took the watch in the ledger.
    """

    def __init__(self, service: str, watcher: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.service = service
        self.watcher = watcher

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the triggerer needs to make it again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {"service": self.service, "watcher": self.watcher},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: {"end": why the watch is over, "state": ..., "reason": ..., "news": the last lines}."""
        from penstock.services.watch import LOOK_SECONDS

        try:
            watch = await _in_thread(self._watch)
            while (look := await _in_thread(watch.look)).end is None:
                await self._tell(look)
                await asyncio.sleep(LOOK_SECONDS)
        except Fatal as error:
            yield _event("error", "unknown", str(error), ())
            return
        yield _event(str(look.end), str(look.state), look.reason, look.news)

    def _watch(self) -> Watch:
        from penstock.services import supervisor
        from penstock.services.watch import Watch

        client = supervisor.Supervisor(Supervisor.from_env())
        return Watch(service_now(self.service), client, _ledger(ledger_url()), self.watcher)

    async def _tell(self, look: Look) -> None:
        for line in look.news:
            self.log.info("%s", line)
        if look.changed and self.task_instance is not None:
            await _in_thread(lambda: self._show(look))

    def _show(self, look: Look) -> None:
        """Put the state where the UI shows it beside the task. A watch goes on without it."""
        instance = self.task_instance
        if instance is None:
            return
        try:
            XCom.set(
                key=STATE_KEY,
                value={"state": str(look.state), "reason": look.reason, "pid": look.pid},
                dag_id=instance.dag_id,
                task_id=instance.task_id,
                run_id=instance.run_id,
                map_index=instance.map_index,
            )
        except Exception as error:  # noqa: BLE001 - whatever keeps Airflow from writing it, the service is watched
            log.warning("the state of %s could not be written as an XCom: %s", self.service, type(error).__name__)


class LandingTrigger(BaseTrigger):
    """Waits until a pipeline's stream has landed up to some offsets: see `LandingWait`.

    Args:
        pipeline: The pipeline's name.
        wanted: {partition: one past the last offset}; XComs make the keys text.
    """

    def __init__(self, pipeline: str, wanted: Mapping[Any, int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.pipeline = pipeline
        self.wanted = {int(partition): end for partition, end in wanted.items()}

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the triggerer needs to make it again."""
        wanted = {str(partition): end for partition, end in self.wanted.items()}
        return f"{type(self).__module__}.{type(self).__qualname__}", {"pipeline": self.pipeline, "wanted": wanted}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: {} once all has landed, else the error as {"kind": ..., "message": ...}."""
        from penstock.services.landing_wait import LOOK_SECONDS

        try:
            wait = await _in_thread(self._wait)
            while not await _in_thread(wait.over):  # noqa: ASYNC110 - Kafka tells nobody, it has to be asked
                await asyncio.sleep(LOOK_SECONDS)
        except PenstockError as error:
            kind = Retry if isinstance(error, Retry) else Fatal
            yield TriggerEvent({"kind": kind.__name__, "message": str(error)})  # type: ignore[no-untyped-call]
            return
        yield TriggerEvent({})  # type: ignore[no-untyped-call]

    def _wait(self) -> LandingWait:
        from penstock.pipelines import PIPELINES
        from penstock.services.landing_wait import LandingWait, looks

        pipeline = PIPELINES[self.pipeline]
        return LandingWait(pipeline, self.wanted, looks(pipeline))


def _event(end: str, state: str, reason: str, news: Sequence[str]) -> TriggerEvent:
    return TriggerEvent(  # type: ignore[no-untyped-call]
        {"end": end, "state": state, "reason": reason, "news": list(news)}
    )


@cache
def _ledger(url: str) -> Services:
    """One session for all watches of this process."""
    from penstock.ledger.services import Services

    return Services(url)


async def _in_thread(ask: Callable[[], Answer]) -> Answer:
    return await asyncio.get_running_loop().run_in_executor(_THREADS, ask)
