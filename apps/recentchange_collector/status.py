"""What the collector tells others: its health, its metrics, and how many changes of each minute it has handed on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector as Metrics

from apps.recentchange_collector.collector import State
from apps.status_server import BadQuestion, Health

_STILL_SECONDS = 30.0
_PREFIX = "recentchange_collector"
_COUNTERS = {
    "events": "Distinct changes taken, canaries left out.",
    "repeats": "Changes that came again and were dropped.",
    "canaries": "Canary events dropped.",
    "odd": "Changes without a meta.id, or that are no JSON; handed on all the same.",
    "bytes": "Bytes of the finished files.",
    "connections": "Connections that were tried.",
}


def health(state: State) -> Health:
    """503 while the feed is away or the spool full, 500 where the event loop stands still."""
    detail: dict[str, Any] = {
        "events": state.events,
        "lag_seconds": _lag(state),
        "spool_bytes": state.spool_bytes,
        "gaps": len(state.gaps),
        "lost_seconds": round(sum(gap.seconds for gap in state.gaps), 3),
    }
    if state.gaps:
        detail["last_gap"] = {"from": state.gaps[-1].start, "to": state.gaps[-1].end}
    still = time.monotonic() - state.beat
    if still > _STILL_SECONDS:
        return Health(HTTPStatus.INTERNAL_SERVER_ERROR, {"detail": f"nothing has moved for {still:.0f} s", **detail})
    if trouble := state.full or state.away:
        return Health(HTTPStatus.SERVICE_UNAVAILABLE, {"detail": trouble, **detail})
    return Health(HTTPStatus.OK, detail)


def _lag(state: State) -> float | None:
    return None if state.newest is None else round(time.time() - state.newest, 3)


class _Numbers(Metrics):
    def __init__(self, state: State) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        state = self._state
        for name, said in _COUNTERS.items():
            yield CounterMetricFamily(f"{_PREFIX}_{name}", said, getattr(state, name))
        yield CounterMetricFamily(f"{_PREFIX}_gaps", "Times that were lost, of all processes.", len(state.gaps))
        lost = sum(gap.seconds for gap in state.gaps)
        yield CounterMetricFamily(f"{_PREFIX}_lost_seconds", "How long they are together.", lost)
        yield GaugeMetricFamily(f"{_PREFIX}_spool_bytes", "Bytes that Flume has to take up.", state.spool_bytes)
        yield GaugeMetricFamily(f"{_PREFIX}_connected", "1 while the feed sends.", float(state.away is None))
        yield GaugeMetricFamily(f"{_PREFIX}_full", "1 while the spool is full.", float(state.full is not None))
        if (lag := _lag(state)) is not None:
            yield GaugeMetricFamily(f"{_PREFIX}_lag_seconds", "Between now and the last change's meta.dt.", lag)


def registry(state: State) -> CollectorRegistry:
    """The metrics of `state`, read when they are asked for."""
    made = CollectorRegistry()
    made.register(_Numbers(state))
    return made


def counts(state: State, question: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Distinct changes handed on, by minute of their meta.dt, of the minutes that begin in [from, to).

    Raises BadQuestion where either is missing or no time with a UTC offset.
    """
    start, end = (_moment(name, question) for name in ("from", "to"))
    minutes = state.minutes
    return {"minutes": {_iso(each): minutes[each] for each in sorted(minutes) if start <= each * 60 < end}}


def _moment(name: str, question: Mapping[str, str]) -> float:
    text = question.get(name, "")
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))  # a plus sign in a query is a space
    except ValueError:
        raise BadQuestion(f"{name} is {text!r}: give a time such as 2026-11-22T15:00:00Z") from None
    if moment.tzinfo is None:
        raise BadQuestion(f"{name} is {text!r}, without a UTC offset: write {text}Z")
    return moment.timestamp()


def _iso(minute: int) -> str:
    return f"{datetime.fromtimestamp(minute * 60, UTC):%Y-%m-%dT%H:%M:%SZ}"
