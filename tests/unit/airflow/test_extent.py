from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from penstock.airflow.extent import ExtentOf
from penstock.core.counts import Extent
from penstock.ledger.cassandra_rows import row_key
from penstock.pipelines.weather import WEATHER_DAILY, WEATHER_HOURLY

HOUR = 3_600_000


def ms(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp() * 1000)


NIGHT = ms(2026, 1, 31, 23)


def record(latitude: Any = 52.52, time: Any = NIGHT) -> dict[str, Any]:
    return {"latitude": latitude, "longitude": 13.41, "time": time}


def noted(records: list[dict[str, Any]], contract: Any = WEATHER_HOURLY.contract) -> Extent | None:
    place = ExtentOf(contract)
    assert list(place.watch(records)) == records
    return place.extent()


def test_partitions_and_times_are_those_of_the_rows() -> None:
    records = [record(latitude, NIGHT + n * HOUR) for latitude in (52.52, 48.14) for n in range(3)]
    extent = noted(records)
    assert extent is not None
    assert (extent.first, extent.last) == (NIGHT, NIGHT + 2 * HOUR)
    assert set(extent.partitions) == {row_key(WEATHER_HOURLY.contract, each).partition for each in records}
    assert len(extent.partitions) == 4


def test_a_date_is_in_its_own_month() -> None:
    day = (datetime(2026, 2, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).days
    records = [record(time=day), record(time=day - 1)]
    extent = noted(records, WEATHER_DAILY.contract)
    assert extent is not None
    assert {each[-1] for each in extent.partitions} == {"2026-02", "2026-01"}


@pytest.mark.parametrize(
    "broken", [record("n/a"), record(None), record(91.0), record(time="noon"), record(time=None), record(time=2**62)]
)
def test_a_record_without_a_writable_key_has_no_place(broken: dict[str, Any]) -> None:
    assert noted([broken]) is None
    assert noted([broken, record()]) == noted([record()])


def test_there_is_one_zero() -> None:
    extent = noted([record(-0.0), record(0.0)])
    assert extent is not None
    ((latitude, *_),) = extent.partitions
    assert str(latitude) == "0.0"


def test_a_batch_without_records_has_no_extent() -> None:
    assert noted([]) is None
