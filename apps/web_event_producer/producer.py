"""The loop that makes events and writes them, and what it says about itself."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge

from apps.minutes import answer
from apps.status_server import Health
from apps.web_event_producer.catalogue import make_catalogue
from apps.web_event_producer.counts import MinuteCounts
from apps.web_event_producer.log_files import Full, LogFiles
from apps.web_event_producer.pace import Pace
from apps.web_event_producer.visitors import Visitors
from penstock.core.settings import WebEventLogs

LOG = logging.getLogger(__name__)

_MOST_AT_ONCE = 4096
_LARGEST_EVENT = 512
_FULL_SECONDS = 0.5
_STUCK_SECONDS = 10.0


class Producer:
    """Makes events until it is told to stop. To be made within `only_producer`."""

    def __init__(self, settings: WebEventLogs, registry: CollectorRegistry) -> None:
        """Raises Fatal where the counts of earlier events can't be read."""
        self._settings = settings
        self._counts = MinuteCounts(settings.folder / ".counts.json")
        self._files = LogFiles(settings, self._counts)
        self._visitors = Visitors(make_catalogue())
        self._encoder = msgspec.json.Encoder()
        self._most = min(_MOST_AT_ONCE, settings.file_bytes // _LARGEST_EVENT)
        self._full: str | None = None
        self._alive = time.monotonic()
        self._created = Counter("web_events_created", "Events written since the start.", registry=registry)
        Gauge("web_event_log_bytes", "Bytes of all log files.", registry=registry).set_function(
            lambda: self._files.total
        )
        Gauge("web_event_log_files_deleted", "Log files deleted since the start.", registry=registry).set_function(
            lambda: self._files.deleted
        )
        Gauge("web_event_producer_waits", "1 while there is no room for events.", registry=registry).set_function(
            lambda: self._full is not None
        )

    def run(self, stopping: threading.Event) -> None:
        """Make events until `stopping` is set, then finish the file. Raises OSError where files can't be written."""
        pace = Pace(self._settings.rate)
        while not stopping.is_set():
            self._alive = time.monotonic()
            try:
                self._turn(pace.due(self._most))
            except Full as full:
                self._wait_for_room(str(full))
                stopping.wait(_FULL_SECONDS)
                pace.restart()
            else:
                stopping.wait(pace.wait())
        self._files.finish()

    def health(self) -> Health:
        """503: there is no room for events. 500: the loop does not get on."""
        detail: dict[str, Any] = {
            "events_per_second": self._settings.rate,
            "log_bytes": self._files.total,
            "log_bytes_limit": self._settings.total_bytes,
        }
        stuck = time.monotonic() - self._alive
        if stuck > _STUCK_SECONDS:
            return Health(
                HTTPStatus.INTERNAL_SERVER_ERROR, {"reason": f"nothing was written for {stuck:.0f} s", **detail}
            )
        if self._full is not None:
            return Health(HTTPStatus.SERVICE_UNAVAILABLE, {"reason": self._full, **detail})
        return Health(HTTPStatus.OK, detail)

    def counts(self, question: Mapping[str, str]) -> dict[str, Any]:
        """The events created in each minute; see `apps.minutes.answer`."""
        return answer(self._counts.by_minute(), question)

    def _turn(self, count: int) -> None:
        if not count:
            self._files.finish_if_due()
            return
        times = self._times(count)
        lines = self._encoder.encode_lines(self._visitors.events(times))
        written = self._files.write(lines)
        whole = count if written == len(lines) else lines.count(b"\n", 0, written)
        self._counts.add(times[:whole])
        self._created.inc(whole)
        if self._full is not None:
            LOG.info("there is room again: events are made as before")
            self._full = None

    def _times(self, count: int) -> list[int]:
        """The last so many moments at the rate, up to now, in ms since the epoch."""
        now, step = time.time() * 1000, 1000 / self._settings.rate
        return [int(now - step * back) for back in range(count - 1, -1, -1)]

    def _wait_for_room(self, reason: str) -> None:
        if self._full is None:
            LOG.warning("no events are made: %s", reason)
        self._full = reason
