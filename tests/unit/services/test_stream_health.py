from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from penstock.core.errors import Retry
from penstock.core.service import State
from penstock.core.stream import Fates
from penstock.ledger.streams import Progress
from penstock.services.stream_health import Sample, StreamProbe, judge

AT = datetime(2026, 11, 22, 15, 1, tzinfo=UTC)
LIMIT = 60.0


def progress(batch: int) -> Progress:
    return Progress("5f0c7a10", batch, AT, AT, AT, {0: 10}, Fates(read=5_000), 0.5, 0)


def samples(*looks: tuple[float, int | None, int | None]) -> list[Sample]:
    """(at, batch, waiting) each."""
    return [Sample(at, None if batch is None else progress(batch), waiting) for at, batch, waiting in looks]


@pytest.mark.parametrize(
    ("looks", "state"),
    [
        ([(0, None, 0)], State.HEALTHY),
        ([(0, None, 5)], State.STARTING),
        ([(0, 7, 5), (30, 7, 500)], State.STARTING),
        ([(0, 7, 5), (30, 8, 500)], State.HEALTHY),
        ([(0, 7, 5), (30, 8, 500), (95, 8, 500)], State.STALLED),
        ([(0, 7, 5), (30, 8, 500), (60, 9, 500), (95, 9, 500)], State.HEALTHY),
        ([(0, 7, 0), (900, 7, 0)], State.HEALTHY),
        ([(0, 7, 0), (900, 7, 1)], State.STARTING),
        ([(0, 7, 5), (61, 7, 5)], State.STALLED),
        ([(0, None, 5), (61, None, 5)], State.STALLED),
    ],
)
def test_a_driver_is_judged_by_micro_batches_and_by_what_waits(
    looks: Sequence[tuple[float, int | None, int | None]], state: State
) -> None:
    assert judge(samples(*looks), LIMIT).state is state


def test_a_look_that_failed_is_no_stall_and_no_progress() -> None:
    looks = samples((0, 7, 5), (30, 7, 5))
    assert judge([*looks, Sample(70, unknown="Kafka is away")], LIMIT).state is State.TROUBLED
    assert judge([*looks, Sample(50, unknown="Kafka is away"), *samples((70, 7, 5))], LIMIT).state is State.STALLED


def test_reasons_have_numbers() -> None:
    verdict = judge(samples((0, 7, 5), (30, 8, 500)), LIMIT)
    assert verdict.reason == (
        "500 records wait; micro-batch 8 was written last, minutes are closed up to 2026-11-22 15:01:00 UTC, "
        "at 10,000 records/s"
    )
    verdict = judge(samples((0, 7, 5), (61, 7, 6)), LIMIT)
    assert verdict.reason.startswith("6 records wait, and no micro-batch was written for 61 s; micro-batch 7 ")


class Away:
    unit = "records"

    def waiting(self) -> int:
        raise Retry("Kafka does not answer")


def test_a_ledger_that_is_away_is_part_of_the_sample() -> None:
    probe = StreamProbe("wiki", Away(), lambda: "postgresql://nobody:x@127.0.0.1:1/none")
    sample = probe.sample(1.0)
    assert "can't be reached" in sample.unknown
    assert probe.judge([sample], LIMIT).state is State.TROUBLED
