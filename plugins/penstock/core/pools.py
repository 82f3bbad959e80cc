"""How many tasks run at once: the pools that provisioning makes in Airflow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pool:
    """A pool of task slots. Of two waiting tasks, the one with the higher `priority` gets a free worker first."""

    name: str
    slots: int
    priority: int
    description: str


LIVE = Pool("live", 4, 10, "Runs of the newest intervals")
BACKFILL = Pool("backfill", 2, 1, "Backfills and historic runs, which must not take a live run's slot")
WATCH = Pool("services", 2, 20, "The moments in which a watch over a service begins or ends; watching takes no slot")

POOLS = (LIVE, BACKFILL, WATCH)
