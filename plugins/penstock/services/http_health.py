"""The health of a program by its own word: it answers its `/healthz`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import urlopen

from penstock.core.service import State
from penstock.services.backlog import Backlog
from penstock.services.service import Verdict

_TIMEOUT_SECONDS = 4.0


@dataclass(frozen=True)
class Answer:
    """One look at the moment `at`, in seconds of the monotonic clock; `status` is None where nothing answered."""

    at: float
    status: int | None

    @property
    def works(self) -> bool:
        """Whether the program itself is in order: 503 says that something else is away."""
        return self.status is not None and (
            self.status < HTTPStatus.INTERNAL_SERVER_ERROR or self.status == HTTPStatus.SERVICE_UNAVAILABLE
        )


@dataclass(frozen=True)
class HttpProbe:
    """Asks a health address, which `url` gives when it is needed; `backlog` is what waits for the program."""

    url: Callable[[], str]
    backlog: Backlog | None = None

    def sample(self, at: float) -> Answer:
        """One look."""
        try:
            with urlopen(self.url(), timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - our own configuration
                return Answer(at, answer.status)
        except HTTPError as error:
            error.close()
            return Answer(at, error.code)
        except (OSError, HTTPException, ValueError):
            return Answer(at, None)

    def judge(self, samples: Sequence[Answer], stall_limit: float) -> Verdict:
        """See `judge`."""
        return judge(samples, stall_limit)


def judge(samples: Sequence[Answer], stall_limit: float) -> Verdict:
    """Judge answers of one life of the process, at least one, the oldest first.

    Silence or errors of its own for `stall_limit` seconds are a stall. A program that says that something else is away
    is not restarted for it.
    """
    newest = samples[-1]
    if newest.works:
        if newest.status == HTTPStatus.OK:
            return Verdict(State.HEALTHY, "it answers")
        return Verdict(State.TROUBLED, f"it says HTTP {newest.status}: what it needs is away")
    worked = [sample.at for sample in samples if sample.works]
    since = min(sample.at for sample in samples if not worked or sample.at > worked[-1])
    seconds = newest.at - since
    said = "it has not answered" if newest.status is None else f"it has answered HTTP {newest.status}"
    if seconds >= stall_limit:
        return Verdict(State.STALLED, f"{said} for {seconds:.0f} s")
    if not worked and newest.status is None:
        return Verdict(State.STARTING, "it does not answer yet")
    return Verdict(State.TROUBLED, f"{said} for {seconds:.0f} s")
