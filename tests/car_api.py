"""The car API on a free port, for tests that want real HTTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import requests

from apps.car_api.app import create_app
from apps.server import Server
from penstock.core import settings
from penstock.core.contract import Contract
from penstock.kafka.courier import Courier

CONTRACT = Contract.load(settings.INCLUDE / "avro" / "car-transactions-logs.avsc")


def _utc_now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def serve(courier: Courier, now: Callable[[], datetime] = _utc_now) -> Iterator[str]:
    """Serve the car API on the loopback; yields its base URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(create_app(CONTRACT, courier, now))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        requests.get(f"{base}/livez", timeout=30).raise_for_status()  # the socket listens, so this waits its turn
        try:
            yield base
        finally:
            server.should_exit = True
            thread.join()
