"""Pauses between tries that grow, with jitter, so that many do not come back at once."""

from __future__ import annotations

import random

_FIRST_SECONDS = 0.5
_LONGEST_SECONDS = 30.0


class Backoff:
    """Each pause is at most twice as long as the one before."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """It went well: the next pause is a short one."""
        self._limit = _FIRST_SECONDS

    def next(self) -> float:
        """Seconds to wait."""
        pause = self._limit * random.uniform(0.5, 1.0)
        self._limit = min(2 * self._limit, _LONGEST_SECONDS)
        return pause
