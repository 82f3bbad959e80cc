"""The collector of recent changes, catching up on one core, against a bare loop that only reads the same events."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import requests
from httpx_sse import connect_sse

from apps.recentchange_collector.position import Position
from apps.recentchange_collector.spool import Spool
from apps.replay_api.changes import MOST
from penstock.core.settings import PROJECT
from penstock.stack.layout import free_ports
from tests.bench.lines import Line, at_least
from tests.recentchange import PATH

if TYPE_CHECKING:
    from penstock.stack.context import Context

_SECONDS = 15.0
_BEHIND_SECONDS = 600
"""At 10,000 a second more than anybody reads in the time of the bench."""

_GOAL = 5_000.0
_POLL_SECONDS = 0.2
_PATIENCE_SECONDS = 60.0


def run(context: Context, scale: float) -> list[Line]:
    """Measure on the stack's replay server; `scale` shortens the time."""
    return measure(context.endpoints()["replay"]["url"], _SECONDS * scale)


def measure(replay: str, seconds: float) -> list[Line]:
    """Both read from the same server, one after the other, each on one core."""
    url = f"{replay}{PATH}?rate={MOST}"
    bare, bare_cores = _bare_rate(url, seconds)
    collected, cores = _collector_rate(url, seconds)
    return [
        {
            "name": "collector: feed to finished spool files",
            "value": collected,
            "unit": "events/s",
            "baseline": "bare httpx-sse loop with json.loads",
            "baseline_value": bare,
            "ratio": collected / bare,
            "goal": f"at least {_GOAL:,.0f}/s",
            "met": collected >= _GOAL,
        },
        at_least(
            "collector: per second of processor time",
            collected / cores,
            "events",
            "bare httpx-sse loop with json.loads",
            bare / bare_cores,
            goal=None,
        ),
    ]


def _id() -> str:
    ms = int((time.time() - _BEHIND_SECONDS) * 1000)
    return json.dumps([{"topic": "eqiad.mediawiki.recentchange", "partition": 0, "timestamp": ms}])


def _bare_rate(url: str, seconds: float) -> tuple[float, float]:
    """Events a second, and the cores that they took."""
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(everywhere)})
    try:
        with (
            httpx.Client(timeout=30) as client,
            connect_sse(client, "GET", url, headers={"Last-Event-ID": _id()}) as source,
        ):
            events = source.iter_sse()
            next(events)
            began, busy = time.perf_counter(), time.process_time()
            for count, event in enumerate(events, 1):
                json.loads(event.data)
                if (passed := time.perf_counter() - began) >= seconds:
                    return count / passed, (time.process_time() - busy) / passed
    finally:
        os.sched_setaffinity(0, everywhere)
    raise RuntimeError("the replay server ended the stream")


def _collector_rate(url: str, seconds: float) -> tuple[float, float]:
    """Events a second, and the cores that they took."""
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as folder:
        spool = Path(folder) / "wiki"
        with Spool(spool, 1 << 30) as prepared:
            position = Position()
            position.advance(_id())
            prepared.hand_on([], position)
        told = os.environ | {
            "PYTHONPATH": f"{PROJECT / 'plugins'}:{PROJECT}",
            "RECENTCHANGE_URL": url,
            "PENSTOCK_SPOOL": folder,
        }
        command = [sys.executable, "-m", "apps.recentchange_collector", "--port", str(port)]
        with subprocess.Popen(command, env=told, cwd=PROJECT) as running:
            try:
                os.sched_setaffinity(running.pid, {min(os.sched_getaffinity(0))})
                return _observed(running, f"http://127.0.0.1:{port}", spool, seconds)
            finally:
                running.terminate()


def _observed(running: subprocess.Popen[bytes], base: str, spool: Path, seconds: float) -> tuple[float, float]:
    process = psutil.Process(running.pid)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not (first := _handed_on(base, spool)):
        if running.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the collector has taken nothing (exit code {running.poll()})")
        time.sleep(_POLL_SECONDS)
    began, busy = time.perf_counter(), sum(process.cpu_times()[:2])
    while (passed := time.perf_counter() - began) < seconds:
        time.sleep(_POLL_SECONDS)
        last = _handed_on(base, spool)
    return (last - first) / passed, (sum(process.cpu_times()[:2]) - busy) / passed


def _handed_on(base: str, spool: Path) -> int:
    """Events in finished files so far, which are deleted as Flume would."""
    for file in spool.glob("*.jsonl"):
        file.unlink()
    interval = {"from": "2026-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
    try:
        return sum(requests.get(f"{base}/counts", params=interval, timeout=10).json()["minutes"].values())
    except requests.ConnectionError:
        return 0
