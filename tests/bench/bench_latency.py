"""How soon an event of the replayed feed is in the raw copy and in its minute, and how long an outage takes to make up.

Times are the replay server's own: `meta.dt` is when an event was made.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from penstock.core.batch import Interval
from penstock.core.errors import Retry
from penstock.core.settings import Hdfs, Influx, Kafka
from penstock.kafka.lag import Lag
from penstock.ledger.stream_hops import in_measurement, milliseconds, on_topic
from penstock.ledger.stream_verdicts import judge, whole_minutes_since
from penstock.pipelines import WIKI
from penstock.sinks.hdfs import final_name
from penstock.sinks.webhdfs import Missing, WebHdfs
from penstock.stack.context import Context
from tests.bench.lines import Line
from tests.conftest import Stack
from tests.streams import WIKI_SERVICES, running

_SECONDS = 180
_LOOK_SECONDS = 0.5
_OUTAGE_SECONDS = 600
_AGGREGATE_GOAL_SECONDS = 30.0


def run(context: Context, scale: float) -> list[Line]:
    """Measure both; `scale` shortens the outage."""
    stack = Stack(context)
    with running(stack, WIKI_SERVICES):
        began = datetime.now(UTC)
        _settled(context)
        return [*_latency(context), *_outage(stack, began, scale)]


def _settled(context: Context) -> None:
    """The first minute is out."""
    influx = Influx.from_env(context.environment())
    while True:
        now = datetime.now(UTC).replace(second=0, microsecond=0)
        if in_measurement(WIKI, Interval(now - timedelta(minutes=10), now + timedelta(minutes=1)), influx):
            return
        time.sleep(1)


def _latency(context: Context) -> list[Line]:
    environment = context.environment()
    influx, began = Influx.from_env(environment), datetime.now(UTC)
    raw: list[float] = []
    seen_minutes: dict[int, float] = {}
    with WebHdfs(Hdfs.from_env(environment)) as client:
        copy = _RawCopy(client)
        copy.news()  # what is there already
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            made = copy.news()
            now = time.time()
            raw += [now - each for each in made]
            start = began.replace(second=0, microsecond=0)
            for minute in in_measurement(WIKI, Interval(start, start + timedelta(minutes=10)), influx):
                seen_minutes.setdefault(minute, time.time())
            time.sleep(_LOOK_SECONDS)
    first = milliseconds(began)
    out = {minute: at for minute, at in seen_minutes.items() if minute >= first}
    # A minute's watermark passes when an event comes that is `lateness` past its end.
    after = [at - minute / 1000 - 60 - WIKI.lateness.total_seconds() for minute, at in out.items()]
    kafka = Kafka.from_env(environment)
    counted = []
    for minute, at in out.items():
        begin = datetime.fromtimestamp(minute / 1000, UTC)
        events = sum(map(len, on_topic(WIKI, Interval(begin, begin + timedelta(minutes=1)), kafka).values()))
        counted += list(at - minute / 1000 - np.linspace(0, 60, events))
    return [
        *_percentiles("event made -> in the raw copy's file", raw),
        *_percentiles("event made -> counted in its minute", counted),
        {
            "name": "minute out after its watermark passed, worst",
            "value": max(after),
            "unit": "s",
            "baseline": "the goal",
            "baseline_value": _AGGREGATE_GOAL_SECONDS,
            "ratio": max(after) / _AGGREGATE_GOAL_SECONDS,
            "goal": f"at most {_AGGREGATE_GOAL_SECONDS:.0f} s",
            "met": max(after) <= _AGGREGATE_GOAL_SECONDS,
        },
    ]


def _percentiles(name: str, seconds: list[float]) -> list[Line]:
    middle, most = np.percentile(seconds, [50, 99])
    return [
        {"name": f"{name}, {which}", "value": float(value), "unit": "s", "baseline": "p50", "baseline_value": middle}
        | {"ratio": float(value / middle), "goal": None, "met": None}
        for which, value in (("p50", middle), ("p99", most))
    ]


class _RawCopy:
    """What comes into the raw copy's files of the present hour and the last one."""

    def __init__(self, client: WebHdfs) -> None:
        self._client = client
        self._read: dict[str, int] = {}

    def news(self) -> list[float]:
        """When each event was made that has come since the last call, in s since the epoch."""
        made: list[float] = []
        for hour in {datetime.now(UTC) - timedelta(hours=back) for back in (0, 1)}:
            for file in self._client.entries(f"{WIKI.raw_copy.folder}/{hour:%Y-%m-%d/%H}"):
                name = final_name(file.path)
                read = self._read.get(name, 0)
                # The NameNode refuses offsets beyond the length it knows, and of an open file it knows little.
                known = min(read, max(file.length - 1, 0))
                try:
                    content = b"".join(self._client.read(file.path, known))[read - known :]
                except Missing:
                    continue  # it has just got its final name
                whole = content[: content.rfind(b"\n") + 1]
                self._read[name] = read + len(whole)
                made += [
                    datetime.fromisoformat(json.loads(line)["meta"]["dt"]).timestamp() for line in whole.splitlines()
                ]
        return made


def _made_up(lag: Lag, spool: Path) -> bool:
    """Whether next to nothing waits in the spool and on the topic."""
    try:
        waiting = lag.of(WIKI.counted_by, WIKI.topic)
    except Retry:  # a broker that has just come back loads its groups first
        return False
    return waiting < 1_000 and sum(1 for _ in spool.glob("changes-*.jsonl")) <= 2


def _outage(stack: Any, began: datetime, scale: float) -> list[Line]:
    """Kafka is away; the collector goes on spooling, and all is made up once it is back."""
    seconds = _OUTAGE_SECONDS * scale
    stack.stop("kafka")
    time.sleep(seconds)
    stack.start("kafka")
    back = time.monotonic()
    environment = stack.environment()
    lag, spool = Lag(Kafka.from_env(environment)), stack.context.spool / "wiki"
    while not _made_up(lag, spool):
        time.sleep(_LOOK_SECONDS)
    took = time.monotonic() - back
    minutes = whole_minutes_since(began, datetime.now(UTC))
    assert minutes is not None
    row = judge(WIKI, minutes, environment, 300)
    return [
        {
            "name": f"lag made up after {seconds:.0f} s without Kafka",
            "value": took,
            "unit": f"s; {row.on_topic} events, {row.verdict}",
            "baseline": "the outage",
            "baseline_value": seconds,
            "ratio": took / seconds,
            "goal": None,
            "met": None,
        }
    ]
