"""Waiting for a server that is away for a while."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from penstock.core.errors import Retry

Answer = TypeVar("Answer")

PATIENCE_SECONDS = 60.0
"""How long a sink's server may be away, where nobody says otherwise."""

_SHORTEST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0


class Patience:
    """How long a server may be away: `seconds` without any progress."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.renew()

    def renew(self) -> None:
        """There was progress: start anew."""
        self._deadline = time.monotonic() + self._seconds
        self._pause = _SHORTEST_PAUSE_SECONDS

    def wait(self, error: Retry) -> None:
        """Pause before another try: as long as the server asks for, else longer each time.

        Raises `error` where the time is over, or would be after the pause that the server asks for.
        """
        left = self._deadline - time.monotonic()
        if left <= (error.retry_after or 0):
            raise error
        if error.retry_after is not None:
            time.sleep(error.retry_after)
            return
        time.sleep(min(left, self._pause * random.uniform(0.5, 1.0)))
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)


def outlast(seconds: float, call: Callable[[], Answer]) -> Answer:
    """What `call` returns, called again while it raises Retry. Raises that Retry after `seconds`."""
    patience = Patience(seconds)
    while True:
        try:
            return call()
        except Retry as error:
            patience.wait(error)
