"""The platform's rules in a Prometheus of a test's own, which watches the shared stack in quick motion."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import requests
import yaml

from penstock.core.settings import PROJECT
from penstock.stack.layout import free_ports
from penstock.stack.servers.monitoring import PROMETHEUS_PROGRAM
from tests.runbooks import RULES

_TIMES_AS_FAST = 60
_LONGEST_FOR_SECONDS = 60
_WINDOWS_TIMES_AS_FAST = 20
_PATIENCE_SECONDS = 240.0
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SLOW_JOBS = {"kafka", "cassandra", "influxdb", "airflow", "prometheus"}
"""Those whose answers are long."""


class Alerts:
    """What Prometheus and Alertmanager know."""

    def __init__(self, prometheus: str, alertmanager: str) -> None:
        self._prometheus, self._alertmanager = prometheus, alertmanager

    def firing(self, name: str) -> list[Mapping[str, str]]:
        """The labels of the alerts of this name that fire now."""
        found = requests.get(f"{self._prometheus}/api/v1/alerts", timeout=10).json()["data"]["alerts"]
        return [each["labels"] for each in found if each["labels"]["alertname"] == name and each["state"] == "firing"]

    def told(self, name: str) -> list[Mapping[str, str]]:
        """The labels of those that Alertmanager tells people of."""
        asked = {"filter": f'alertname="{name}"'}
        found = requests.get(f"{self._alertmanager}/api/v2/alerts", params=asked, timeout=10).json()
        return [each["labels"] for each in found]

    def wait_for(self, name: str, wanted: Mapping[str, str]) -> Mapping[str, str]:
        """Wait until an alert with these labels fires and has reached Alertmanager, and return all its labels."""

        def fires() -> Mapping[str, str] | None:
            fired = [each for each in self.firing(name) if wanted.items() <= each.items()]
            told = [each for each in self.told(name) if wanted.items() <= each.items()]
            return fired[0] if fired and told else None

        return _eventually(fires, f"{name} does not fire for {dict(wanted)}")

    def wait_until_over(self, name: str, labels: Mapping[str, str]) -> None:
        """Wait until the alert with these labels fires no more."""
        _eventually(lambda: labels not in self.firing(name), f"{name} fires still for {dict(labels)}")


@contextmanager
def alerting(stack: Any, folder: Path, settings: Mapping[str, str] | None) -> Iterator[Alerts]:
    """Watch the shared stack, by an exporter with these settings, or by the stack's own where they are None."""
    conf = yaml.safe_load((stack.context.layout.conf("prometheus") / "prometheus.yml").read_text())
    port, exporter_port = free_ports(2)
    with ExitStack() as running:
        if settings is not None:
            running.enter_context(_exporter(stack, exporter_port, settings, folder / "exporter.log"))
            (ours,) = [each for each in conf["scrape_configs"] if each["job_name"] == "penstock"]
            ours["static_configs"] = [{"targets": [f"127.0.0.1:{exporter_port}"]}]
        written = _quick(conf, folder)
        program = str(PROMETHEUS_PROGRAM.program(stack.context.layout.cache))
        words = [f"--config.file={written}", f"--storage.tsdb.path={folder / 'data'}"]
        url = f"http://127.0.0.1:{port}"
        running.enter_context(
            _process([program, *words, f"--web.listen-address=127.0.0.1:{port}"], None, folder / "prometheus.log")
        )
        _eventually(lambda: _has_asked(url), "Prometheus does not ask the exporter")
        yield Alerts(url, f"http://127.0.0.1:{stack.context.ports['alertmanager']}")


def _quick(conf: dict[str, Any], folder: Path) -> Path:
    """The stack's configuration with quick rules, written into the folder."""
    (folder / "rules").mkdir()
    for path in RULES.glob("*.yml"):
        groups = yaml.safe_load(path.read_text())
        for rule in (rule for group in groups["groups"] for rule in group["rules"]):
            rule["expr"] = re.sub(r"\[(\d+[smhd])\]", _window, rule["expr"])
            if "for" in rule:
                pause = math.ceil(_seconds(rule["for"]) / _TIMES_AS_FAST)
                rule["for"] = f"{min(pause, _LONGEST_FOR_SECONDS)}s"
        (folder / "rules" / path.name).write_text(yaml.safe_dump(groups))
    conf["global"] = {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"}
    conf["rule_files"] = [str(folder / "rules" / "*.yml")]
    for job in conf["scrape_configs"]:
        if job["job_name"] in _SLOW_JOBS:
            job |= {"scrape_interval": "5s", "scrape_timeout": "5s"}
    written = folder / "prometheus.yml"
    written.write_text(yaml.safe_dump(conf))
    return written


def _window(found: re.Match[str]) -> str:
    return f"[{math.ceil(_seconds(found[1]) / _WINDOWS_TIMES_AS_FAST)}s]"


def _seconds(duration: str) -> int:
    return int(duration[:-1]) * _UNITS[duration[-1]]


@contextmanager
def _exporter(stack: Any, port: int, settings: Mapping[str, str], log: Path) -> Iterator[None]:
    environment = {**stack.environment(), "EXPORTER_SECONDS": "1", **settings}
    command = [sys.executable, "-m", "apps.penstock_exporter", "--port", str(port)]
    with _process(command, environment, log):
        _eventually(lambda: _answers(f"http://127.0.0.1:{port}/metrics"), "the exporter does not start")
        yield


@contextmanager
def _process(command: list[str], environment: Mapping[str, str] | None, log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, cwd=PROJECT, env=environment or os.environ, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield
        finally:
            child.terminate()
            child.wait(60)


def _has_asked(prometheus: str) -> bool:
    """Whether it knows how things are before the fault: counters are judged by their increase."""
    try:
        found = requests.get(f"{prometheus}/api/v1/query", params={"query": 'up{job="penstock"}'}, timeout=5)
    except requests.RequestException:
        return False
    return found.ok and bool(found.json()["data"]["result"])


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


def _eventually(found: Any, otherwise: str) -> Any:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not (value := found()):
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.5)
    return value
