"""The two streams for tests: their services on the shared stack, which holds them unless a test lets them run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

from penstock.core.service import Desired
from penstock.core.stream import Stream
from penstock.ledger.services import Services
from penstock.ledger.stream_verdicts import StreamRow, judge, whole_minutes_since
from penstock.services import control

WIKI_SERVICES = ("flume-wiki-spool", "flume-wiki-hdfs", "wiki-edits-minute", "recentchange-collector")
EVENT_SERVICES = ("flume-events-tail", "flume-events-hdfs", "price-consumer-1", "web-event-producer")
HELD = (*WIKI_SERVICES, *EVENT_SERVICES, "kafka-lag-exporter")
"""What a stack of tests or benches does not run all the time: it would slow down what they measure and wait for."""

PATIENCE_SECONDS = 240.0


@contextmanager
def running(stack: Any, names: Sequence[str]) -> Iterator[None]:
    """Run these services during the block, those that others feed from first."""
    with closing(Services(stack.context.ledger_url)) as ledger:
        for name in names:
            ledger.desire(name, Desired.STARTED, "a test")
            stack.start(name)
        try:
            yield
        finally:
            for name in reversed(names):
                control.stop(name, stack.context.supervisor.client, ledger, "a test")


def judged(stack: Any, stream: Stream, began: datetime, until: datetime | None = None) -> StreamRow:
    """The verdict on all whole minutes since `began`, at least one, and the minute of `until` among them."""
    while (found := whole_minutes_since(began, datetime.now(UTC))) is None or found.end < (until or began):
        time.sleep(1)
    return judge(stream, found, stack.environment(), PATIENCE_SECONDS)
