"""New dead letters reach the ledger while somebody looks at the page."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from penstock.core.errors import PenstockError
from penstock.core.settings import Kafka
from penstock.ledger.dead_letters import DeadLetters
from penstock.pipelines import find_data_sets

_EVERY_SECONDS = 10.0
_TIMEOUT_SECONDS = 10.0


class LetterNews:
    """Takes new letters up beside the requests, which Kafka must not hold up: the page's next refresh shows them."""

    def __init__(self, letters: Callable[[], DeadLetters]) -> None:
        self._letters = letters
        self._pool = ThreadPoolExecutor(1, "letter-news")
        self._asked: float | None = None
        self._at_work: Future[str | None] | None = None
        self._lacking: str | None = None

    def ask(self) -> str | None:
        """Begin to take new letters up, unless that was just done; return why the last try failed, or None."""
        if self._at_work is not None and self._at_work.done():
            finished, self._at_work = self._at_work, None
            self._lacking = finished.result()
        now = time.monotonic()
        if self._at_work is None and (self._asked is None or now - self._asked >= _EVERY_SECONDS):
            self._asked = now
            self._at_work = self._pool.submit(self._take_up)
        return self._lacking

    def _take_up(self) -> str | None:
        try:
            topics = find_data_sets().dead_letter_topics
            self._letters().take_up(Kafka.from_env(), topics, timeout=_TIMEOUT_SECONDS)
        except PenstockError as error:
            return str(error)
        return None
