"""What the stack's programs have told of their lineage so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock.core.settings import Lineage
from penstock.observe.lineage import Places
from penstock.observe.lineage_graph import Graph, Run, read_events

DEAD_SERVER = "http://127.0.0.1:9"
"""A server of OpenLineage that is away: the port is that of the discard service, where nothing listens."""


def folder(stack: Any) -> Path:
    """Where the stack's programs write their events."""
    settings = Lineage.from_env(stack.environment())
    assert settings is not None
    return settings.folder


def graph(stack: Any) -> Graph:
    """The graph that the events add up to."""
    return Graph(read_events(folder(stack)))


def places(stack: Any) -> Places:
    """The names of the stack's datasets."""
    return Places(stack.environment())


def completed(found: Graph, job: str, batch_id: str) -> Run:
    """The latest run of a job that has ended well and names this batch."""
    runs = [run for run in found.runs.values() if run.job == job and batch_id in run.batches]
    assert runs, f"no run of {job} has told of {batch_id}"
    latest = max(runs, key=lambda run: run.at)
    assert latest.state == "COMPLETE"
    return latest
