"""POPULATION_LANDED_BY=stream, through the real scheduler. Among the faults, because Airflow is started anew for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from penstock.core.settings import Influx
from penstock.ledger.store import Ledger, LedgerRow
from penstock.pipelines import POPULATION
from penstock.stack.airflow_api import Airflow
from penstock.stack.context import Context
from penstock.stack.servers import wanted
from tests.conftest import Stack
from tests.measurements import FOR_EVER, points
from tests.streams import running

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

DAY = timedelta(days=1)
OF_AIRFLOW = ("airflow-dag-processor", "airflow-scheduler", "airflow-triggerer")


def configure(stack: Stack, context: Context) -> None:
    """Start Airflow anew with the settings of `context`, and let the stream find them; nothing else notices."""
    switched = {*OF_AIRFLOW, POPULATION.landing_service}
    supervisor = stack.context.supervisor
    supervisor.write(
        [each.program(context if each.name in switched else stack.context) for each in wanted(stack.context)]
    )
    supervisor.start()
    for name in OF_AIRFLOW:
        stack.start(name)


@contextmanager
def landed_by_stream(stack: Stack, measurement: str) -> Iterator[None]:
    """Let a stream land the population during the block, in a measurement of its own."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("POPULATION_LANDED_BY", "stream")
        patched.setenv("POPULATION_MEASUREMENT", measurement)
        changed = Context.load().with_replay(True)
    try:
        configure(stack, changed)
        with running(stack, [POPULATION.landing_service]):
            yield
    finally:
        configure(stack, stack.context)


def run(airflow: Airflow, ledger: Ledger, days_ago: int) -> tuple[LedgerRow, dict[str, str]]:
    """Run a day: what the ledger says of it, and {task: its state}."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start = today - days_ago * DAY
    run_id = airflow.trigger("population", logical_date=start + DAY + timedelta(seconds=1))
    airflow.wait("population", run_id)
    with ledger as open_ledger:
        (row,) = open_ledger.batches("population", start, start + DAY)
    return row, {each["task_id"]: each["state"] for each in airflow.tasks("population", run_id)}


def values(influx: Influx, measurement: str) -> Mapping[datetime, Mapping[str, Any]]:
    """{time: the point}, without when it was fetched."""
    found = points(influx, measurement, *FOR_EVER)
    return {each["_time"]: {name: value for name, value in each.items() if name != "as_of"} for each in found}


def test_a_run_waits_for_the_stream_is_whole_and_gives_the_points_of_the_batch_job(
    stack: Stack, airflow: Airflow, ledger: Ledger, influx_settings: Influx, unique: str
) -> None:
    row, states = run(airflow, ledger, 3)
    assert row.verdict == "whole"
    assert states["land"] == "success"
    with landed_by_stream(stack, unique):
        by_stream, states = run(airflow, ledger, 4)
        assert "land" not in states
        assert states["await_landing"] == "success"
        assert by_stream.verdict == "whole"
        assert by_stream.landed == by_stream.fetched == row.landed
        landed, usual = values(influx_settings, unique), values(influx_settings, POPULATION.sinks[0].name)
        assert len(landed) == by_stream.landed
        assert landed == {each: usual[each] for each in landed}

    row, states = run(airflow, ledger, 5)
    assert row.verdict == "whole"
    assert states["land"] == "success", "the switch is back"
