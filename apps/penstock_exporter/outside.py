"""What others know: Flume's agents, the folders that programs leave files in, the landed data itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from apps.penstock_exporter.part import Value
from penstock.core.errors import Fatal
from penstock.core.settings import (
    Influx,
    WatchLimits,
    WebEventLogs,
    WikiCollector,
    events_position_file,
    spool_folder,
)
from penstock.observe import data_watch
from penstock.observe.metrics import (
    DISK_FREE,
    DISK_FREE_LIMIT,
    FLUME_CHANNEL_SIZE,
    FLUME_EVENTS,
    FLUME_UP,
    SPOOL_BYTES,
    SPOOL_LIMIT,
)
from penstock.services import services_now
from penstock.services.backlog import Unread
from penstock.services.flume_health import Counters, FlumeProbe, counters

_FLUME = "flume-"


class FlumePart:
    """The counters of every agent. One that does not answer is told to be down, and says nothing more."""

    def look(self) -> Iterator[Value]:
        """One look, at all agents at once, so that those that hang take no more time than one.

        Raises Fatal where an agent's address is not set.
        """
        addresses = {
            name.removeprefix(_FLUME): service.probe.metrics()
            for name, service in services_now().items()
            if isinstance(service.probe, FlumeProbe)
        }
        with ThreadPoolExecutor(len(addresses)) as pool:
            for agent, found in zip(addresses, pool.map(counters, addresses.values()), strict=True):
                yield FLUME_UP, {"agent": agent}, float(found is not None)
                yield from _of_agent(agent, found or {})


def _of_agent(agent: str, found: Counters) -> Iterator[Value]:
    for component, values in found.items():
        labels = {"agent": agent, "component": component}
        if "ChannelSize" in values:
            yield FLUME_CHANNEL_SIZE, labels, float(values["ChannelSize"])
        for counter, value in values.items():
            if counter.startswith("Event") or counter.endswith("Fail"):
                yield FLUME_EVENTS, {**labels, "counter": counter}, float(value)


class SpoolsPart:
    """What waits in each folder for its Flume agent, at which number of bytes its program stops, and what is free."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Raises Fatal where a setting makes no sense."""
        logs, collector = WebEventLogs.from_env(environment), WikiCollector.from_env(environment)
        self._population = spool_folder(environment) / "population"
        self._wiki = collector.folder
        self._logs = logs.folder
        self._unread = Unread(lambda: logs.folder, lambda: events_position_file(environment))
        self._limits = {"wiki": collector.spool_bytes, "web_events": logs.total_bytes}
        self._free = WatchLimits.from_env(environment).disk_free_bytes

    def look(self) -> Iterator[Value]:
        """One look. Raises Retry where Flume is just writing how far it is, Fatal where a folder can't be read."""
        folders = {"population": self._population, "wiki": self._wiki, "web_events": self._logs}
        yield DISK_FREE_LIMIT, {}, self._free
        for spool, limit in self._limits.items():
            yield SPOOL_LIMIT, {"spool": spool}, limit
        for spool, folder in folders.items():
            yield DISK_FREE, {"spool": spool}, shutil.disk_usage(_existing(folder)).free
        for spool in ("population", "wiki"):
            yield SPOOL_BYTES, {"spool": spool}, size(folders[spool])
        # What was taken stays until its room is needed.
        yield SPOOL_BYTES, {"spool": "web_events"}, self._unread.waiting()


def size(folder: Path) -> int:
    """The bytes of the files in a folder, 0 where there is none. Raises Fatal where it can't be read."""
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    total += entry.stat().st_size if entry.is_file() else 0
                except FileNotFoundError:
                    continue  # taken meanwhile
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise Fatal(f"the folder {folder} can't be read: {error.strerror}") from error
    return total


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.exists())


def look_at_data() -> Iterator[Value]:
    """The numbers of observe/data_watch.py. Raises Retry where InfluxDB is away, Fatal where it refuses."""
    yield from data_watch.collect(Influx.from_env())
