"""Services of several instances: programs NAME-1, NAME-2, ... of which the first so many run."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from penstock.core.errors import Fatal
from penstock.ledger.services import Services
from penstock.services import control
from penstock.services.supervisor import Supervisor

_INSTANCE = re.compile(r"(?P<group>.+)-(?P<number>[1-9][0-9]*)")


@dataclass(frozen=True)
class Scaling:
    """The instances of a group that are to run, and those that are not, each in the order of their numbers."""

    start: tuple[str, ...]
    stop: tuple[str, ...]


def instances(services: Iterable[str]) -> Mapping[str, Sequence[str]]:
    """{group: its instances in the order of their numbers} of the services whose names end in a number."""
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for name in services:
        if parts := _INSTANCE.fullmatch(name):
            found[parts["group"]].append((int(parts["number"]), name))
    return {group: [name for _, name in sorted(members)] for group, members in found.items()}


def group_named(name: str, services: Iterable[str]) -> str:
    """The group that a person calls `name`, with - or _. Raises Fatal, naming the groups, where there is none."""
    groups = instances(services)
    wanted = name.replace("_", "-")
    if wanted not in groups:
        known = ", ".join(sorted(groups)) or "none"
        raise Fatal(f"{name} is no service that can be scaled; those that can: {known}")
    return wanted


def plan(group: str, count: int, services: Iterable[str], partitions: int | None = None) -> Scaling:
    """What makes `count` instances of `group` run.

    `partitions` are those of the topic that they share. Raises Fatal where there are too few of these or of instances.
    """
    members = instances(services)[group]
    if count < 0:
        raise Fatal(f"{group} cannot be scaled to {count}: give 0 or more")
    if count > len(members):
        raise Fatal(f"{group} cannot be scaled to {count}: {len(members)} instances of it are declared")
    if partitions is not None and count > partitions:
        raise Fatal(
            f"{group} cannot be scaled to {count}: its topic has {partitions} partitions, and one that has none of "
            "them does nothing"
        )
    return Scaling(tuple(members[:count]), tuple(members[count:]))


def stop(scaling: Scaling, supervisor: Supervisor, ledger: Services, by: str) -> list[str]:
    """Stop the instances that are not to run, and keep them stopped; returns those that did run."""
    running = supervisor.processes()
    ran = [name for name in scaling.stop if name in running and running[name].pid is not None]
    for name in scaling.stop:
        control.stop(name, supervisor, ledger, by)
    return ran
