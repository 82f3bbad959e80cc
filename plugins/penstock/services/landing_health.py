"""The health of a stream that lands a pipeline's records: by what it has committed to Kafka, and what still waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from penstock.core.errors import Retry
from penstock.core.pipeline import Pipeline
from penstock.core.service import State
from penstock.core.settings import Kafka
from penstock.services.service import SPARK_STALL_SECONDS, Service, Verdict

if TYPE_CHECKING:
    from penstock.kafka.lag import Lag

_RUNBOOK = (
    "Nothing is lost while it is down: the records stay on the topic, runs wait, and it goes on where it stopped. "
    "It needs Kafka, InfluxDB, HDFS and the ledger: look at them first, then at its log."
)


@dataclass(frozen=True)
class Sample:
    """One look at the moment `at`, in seconds of the monotonic clock.

    `landed` are the offsets that are behind it, of all partitions, and `waiting` those before it; both None where they
    are not known, and `unknown` then says why.
    """

    at: float
    landed: int | None = None
    waiting: int | None = None
    unknown: str = ""


@dataclass(frozen=True)
class LandingProbe:
    """Asks Kafka for the progress of a consumer group."""

    topic: Callable[[], str]
    group: str

    def sample(self, at: float) -> Sample:
        """One look. Raises Fatal where Kafka's address is not set, or it refuses."""
        lag, topic = _lag(Kafka.from_env()), self.topic()
        try:
            return Sample(at, sum(lag.progress(self.group, topic).values()), lag.of(self.group, topic))
        except Retry as error:
            return Sample(at, unknown=str(error))

    def judge(self, samples: Sequence[Sample], stall_limit: float) -> Verdict:
        """See `judge`."""
        return judge(samples, stall_limit)


@cache
def _lag(kafka: Kafka) -> Lag:
    """One client for all services of this process."""
    from penstock.kafka.lag import Lag

    return Lag(kafka)


def judge(samples: Sequence[Sample], stall_limit: float) -> Verdict:
    """Judge samples of one life of the process, at least one, the oldest first.

    Records that wait while none lands for `stall_limit` seconds are a stall; with nothing to land it is healthy.
    """
    newest = samples[-1]
    if newest.unknown:
        return Verdict(State.TROUBLED, f"its progress is not known: {newest.unknown}")
    if not newest.waiting:
        return Verdict(State.HEALTHY, "all is landed")
    work = f"{newest.waiting} offsets wait"
    stuck = newest.at - _standing_since(samples)
    if stuck >= stall_limit:
        return Verdict(State.STALLED, f"{work}, and none was landed for {stuck:.0f} s")
    if all(sample.unknown or sample.landed == newest.landed for sample in samples):
        return Verdict(State.STARTING, f"{work}, and this process has landed none yet")
    return Verdict(State.HEALTHY, work)


def _standing_since(samples: Sequence[Sample]) -> float:
    """The moment since which records have waited with none landed. What is not known is no progress."""
    since = samples[-1].at
    for sample in reversed(samples):
        if not sample.unknown:
            if sample.landed != samples[-1].landed or not sample.waiting:
                break
            since = sample.at
    return since


def landing_service(pipeline: Pipeline) -> Service:
    """The service that lands a pipeline's records, to be declared where `landed_by` is the stream.

    Its stall limit allows for Spark's start.
    """
    return Service(
        pipeline.landing_service,
        f"Spark: lands {pipeline.name} in InfluxDB",
        LandingProbe(lambda: pipeline.topic, pipeline.landing_service),
        _RUNBOOK,
        stall_limit=SPARK_STALL_SECONDS,
    )
