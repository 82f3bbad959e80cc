"""A uvicorn server whose streams end when it is told to stop: it would otherwise wait for them for ever."""

from __future__ import annotations

import socket

import uvicorn
from fastapi import FastAPI

_GRACE_SECONDS = 20
"""Seconds in which requests under way may finish: longer than Kafka is waited for."""


class Server(uvicorn.Server):
    """Serves `app`, and sets its `stopping` event before it waits for the open connections."""

    def __init__(self, app: FastAPI, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(
            uvicorn.Config(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=_GRACE_SECONDS)
        )
        self._stopping = app.state.stopping

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then as uvicorn does."""
        self._stopping.set()
        await super().shutdown(sockets)
