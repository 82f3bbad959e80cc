"""Alert rules and their runbooks, as they stand in the files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from penstock.core.settings import INCLUDE, PROJECT

RULES = INCLUDE / "prometheus" / "rules"
RULE_TESTS = INCLUDE / "prometheus" / "tests"
RUNBOOKS = PROJECT / "docs" / "runbooks"
SECTIONS = ("Meaning", "Impact", "Find out", "Mend", "When it does not help")

_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(penstock [^`]+)`")
_PLACEHOLDER = re.compile(r"\b[A-Z][A-Z_]+\b")


@cache
def rules() -> list[Mapping[str, Any]]:
    """Every alert rule."""
    return [
        rule
        for path in sorted(RULES.glob("*.yml"))
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]


@cache
def rule_checks() -> list[Mapping[str, Any]]:
    """Every check of an alert in promtool's tests."""
    cases = (case for path in sorted(RULE_TESTS.glob("*.yml")) for case in yaml.safe_load(path.read_text())["tests"])
    return [check for case in cases for check in case["alert_rule_test"]]


class Runbook:
    """A runbook: what a person does whom the alert of its name has told something."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        title, *parts = _SECTION.split(path.read_text())
        self.title = title.strip()
        self.sections = {name: text.strip() for name, text in zip(parts[::2], parts[1::2], strict=True)}

    def commands(self, section: str) -> list[str]:
        """The lines of the section's sh blocks, in their order."""
        blocks = _BLOCK.findall(self.sections[section])
        return [line for block in blocks for line in block.splitlines() if line.strip()]

    def every_command(self) -> Iterator[str]:
        """Those of all blocks, and those within sentences."""
        for section, text in self.sections.items():
            yield from self.commands(section)
            yield from _INLINE.findall(_BLOCK.sub("", text))


def filled_in(command: str, values: Mapping[str, str]) -> str:
    """The command with its placeholders, words in capitals, replaced; variables of the shell are none."""

    def value(found: re.Match[str]) -> str:
        if command[found.start() - 1 : found.start()] == "$":
            return found[0]
        return values[found[0]]

    return _PLACEHOLDER.sub(value, command)


def runbooks() -> dict[str, Runbook]:
    """{name: runbook}."""
    return {path.stem: Runbook(path) for path in sorted(RUNBOOKS.glob("*.md"))}
