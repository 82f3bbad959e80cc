"""Collector and replay server as processes: killed, disturbed, and held against an independent count."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from apps.replay_api.changes import Feed
from penstock.core.settings import PROJECT
from penstock.stack.layout import free_ports
from tests.recentchange import PATH, fault, ids, missing_and_repeated, spooled

pytestmark = pytest.mark.integration

RATE = 500
PATIENCE_SECONDS = 120.0


@pytest.fixture
def replay() -> Iterator[str]:
    (port,) = free_ports(1)
    with process("replay_api", port) as (base, _):
        yield base


@contextmanager
def process(name: str, port: int, **environment: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A program of ours; it is killed at the end, if it still runs."""
    told = os.environ | {"PYTHONPATH": f"{PROJECT / 'plugins'}:{PROJECT}"} | environment
    command = [sys.executable, "-m", f"apps.{name}", "--port", str(port)]
    with subprocess.Popen(command, env=told, cwd=PROJECT) as running:
        try:
            base = f"http://127.0.0.1:{port}"
            until(lambda: reachable(base) or running.poll() is not None, f"{name} answers")
            yield base, running
        finally:
            running.kill()


def reachable(base: str) -> bool:
    try:
        return requests.get(f"{base}/healthz", timeout=5).status_code < 600
    except requests.ConnectionError:
        return False


def until(reached: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        assert time.monotonic() < deadline, f"not within {PATIENCE_SECONDS:.0f} s: {what}"
        time.sleep(0.02)


@dataclass
class Runs:
    """Collectors one after the other on the same spool, from which a stand-in for Flume takes files."""

    replay: str
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def collector(self) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
        (port,) = free_ports(1)
        told = {
            "RECENTCHANGE_URL": f"{self.replay}{PATH}?rate={RATE}",
            "PENSTOCK_SPOOL": str(self.folder),
            "WIKI_SPOOL_FILE_SECONDS": "1",
            "WIKI_SPOOL_FILE_BYTES": "200000",
            "WIKI_IDLE_SECONDS": "4",
        }
        with process("recentchange_collector", port, **(told | self.settings)) as running:
            yield running

    def take_up(self) -> None:
        """What Flume does: files vanish from the spool."""
        for file in (self.folder / "wiki").glob("*.jsonl"):
            file.rename(self.taken / file.name)

    @property
    def taken(self) -> Path:
        folder = self.folder / "taken"
        folder.mkdir(exist_ok=True)
        return folder

    def lines(self) -> list[bytes]:
        self.take_up()
        return spooled(self.taken)

    def catch_up(self, base: str, to: float) -> None:
        """Wait until the collector at `base` has taken what was sent at the time `to`."""
        until(lambda: self.caught_up(base, to), "it catches up")

    def caught_up(self, base: str, to: float) -> bool:
        lag = requests.get(f"{base}/healthz", timeout=5).json()["lag_seconds"]
        return lag is not None and time.time() - lag > to

    def counts(self) -> dict[str, int]:
        """Those that survive in the spool: of a collector that reaches no feed."""
        apart = replace(self, settings={"RECENTCHANGE_URL": "http://127.0.0.1:9/"})
        interval = {"from": "2026-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
        with apart.collector() as (base, _):
            minutes: dict[str, int] = requests.get(f"{base}/counts", params=interval, timeout=5).json()["minutes"]
        return minutes


def assert_nothing_lost_or_doubled(runs: Runs) -> None:
    """By the formula, by the replay server's independent count, and by the collector's own counts."""
    lines = runs.lines()
    assert missing_and_repeated(lines, Feed(RATE)) == ([], 0)
    made = sorted(json.loads(line)["meta"]["dt"] for line in lines)
    first, last = (datetime.fromisoformat(made[at]) for at in (0, -1))
    second = timedelta(seconds=1)  # a few times have whole seconds
    query = {"from": (first + second).isoformat(), "to": (last - second).isoformat(), "rate": str(RATE), "ids": "true"}
    sent = requests.get(f"{runs.replay}{PATH}/sent", params=query, timeout=60).text.splitlines()
    assert len(sent) > RATE
    assert {json.loads(each)["id"] for each in sent} <= set(ids(lines))
    assert runs.counts() == Counter(f"{each[:16]}:00Z" for each in made)


@pytest.mark.parametrize("seed", [1, 2])
def test_kill_9_at_any_moment_loses_and_repeats_nothing(replay, tmp_path, seed):
    chance, runs = random.Random(seed), Runs(replay, tmp_path)
    for _ in range(6):
        with runs.collector() as (base, running):
            runs.catch_up(base, time.time() - 10)
            time.sleep(chance.uniform(0, 1.5))  # the moment is what is tried
            running.send_signal(signal.SIGKILL)
        runs.take_up()
    with runs.collector() as (base, running):
        runs.catch_up(base, time.time())
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0
    assert_nothing_lost_or_doubled(runs)


def test_faults_of_the_feed_lose_and_repeat_nothing(replay, tmp_path):
    runs = Runs(replay, tmp_path)
    with runs.collector() as (base, running):
        runs.catch_up(base, time.time())
        for kind in (
            "close",
            "duplicate",
            "500",
            "close",
            "half-frame",
            "out-of-order",
            "429",
            "close",
            "stall",
            "canary",
        ):
            fault(replay, kind, seconds=6 if kind == "stall" else 0)
        until(lambda: requests.get(f"{replay}/faults", timeout=5).json() == [], "all faults have come")
        runs.catch_up(base, time.time())
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0
    assert_nothing_lost_or_doubled(runs)


def test_a_full_spool_waits_for_flume(replay, tmp_path):
    runs = Runs(replay, tmp_path, {"WIKI_SPOOL_BYTES": "3000000"})
    with runs.collector() as (base, running):
        until(lambda: requests.get(f"{base}/healthz", timeout=5).status_code == 503, "the spool is full")
        until(lambda: "full" in requests.get(f"{base}/healthz", timeout=5).json().get("detail", ""), "it says so")
        assert sum(file.stat().st_size for file in (tmp_path / "wiki").glob("*.jsonl")) <= 3_000_000
        asked = time.time()
        until(lambda: (runs.take_up(), runs.caught_up(base, asked))[1], "it has caught up")
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0
    assert_nothing_lost_or_doubled(runs)


def test_a_second_collector_does_not_start(replay, tmp_path):
    runs = Runs(replay, tmp_path)
    with runs.collector(), runs.collector() as (_, second):
        assert second.wait(30) == 1
    assert not list((tmp_path / "wiki" / ".collector").glob("draft"))
