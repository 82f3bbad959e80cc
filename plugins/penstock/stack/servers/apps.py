"""Programs of ours that serve HTTP."""

from __future__ import annotations

from penstock.stack import ready
from penstock.stack.context import HOST, Context
from penstock.stack.servers.base import Server, python


def _command(context: Context, program: str, port: str) -> list[str]:
    return python("-m", f"apps.{program}", "--host", HOST, "--port", str(context.ports[port]))


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
