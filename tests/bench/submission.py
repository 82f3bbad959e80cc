"""One landing, submitted as the platform does, and what it took."""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from penstock.core.settings import PROJECT
from penstock.sinks.landing import Request

_WATCH_SECONDS = 0.25


@dataclass(frozen=True)
class Landing:
    """One submission: seconds, and the most memory that its processes used at once, in MB."""

    starting: float
    landing: float
    whole: float
    python: float
    jvm: float


def submit(environment: Mapping[str, str], request: Request) -> Landing:
    """Submit the job, and watch its memory. All records of the request must land."""
    with tempfile.TemporaryDirectory() as folder:
        asked, report = Path(folder) / "request.json", Path(folder) / "report.json"
        asked.write_text(json.dumps(request.to_json()))
        began = time.perf_counter()
        job = subprocess.Popen(
            spark_submit(environment, "land_batch.py", "--request", asked, "--report", report), env=environment
        )
        memory = _Memory(job.pid)
        assert job.wait() == 0, "the landing failed: see above"
        whole = time.perf_counter() - began
        memory.stop()
        said = json.loads(report.read_text())
    assert sum(each["landed"] for each in said["batches"]) == request.records, said
    return Landing(**said["seconds"], whole=whole, python=memory.python, jvm=memory.jvm)


def spark_submit(environment: Mapping[str, str], job: str | Path, *arguments: str | Path) -> list[str]:
    """The command that runs a job of spark_jobs/, or of a path, on two cores."""
    properties = ("--properties-file", environment["PENSTOCK_SPARK_PROPERTIES"])
    return [
        "spark-submit",
        "--master",
        "local[2]",
        *properties,
        str(PROJECT / "spark_jobs" / job),
        *map(str, arguments),
    ]


class _Memory:
    """Samples what a process and its children hold for themselves alone, until `stop`; keeps the most."""

    def __init__(self, pid: int) -> None:
        self.python = self.jvm = 0.0
        self._root = psutil.Process(pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_WATCH_SECONDS):
            self.jvm = max(self.jvm, _megabytes(self._root))
            with suppress(psutil.NoSuchProcess):
                self.python = max(self.python, sum(map(_worker_megabytes, self._root.children(recursive=True))))


def _megabytes(process: psutil.Process) -> float:
    """What it shares with no other process, or 0 where it has ended."""
    with suppress(psutil.NoSuchProcess):
        return float(process.memory_full_info().uss) / 1e6
    return 0.0


def _worker_megabytes(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):
        return _megabytes(process) if "pyspark.worker" in process.cmdline() else 0.0
    return 0.0
