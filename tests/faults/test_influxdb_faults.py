"""InfluxDB that is killed in the middle of a landing: nothing is lost, and each point is there once."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from penstock.core.counts import Extent
from penstock.core.settings import Influx
from penstock.ledger.store import Ledger
from penstock.pipelines import PIPELINES
from penstock.sinks.influxdb import InfluxSink
from penstock.stack.airflow_api import Airflow
from tests.measurements import points
from tests.schedule import clear_of_quarter_hours

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

CARS = PIPELINES["car_transactions"]
POSTED = 120_000
AT_ONCE = 20_000
SOLD = datetime(2002, 3, 4, 5, 6, 7, tzinfo=UTC)
SOLD_MS = int(SOLD.timestamp() * 1000)
TAGS = {"car_brand": "Kill", "car_model": "Nine", "country": "Nowhere", "branch": "Nowhere", "color": "black"}
SECONDS = 300.0


def sale(number: int) -> dict[str, Any]:
    rest = {"buyer_id": number, "buyer_name": "", "year": 2002, "transaction_price": 1.0}
    return {"transaction_id": number, "time": SOLD_MS, **TAGS, **rest}


def test_a_kill_in_the_middle_of_a_landing_loses_nothing_and_doubles_nothing(
    airflow: Airflow, ledger: Ledger, influx_settings: Influx, stack: Any
) -> None:
    clear_of_quarter_hours()
    api = stack.context.endpoints()["car_api"]["url"]
    for first in range(0, POSTED, AT_ONCE):
        answer = requests.post(
            f"{api}/api/logs", json=[sale(number) for number in range(first, first + AT_ONCE)], timeout=60
        )
        assert answer.status_code == 202, answer.text
    start = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=40)
    backfill = airflow.backfill(CARS.name, start, start)

    sink = InfluxSink(influx_settings, CARS.sinks[0].name, CARS.contract)
    extent = Extent((tuple(TAGS[name] for name in CARS.contract.tags),), SOLD_MS, SOLD_MS)
    deadline = time.monotonic() + SECONDS
    while not (landed := sink.count(extent, SOLD).newer):
        assert time.monotonic() < deadline, "the landing did not begin"
        time.sleep(0.05)
    killed = stack.kill("influxdb")
    assert landed < POSTED, "the kill must hit a landing that is not over"

    airflow.wait_backfill(backfill, SECONDS)
    assert stack.context.supervisor.states()["influxdb"]["pid"] != killed
    with ledger as open_ledger:
        (row,) = open_ledger.batches(CARS.name, start, start + timedelta(minutes=15))
    assert row.verdict == "whole"
    assert (row.fetched or 0) >= POSTED
    assert row.landed == row.raw_copied == row.fetched
    found = points(influx_settings, CARS.sinks[0].name, SOLD, SOLD + timedelta(seconds=1))
    ids = [each["transaction_id"] for each in found if each["car_brand"] == TAGS["car_brand"]]
    assert len(ids) == len(set(ids)) == POSTED
