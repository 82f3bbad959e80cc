"""The replay API on a free port, for tests that want real HTTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import requests

from apps.replay_api.app import create_app
from apps.server import Server


@contextmanager
def serve(now: datetime | None = None) -> Iterator[str]:
    """Serve the replay API on the loopback; yields its base URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(create_app(now))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        requests.get(f"{base}/healthz", timeout=10).raise_for_status()  # the socket listens, so this waits its turn
        try:
            yield base
        finally:
            server.should_exit = True
            thread.join()
