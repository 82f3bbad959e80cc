"""The health of a Flume agent by its counters: a JVM that answers is no sign that events get anywhere.

The counters are described in https://flume.apache.org/releases/content/1.11.0/FlumeUserGuide.html#available-component-metrics
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from http.client import HTTPException
from typing import Any, TypeAlias
from urllib.request import urlopen

from penstock.core.errors import Retry
from penstock.core.service import State
from penstock.services.backlog import Backlog
from penstock.services.service import Verdict

_TIMEOUT_SECONDS = 4.0

Counters: TypeAlias = Mapping[str, Mapping[str, str]]
"""{"SINK.name": {counter: value}}."""

_NEARLY_FULL = 90.0


class Deliverer(StrEnum):
    """What of an agent hands the events over to where they belong.

    A source does where its channel is the Kafka topic itself, and an agent has no sink.
    """

    SINK = "SINK"
    SOURCE = "SOURCE"


_DELIVERED = {Deliverer.SINK: "EventDrainSuccessCount", Deliverer.SOURCE: "EventAcceptedCount"}


@dataclass(frozen=True)
class Channel:
    """`size` is the events in it, `fill` the percentage of its capacity, None where it has no limit of its own."""

    name: str
    size: int
    fill: float | None


@dataclass(frozen=True)
class Sample:
    """One look at an agent at the moment `at`, in seconds of the monotonic clock.

    `drained` is how many events it has delivered in this life of the process, None where it did not answer. `waiting`
    is what waits for it outside, None where that is not known, and `unknown` then says why.
    """

    at: float
    drained: int | None = None
    channels: tuple[Channel, ...] = ()
    waiting: int | None = None
    unit: str = "events"
    unknown: str = ""

    @property
    def in_channels(self) -> int:
        """Events that were taken in and not delivered yet."""
        return sum(channel.size for channel in self.channels)

    @property
    def has_work(self) -> bool:
        """Whether something is known to wait, inside or outside."""
        return self.in_channels > 0 or bool(self.waiting)

    @property
    def work(self) -> str:
        """What waits, in words."""
        outside = [f"{self.waiting} {self.unit} wait"] if self.waiting else []
        inside = [f"{self.in_channels} events are in its channels"] if self.in_channels else []
        return " and ".join([*outside, *inside])


@dataclass(frozen=True)
class FlumeProbe:
    """Reads an agent's counters over HTTP, and measures what waits for it.

    `metrics` gives the address of its counters when it is needed, and not when a DAG file is parsed.
    """

    metrics: Callable[[], str]
    backlog: Backlog
    deliverer: Deliverer = Deliverer.SINK

    def sample(self, at: float) -> Sample:
        """One look. Raises Fatal where an address is not set."""
        found = counters(self.metrics())
        if found is None:
            return Sample(at)
        try:
            waiting, unknown = self.backlog.waiting(), ""
        except Retry as error:
            waiting, unknown = None, str(error)
        return read(found, at, self.deliverer, waiting=waiting, unit=self.backlog.unit, unknown=unknown)

    def judge(self, samples: Sequence[Sample], stall_limit: float) -> Verdict:
        """See `judge`."""
        return judge(samples, stall_limit)


def counters(url: str) -> Counters | None:
    """What an agent counts, or None where it does not answer."""
    try:
        with urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - the address is our own configuration
            found = json.load(answer)
    except (OSError, HTTPException, ValueError):
        return None
    of_components = isinstance(found, dict) and all(isinstance(each, dict) for each in found.values())
    return found if of_components else None


def read(
    counters: Mapping[str, Mapping[str, Any]], at: float, deliverer: Deliverer = Deliverer.SINK, **outside: Any
) -> Sample:
    """The sample in an agent's answer. Components that it has lost are not in it, and so deliver nothing."""
    drained = sum(int(values.get(_DELIVERED[deliverer], 0)) for _, values in _kind(counters, deliverer))
    channels = tuple(_channel(name, channel) for name, channel in _kind(counters, "CHANNEL"))
    return Sample(at, drained, channels, **outside)


def _kind(counters: Mapping[str, Mapping[str, Any]], kind: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, values in sorted(counters.items()):
        found, _, name = key.partition(".")
        if found == kind:
            yield name, values


def _channel(name: str, counters: Mapping[str, Any]) -> Channel:
    # A Kafka channel has no capacity, and reports the greatest double as its fill.
    limited = int(counters.get("ChannelCapacity", 0)) > 0
    fill = float(counters.get("ChannelFillPercentage", 0)) if limited else None
    return Channel(name, int(counters.get("ChannelSize", 0)), fill)


def judge(samples: Sequence[Sample], stall_limit: float) -> Verdict:
    """Judge an agent by samples of one life of its process, at least one, the oldest first.

    Work that waits while nothing is drained for `stall_limit` seconds is a stall, and so is silence for that long. An
    agent with nothing to do is healthy.
    """
    newest = samples[-1]
    if newest.drained is None:
        return _silent(samples, stall_limit)
    idle_since = _undrained_since(samples)
    stuck = newest.at - idle_since
    if newest.has_work and stuck >= stall_limit:
        return Verdict(State.STALLED, f"{newest.work}, and nothing was drained for {stuck:.0f} s{_full(newest)}")
    if newest.unknown:
        return Verdict(State.TROUBLED, f"what waits for it is not known: {newest.unknown}{_full(newest)}")
    if full := _full(newest):
        return Verdict(State.TROUBLED, full.removeprefix("; "))
    if newest.has_work and stuck > 0:
        return Verdict(State.HEALTHY, f"{newest.work}, not drained for {stuck:.0f} s")
    return Verdict(State.HEALTHY, newest.work or "nothing waits")


def _silent(samples: Sequence[Sample], stall_limit: float) -> Verdict:
    silent = [sample.at for sample in samples if sample.drained is None]
    answered = [sample.at for sample in samples if sample.drained is not None]
    since = min((at for at in silent if not answered or at > answered[-1]), default=samples[-1].at)
    seconds = samples[-1].at - since
    if seconds >= stall_limit:
        return Verdict(State.STALLED, f"it has not answered for {seconds:.0f} s")
    if not answered:
        return Verdict(State.STARTING, "it does not answer yet")
    return Verdict(State.TROUBLED, f"it has not answered for {seconds:.0f} s")


def _undrained_since(samples: Sequence[Sample]) -> float:
    """The moment since which work has waited with nothing drained: the newest sample's where it has only begun to."""
    newest = samples[-1]
    since = newest.at
    for sample in reversed(samples):
        if sample.drained != newest.drained or not sample.has_work:
            break
        since = sample.at
    return since


def _full(sample: Sample) -> str:
    names = [
        f"the channel {channel.name} is {channel.fill:.0f} % full"
        for channel in sample.channels
        if channel.fill is not None and channel.fill >= _NEARLY_FULL
    ]
    return f"; {', '.join(names)}" if names else ""
