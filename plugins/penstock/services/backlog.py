"""What waits for a service outside of it: records on a topic, files in a folder, or lines of log files."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from penstock.core.errors import Fatal
from penstock.core.settings import Kafka
from penstock.services import tail

if TYPE_CHECKING:
    from penstock.kafka.lag import Lag


class Backlog(Protocol):
    """Something that a service has to work off."""

    @property
    def unit(self) -> str:
        """What is counted, in the plural."""
        ...

    def waiting(self) -> int:
        """How much waits now. Raises Retry where that can't be found out at present, Fatal where it never can."""
        ...


@dataclass(frozen=True)
class Files:
    """The complete files in a folder. A folder that does not exist yet has none.

    Left out is what the agents' `ignorePattern` leaves out: hidden files, and those that are still being written.
    """

    folder: Callable[[], Path]
    unit: str = "files"

    def waiting(self) -> int:
        """The number of files. Raises Fatal where the folder can't be read."""
        folder = self.folder()
        try:
            with os.scandir(folder) as entries:
                return sum(entry.is_file() and _is_complete(entry.name) for entry in entries)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise Fatal(f"the spool folder {folder} can't be read: {error.strerror}") from error


def _is_complete(name: str) -> bool:
    return not name.startswith(".") and not name.endswith((".tmp", ".part"))


@dataclass(frozen=True)
class Unread:
    """The bytes of whole lines in a folder's log files that a tailing Flume source has not taken yet.

    `positions` is the source's position file. A folder that does not exist yet has no lines.
    """

    folder: Callable[[], Path]
    positions: Callable[[], Path]
    unit: str = "bytes of log lines"

    def waiting(self) -> int:
        """Raises Retry where Flume is just writing its position file, Fatal where a file can't be read."""
        folder = self.folder()
        try:
            taken = tail.positions(self.positions())
            return sum(tail.unread(file, taken) for file in tail.log_files(folder))
        except OSError as error:
            raise Fatal(f"what waits in {folder} can't be measured: {error}") from error


@dataclass(frozen=True)
class Records:
    """The committed records of a topic that a consumer group has not yet taken."""

    topic: Callable[[], str]
    group: str
    unit: str = "records"

    def waiting(self) -> int:
        """See `penstock.kafka.lag.Lag.of`."""
        return _lag(Kafka.from_env()).of(self.group, self.topic())


@cache
def _lag(kafka: Kafka) -> Lag:
    """One client for all services of this process."""
    from penstock.kafka.lag import Lag

    return Lag(kafka)
