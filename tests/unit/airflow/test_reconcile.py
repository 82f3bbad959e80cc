from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from penstock.airflow.errors import TryAgain
from penstock.airflow.operators.reconcile import ReconcileOperator
from penstock.core.batch import Interval
from penstock.core.counts import Count, Extent, Landed, Replayed
from penstock.core.errors import Retry
from penstock.ledger.reconcile import Verdict
from penstock.pipelines.weather import WEATHER_HOURLY
from tests.unit.airflow.conftest import AS_OF, HOUR, FakeLedger, produced


class Table:
    """In the place of the Cassandra sink, with so many rows of each batch, by the first time of its extent."""

    def __init__(self) -> None:
        self.rows: dict[int, int] = {}
        self.error: Exception | None = None
        self.closed = 0

    def count(self, extent: Extent, as_of: datetime) -> Count:
        if self.error:
            raise self.error
        assert as_of == AS_OF
        return Count(own=self.rows[extent.first])

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    table = Table()

    monkeypatch.setattr("penstock.sinks.cassandra.CassandraSink", lambda *_, **__: table)
    for name in ("CASSANDRA_HOSTS", "CASSANDRA_USER", "CASSANDRA_PASSWORD"):
        monkeypatch.setenv(name, "unused")
    return table


def landed(result: dict[str, Any], count: int, rejected: int = 0) -> dict[str, Any]:
    return Landed(result["batch_id"], read=count + rejected, landed=count, rejected=rejected).to_json()


@pytest.fixture
def reconcile(context: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    def execute(produced: Any, landed: Any) -> dict[str, Any]:
        task = ReconcileOperator(task_id="reconcile", pipeline=WEATHER_HOURLY, produced=produced, landed=landed)
        context["outlet_events"] = {asset: SimpleNamespace(extra=None) for asset in task.outlets}
        return task.execute(context)

    return execute


def test_a_whole_batch_is_written_down_and_announced(
    table: Table, fake_ledger: FakeLedger, reconcile: Any, context: dict[str, Any]
) -> None:
    result = produced(acked=6, rejected=1)
    table.rows[0] = 4
    sums = reconcile(result, [landed(result, 4, rejected=1)])
    assert sums == {"batches": 1, "fetched": 6, "acked": 6, "landed": 4, "rejected": 2, "duplicates": 0}
    assert fake_ledger.methods() == ["started", "reconciled"]
    assert fake_ledger.told[-1][2] == "whole"
    ((asset, event),) = context["outlet_events"].items()
    assert asset.uri == "cassandra://analytics/hourlydata"
    assert event.extra == sums
    assert table.closed == 1


def test_a_record_missing_at_land_fails_the_task_with_the_hop_and_the_numbers(
    table: Table, fake_ledger: FakeLedger, reconcile: Any
) -> None:
    result = produced(acked=6)
    table.rows[0] = 5
    with pytest.raises(AirflowFailException, match=r"1 missing at land") as caught:
        reconcile(result, [landed(result, 5)])
    assert "1 of 1 batches are not whole" in str(caught.value)
    assert result["batch_id"] in str(caught.value)
    assert fake_ledger.methods() == ["started", "reconciled"]


def test_a_row_missing_in_the_table_fails_the_task_whatever_the_landing_said(
    table: Table, fake_ledger: FakeLedger, reconcile: Any, context: dict[str, Any]
) -> None:
    result = produced(acked=6)
    table.rows[0] = 3
    with pytest.raises(AirflowFailException, match="3 missing in hourlydata"):
        reconcile(result, [landed(result, 6)])
    assert [event.extra for event in context["outlet_events"].values()] == [None]


def test_each_of_many_batches_is_judged(table: Table, fake_ledger: FakeLedger, reconcile: Any) -> None:
    days = [timedelta(days=number) for number in range(8)]
    results = [produced(interval=Interval(HOUR.start + day, HOUR.end + day)) for day in days]
    for number, result in enumerate(results):
        result["extent"]["first"] = number
        table.rows[number] = 6 if number == 0 else 5
    with pytest.raises(AirflowFailException, match=r"7 of 8 batches are not whole.*; and 2 more, see the ledger"):
        reconcile(results, [landed(result, 6) for result in results])
    verdicts = [detail for method, _, detail in fake_ledger.told if method == "reconciled"]
    assert verdicts.count("whole") == 1
    assert len(verdicts) == 8


def test_a_batch_without_records_is_whole(table: Table, fake_ledger: FakeLedger, reconcile: Any) -> None:
    result = produced(acked=0)
    assert reconcile(result, [landed(result, 0)])["landed"] == 0
    assert fake_ledger.told[-1][2] == "whole"


def test_a_sink_that_is_away_is_asked_again_later(table: Table, fake_ledger: FakeLedger, reconcile: Any) -> None:
    table.error = Retry("Cassandra is away")
    result = produced()
    with pytest.raises(TryAgain, match="Cassandra is away"):
        reconcile(result, [landed(result, 6)])
    assert fake_ledger.methods() == ["started", "failed"]
    assert table.closed == 1


def test_a_batch_with_a_replay_is_judged_by_its_keys_and_the_replay_has_landed(
    fake_ledger: FakeLedger, reconcile: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_ledger.replayed = [Replayed(0, 90, AS_OF), Replayed(0, 91, AS_OF, replaced=(0, 12))]
    judged: list[Any] = []

    def by_keys(_: Any, batches: Any, landed: Any) -> list[Verdict]:
        judged.append((batches[0].produced, landed[batches[0].batch.id]))
        return [Verdict("whole", {})]

    monkeypatch.setattr("penstock.airflow.operators.reconcile.judged_by_keys", by_keys)
    result = produced(acked=6, rejected=1)
    sums = reconcile(result, [landed(result, 4, rejected=1)])
    assert (sums["landed"], sums["rejected"]) == (6, 0)
    ((produced_with, landed_with),) = judged
    assert (produced_with.on_topic, len(produced_with.replays), landed_with.read) == (6, 2, 6)
