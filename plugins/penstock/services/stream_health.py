"""The health of a stream's driver by its progress: what it has committed in the ledger, and what still waits for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from penstock.core.errors import Retry
from penstock.core.service import State
from penstock.core.settings import ledger_url
from penstock.services.backlog import Backlog
from penstock.services.service import Verdict

if TYPE_CHECKING:
    from penstock.ledger.streams import Progress, Streams

Mark: TypeAlias = tuple[str, int]
"""The query and the number of a micro-batch."""


@dataclass(frozen=True)
class Sample:
    """One look at the moment `at`, in seconds of the monotonic clock.

    `newest` is the micro-batch that was written last, None before the first one. `waiting` is how much is left to read,
    None where it or the progress is not known, and `unknown` then says why.
    """

    at: float
    newest: Progress | None = None
    waiting: int | None = None
    unit: str = "records"
    unknown: str = ""

    @property
    def mark(self) -> Mark | None:
        """What is another one where there was progress."""
        return (self.newest.query_id, self.newest.batch) if self.newest else None


@dataclass(frozen=True)
class StreamProbe:
    """Looks at the micro-batches of a stream, and measures what waits for the group that its driver commits for.

    `ledger` gives the ledger's address when it is needed, and not when a DAG file is parsed.
    """

    stream: str
    backlog: Backlog
    ledger: Callable[[], str] = ledger_url

    def sample(self, at: float) -> Sample:
        """One look. Raises Fatal where an address is not set."""
        try:
            newest = _streams(self.ledger()).latest(self.stream)
            return Sample(at, newest, self.backlog.waiting(), self.backlog.unit)
        except Retry as error:
            return Sample(at, unknown=str(error))

    def judge(self, samples: Sequence[Sample], stall_limit: float) -> Verdict:
        """See `judge`."""
        return judge(samples, stall_limit)


@cache
def _streams(url: str) -> Streams:
    """One session for all streams of this process."""
    from penstock.ledger.streams import Streams

    return Streams(url)


def judge(samples: Sequence[Sample], stall_limit: float) -> Verdict:
    """Judge a driver by samples of one life of its process, at least one, the oldest first.

    Records that wait while no micro-batch is written for `stall_limit` seconds are a stall; with nothing to read it is
    healthy. A life without a micro-batch yet is starting.
    """
    newest = samples[-1]
    if newest.unknown:
        return Verdict(State.TROUBLED, f"its progress is not known: {newest.unknown}")
    if not newest.waiting:
        return Verdict(State.HEALTHY, f"nothing waits{_after(newest.newest)}")
    work = f"{newest.waiting} {newest.unit} wait"
    known = [sample for sample in samples if not sample.unknown]
    stuck = newest.at - _unmoved_since(known)
    if stuck >= stall_limit:
        return Verdict(
            State.STALLED, f"{work}, and no micro-batch was written for {stuck:.0f} s{_after(newest.newest)}"
        )
    if all(sample.mark == newest.mark for sample in known):
        return Verdict(
            State.STARTING, f"{work}, and this process has written no micro-batch yet{_after(newest.newest)}"
        )
    return Verdict(State.HEALTHY, f"{work}{_after(newest.newest)}{_rate(newest.newest)}")


def _unmoved_since(samples: Sequence[Sample]) -> float:
    """The moment since which records have waited without a micro-batch: the newest sample's where they begin to."""
    newest = samples[-1]
    since = newest.at
    for sample in reversed(samples):
        if sample.mark != newest.mark or not sample.waiting:
            break
        since = sample.at
    return since


def _after(progress: Progress | None) -> str:
    if progress is None:
        return ""
    return f"; micro-batch {progress.batch} was written last, minutes are closed up to {progress.watermark:%F %T} UTC"


def _rate(progress: Progress | None) -> str:
    if progress is None or progress.seconds <= 0:
        return ""
    return f", at {progress.fates.read / progress.seconds:,.0f} records/s"
