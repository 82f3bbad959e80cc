"""What the tests of Airflow's side share: a task's context, and a ledger that remembers what it was told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Self

import pytest

import tests.airflow_home  # noqa: F401 - before anything imports Airflow
from penstock.core.batch import Batch, Interval
from penstock.core.counts import Extent, OffsetRange, Produced, Replayed
from penstock.core.errors import Retry

AS_OF = datetime(2026, 3, 1, 11, 0, 5, 123456, tzinfo=UTC)
HOUR = Interval(datetime(2026, 3, 1, 10, tzinfo=UTC), datetime(2026, 3, 1, 11, tzinfo=UTC))


@dataclass
class FakeLedger:
    """Notes each call as (method, batch id, detail)."""

    told: list[tuple[Any, ...]] = field(default_factory=list)
    replayed: list[Replayed] = field(default_factory=list)
    away: set[str] = field(default_factory=set)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _note(self, method: str, batch: Batch, detail: Any) -> bool:
        if method in self.away:
            raise Retry("the ledger is away")
        self.told.append((method, batch.id, detail))
        return True

    def started(self, batch: Batch, hop: str, run: Any, *, as_of: datetime) -> bool:
        return self._note("started", batch, (str(hop), run.id, run.try_number, as_of))

    def failed(self, batch: Batch, hop: str, error: Any, run: Any) -> bool:
        return self._note("failed", batch, (str(hop), str(error)))

    def produced(self, batch: Batch, produced: Produced, run: Any) -> bool:
        return self._note("produced", batch, produced)

    def landed(self, batch: Batch, landed: Any, run: Any, *, as_of: datetime) -> bool:
        return self._note("landed", batch, landed)

    def reconciled(self, batch: Batch, verdict: Any, run: Any, *, as_of: datetime) -> bool:
        return self._note("reconciled", batch, verdict.text)

    def replays(self, batch_id: str, as_of: datetime) -> list[Replayed]:
        assert as_of == AS_OF
        return self.replayed

    def methods(self) -> list[str]:
        return [each[0] for each in self.told]


@pytest.fixture
def fake_ledger(monkeypatch: pytest.MonkeyPatch) -> FakeLedger:
    from penstock.airflow import recording
    from penstock.airflow.operators import await_landing, land, produce, reconcile

    ledger = FakeLedger()
    for module in (recording, await_landing, land, produce, reconcile):
        monkeypatch.setattr(module, "ledger", lambda: ledger)
    return ledger


@pytest.fixture
def context() -> dict[str, Any]:
    """That of the second try of a scheduled run's task."""
    return {
        "ti": SimpleNamespace(dag_id="weather_hourly", run_id="scheduled__2026-03-01T10:00:00+00:00", try_number=2),
        "dag_run": SimpleNamespace(run_after=datetime(2026, 3, 1, 11, tzinfo=UTC)),
        "data_interval_start": HOUR.start,
        "data_interval_end": HOUR.end,
        "params": {},
        "outlet_events": {},
    }


@pytest.fixture(autouse=True)
def _operators_may_be_called() -> Iterator[None]:
    """Airflow's operators refuse to be executed outside its task runner, unless told that this is a test."""
    from airflow.sdk.bases.operator import ExecutorSafeguard

    before, ExecutorSafeguard.test_mode = ExecutorSafeguard.test_mode, True
    yield
    ExecutorSafeguard.test_mode = before


def produced(acked: int = 6, rejected: int = 0, interval: Interval = HOUR, **options: Any) -> dict[str, Any]:
    """The XCom of a produce task."""
    from penstock.airflow.handover import ProducedBatch

    batch = Batch("weather_hourly", interval, options)
    counts = Produced(
        batch_id=batch.id,
        topic="hourlymetrics",
        schema_id=3,
        as_of=AS_OF,
        fetched=acked,
        acked=acked,
        rejected=rejected,
        ranges=(OffsetRange(0, 10, 10 + acked),),
    )
    extent = Extent(((52.52, 13.41, "2026-03"),), 0, 1) if acked else None
    return ProducedBatch(batch, counts, extent).to_json()


@pytest.fixture(autouse=True)
def _no_lineage(monkeypatch: pytest.MonkeyPatch) -> None:
    """No lineage server is known, also where a stack that knows one has run in this process."""
    for name in [name for name in os.environ if name.startswith("OPENLINEAGE_")]:
        monkeypatch.delenv(name)
