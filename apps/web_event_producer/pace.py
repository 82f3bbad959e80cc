"""A steady rate, whatever each turn takes."""

from __future__ import annotations

import time
from collections.abc import Callable

_TURN_SECONDS = 0.05
_MADE_UP_SECONDS = 1.0


class Pace:
    """Says how many events are due at `rate` a second. What was missed is made up for, but not more than a second's."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._turn = self._next = clock()

    def due(self, most: int) -> int:
        """How many events to make now, at most `most`. They count as made."""
        self._turn = self._clock()
        self._next = max(self._next, self._turn - _MADE_UP_SECONDS)
        if self._turn < self._next:
            return 0
        count = min(most, int((self._turn - self._next) * self._rate) + 1)
        self._next += count / self._rate
        return count

    def wait(self) -> float:
        """Seconds to the next turn: 0 where events are overdue, and at most so many that a stop is soon noticed."""
        now = self._clock()
        if self._next <= self._turn:
            return 0.0
        return max(0.0, self._turn + _TURN_SECONDS - now)

    def restart(self) -> None:
        """Forget what is due: after a time in which nothing could be made."""
        self._next = self._clock()
