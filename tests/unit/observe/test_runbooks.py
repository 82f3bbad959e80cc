"""Runbooks: one for each alert, in the same sections, with commands that there are. tests/faults walks them."""

from __future__ import annotations

import shlex
from collections import defaultdict
from typing import Any

import pytest
import typer
import typer.main
from typer.core import TyperGroup

from penstock.cli import app
from tests.runbooks import SECTIONS, Runbook, filled_in, rules, runbooks

RUNBOOKS = runbooks()
PENSTOCK = typer.main.get_command(app)
USAGE_ERROR = typer.BadParameter.__mro__[1]
"""What typer raises for any words that it does not understand; it has no public name of its own."""

SAMPLES = defaultdict(
    lambda: "name", FROM="2026-11-20", TO="2026-11-21T06:00", LETTER="7", FILE="/tmp/file", SALE="/tmp/sale"
)
PROGRAMS = {"rm"}
"""Those besides penstock that every machine has."""


def _parse(command: Any, words: list[str]) -> None:
    """Raise what the command line would say of the words, and run nothing."""
    context = command.make_context("penstock", list(words))
    if isinstance(command, TyperGroup):
        _, inner, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        _parse(inner, rest)


def test_each_alert_has_its_runbook_and_each_runbook_its_alert() -> None:
    assert {rule["alert"] for rule in rules()} == set(RUNBOOKS)


@pytest.mark.parametrize("book", RUNBOOKS.values(), ids=RUNBOOKS)
def test_all_have_the_same_sections(book: Runbook) -> None:
    assert book.title == f"# {book.name}"
    assert tuple(book.sections) == SECTIONS
    assert book.commands("Find out")
    assert book.commands("Mend")


@pytest.mark.parametrize("book", RUNBOOKS.values(), ids=RUNBOOKS)
def test_its_commands_are_understood(book: Runbook) -> None:
    for command in book.every_command():
        program, *words = shlex.split(filled_in(command, SAMPLES))
        if program == "penstock":
            _parse(PENSTOCK, words)
        else:
            assert program in PROGRAMS, command


def test_airflow_commands_are_understood() -> None:
    from airflow.cli.cli_parser import get_parser

    parser = get_parser()
    for command in (each for book in RUNBOOKS.values() for each in book.every_command()):
        words = shlex.split(filled_in(command, SAMPLES))[1:]
        if words[:2] == ["exec", "airflow"]:
            parser.parse_args(words[2:])


@pytest.mark.parametrize(
    "wrong", ["penstock services status", "penstock run weather --since 2026-11-20", "penstock logs"]
)
def test_a_command_that_there_is_not_is_noticed(wrong: str) -> None:
    with pytest.raises(USAGE_ERROR):
        _parse(PENSTOCK, shlex.split(wrong)[1:])
