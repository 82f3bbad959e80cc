"""The alert rules, judged by promtool: when each fires, with what sentence, and when it does not."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from penstock.stack.servers.monitoring import PROMTOOL
from tests.runbooks import RULE_TESTS, RULES

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def promtool(stack: Any) -> str:
    """The program that the stack's own configuration is checked with."""
    return str(PROMTOOL.program(stack.context.layout.cache))


def test_rules_are_what_prometheus_takes(promtool: str) -> None:
    _run(promtool, "check", "rules", "--lint=all", "--lint-fatal", *map(str, sorted(RULES.glob("*.yml"))))


@pytest.mark.parametrize("path", sorted(RULE_TESTS.glob("*.yml")), ids=lambda path: path.stem)
def test_they_fire_when_they_should_and_only_then(promtool: str, path: Path) -> None:
    _run(promtool, "test", "rules", str(path))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
