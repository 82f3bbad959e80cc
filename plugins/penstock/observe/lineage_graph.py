"""The graph of datasets and jobs that events of lineage add up to, read from the files that `Outlet` writes."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from penstock.observe.lineage import uri
from penstock.observe.lineage_outlet import FILES, NEWEST

Name: TypeAlias = str
"""A dataset's namespace and name in one, as `lineage.uri` puts them together."""


def read_events(folder: Path) -> Iterator[dict[str, Any]]:
    """The events in a folder, the oldest first. A line that is none, such as one a crash has cut, is passed over."""
    for number in range(FILES - 1, -1, -1):
        path = folder / (f"{NEWEST}.{number}" if number else NEWEST)
        try:
            lines = path.open(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            continue
        with lines:
            for line in lines:
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                if isinstance(event, dict) and {"job", "run", "eventType"} <= event.keys():
                    yield event


@dataclass
class Run:
    """What the events of one run say."""

    run_id: str
    job: str
    state: str
    at: datetime
    parent: str | None = None
    inputs: dict[Name, int | None] = field(default_factory=dict)
    outputs: dict[Name, int | None] = field(default_factory=dict)
    batches: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Only JSON types."""
        return {
            "run": self.run_id,
            "job": self.job,
            "state": self.state,
            "at": self.at.isoformat(),
            "parent": self.parent,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "batches": list(self.batches),
        }


class Graph:
    """Jobs by their names, and the datasets that their runs have read and written."""

    def __init__(self, events: Iterable[dict[str, Any]]) -> None:
        self.runs: dict[str, Run] = {}
        for event in events:
            self._add(event)

    def _add(self, event: dict[str, Any]) -> None:
        run_id, facets = event["run"]["runId"], event["run"].get("facets", {})
        at = datetime.fromisoformat(event["eventTime"])
        job = event["job"]["name"]
        run = self.runs.setdefault(run_id, Run(run_id, job, event["eventType"], at))
        run.state, run.at = event["eventType"], at
        run.parent = facets.get("parent", {}).get("run", {}).get("runId") or run.parent
        run.batches = tuple(each["id"] for each in facets.get("penstock_batches", {}).get("batches", ())) or run.batches
        _note(run.inputs, event.get("inputs", ()), "inputFacets", "inputStatistics")
        _note(run.outputs, event.get("outputs", ()), "outputFacets", "outputStatistics")

    @property
    def latest(self) -> dict[str, Run]:
        """{job: the latest of its runs that has read or written anything}, by the job's name."""
        carrying = [run for run in self.runs.values() if run.inputs or run.outputs]
        return {run.job: run for run in sorted(carrying, key=lambda run: (run.job, run.at))}

    @property
    def datasets(self) -> set[Name]:
        """All that was read or written."""
        return {name for run in self.runs.values() for name in (*run.inputs, *run.outputs)}

    def downstream(self, dataset: Name) -> set[Name]:
        """All datasets that have come of this one, itself among them."""
        return _closure(dataset, [(run.inputs, run.outputs) for run in self.latest.values()])

    def upstream(self, dataset: Name) -> set[Name]:
        """All datasets that this one has come of, itself among them."""
        return _closure(dataset, [(run.outputs, run.inputs) for run in self.latest.values()])

    def around(self, dataset: Name) -> Graph:
        """The part of the graph whose runs led to a dataset, or began with what has come of it."""
        before, after, part = self.upstream(dataset), self.downstream(dataset), Graph(())
        part.runs = {
            key: run for key, run in self.runs.items() if before & run.outputs.keys() or after & run.inputs.keys()
        }
        return part

    def lines(self) -> Iterator[str]:
        """The graph as an indented text, from the datasets that no job has written."""
        runs = list(self.latest.values())
        written = {name for run in runs for name in run.outputs if name not in run.inputs}
        shown: set[str] = set()
        for name in sorted({name for run in runs for name in run.inputs} - written):
            yield from _tree(name, runs, shown, depth=0)
        for run in runs:
            if not run.inputs:
                yield from _job(run, runs, shown, depth=0)

    def to_json(self) -> dict[str, Any]:
        """Only JSON types: the datasets, and the latest run of each job."""
        return {"datasets": sorted(self.datasets), "jobs": [run.to_json() for run in self.latest.values()]}


def _note(known: dict[Name, int | None], told: Iterable[dict[str, Any]], place: str, facet: str) -> None:
    for each in told:
        rows = each.get(place, {}).get(facet, {}).get("rowCount")
        full = uri(each["namespace"], each["name"])
        known[full] = known.get(full) if rows is None else rows


def _closure(start: Name, edges: Iterable[tuple[Collection[Name], Collection[Name]]]) -> set[Name]:
    known, fresh, steps = {start}, {start}, list(edges)
    while fresh:
        fresh = {name for tails, heads in steps if fresh & set(tails) for name in heads} - known
        known |= fresh
    return known


def _tree(dataset: Name, runs: Iterable[Run], shown: set[str], depth: int) -> Iterator[str]:
    again = dataset in shown
    yield f"{'  ' * depth}{dataset}{' (see above)' if again else ''}"
    if again:
        return
    shown.add(dataset)
    for run in runs:
        if dataset in run.inputs:
            yield from _job(run, runs, shown, depth + 1, run.inputs[dataset])


def _job(run: Run, runs: Iterable[Run], shown: set[str], depth: int, read: int | None = None) -> Iterator[str]:
    if run.run_id in shown:
        yield f"{'  ' * depth}-> {run.job} (see above)"
        return
    shown.add(run.run_id)
    counted = "" if read is None else f", {read} records read"
    yield f"{'  ' * depth}-> {run.job}: {run.state} at {run.at:%Y-%m-%d %H:%M:%S} UTC{counted}"
    for name, rows in run.outputs.items():
        if name in run.inputs:
            continue
        for number, line in enumerate(_tree(name, runs, shown, depth + 1)):
            yield f"{line}: {rows} records" if number == 0 and rows is not None else line
