"""Up to when the minutes of streams are out, written down for whoever asks how fresh they are.

A consumer group that counts minutes says in its commits how far it is, and the counts are in InfluxDB before. That is
read here anyway. So the consumers need no ledger to go on, and the ledger knows also while nobody looks at Prometheus.
"""

from __future__ import annotations

from collections.abc import Iterable

from penstock.core.stream import Stream
from penstock.kafka.group_lags import Lags
from penstock.ledger.streams import Streams


def note(ledger: Streams, streams: Iterable[Stream], lags: Lags) -> None:
    """Write down what the groups of these streams say. Raises Retry where the ledger is away."""
    for stream in streams:
        closed = lags.closed_before(stream.counted_by, stream.topic)
        if closed is not None:
            ledger.closed(stream.name, closed)
