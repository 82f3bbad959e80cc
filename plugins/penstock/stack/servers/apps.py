"""Programs of ours that serve HTTP."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from penstock.services import PRICE_CONSUMERS
from penstock.stack import ready
from penstock.stack.context import HOST, Context
from penstock.stack.servers.base import Server, nothing, python


def _command(context: Context, program: str, port: str) -> list[str]:
    return python("-m", f"apps.{program}", "--host", HOST, "--port", str(context.ports[port]))


def status_app(
    program: str,
    port: str,
    needs: tuple[str, ...],
    prepare: Callable[[Context], None] = nothing,
    wanted: Callable[[Context], bool] = lambda _: True,
) -> Server:
    """A program with a status server."""
    return Server(
        name=port.replace("_", "-"),
        title=port.replace("_", " "),
        ports=(port,),
        needs=("provision", *needs),
        command=partial(_command, program=program, port=port),
        prepare=prepare,
        ready=partial(ready.status_server, port=port),
        stop_seconds=50,
        wanted=wanted,
    )


REPLAY_API = Server(
    name="replay-api",
    title="replay of recorded sources",
    ports=("replay",),
    command=lambda context: _command(context, "replay_api", "replay"),
    ready=ready.replay,
    wanted=lambda context: context.replay,
)

CAR_API = Server(
    name="car-api",
    title="car API",
    ports=("car_api",),
    needs=("kafka", "provision"),
    command=lambda context: _command(context, "car_api", "car_api"),
    ready=ready.car_api,
)

RECENTCHANGE_COLLECTOR = status_app(
    "recentchange_collector",
    "recentchange_collector",
    ("replay-api",),
    lambda context: (context.spool / "wiki").mkdir(parents=True, exist_ok=True),
)

WEB_EVENT_PRODUCER = status_app(
    "web_event_producer",
    "web_event_producer",
    (),
    lambda context: context.layout.data("logs").mkdir(parents=True, exist_ok=True),
)

PRICE_CONSUMER = tuple(
    status_app("price_consumer", f"price_consumer_{number}", ("kafka", "influxdb"))
    for number in range(1, PRICE_CONSUMERS + 1)
)

KAFKA_LAG_EXPORTER = status_app("kafka_lag_exporter", "kafka_lag_exporter", ("kafka",))
