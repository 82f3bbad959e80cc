"""Populations that jump and prices that stand out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import responses

from apps.car_api.sales import Sales, sale
from penstock.core.errors import Fatal, Retry
from penstock.core.settings import Influx, WatchLimits
from penstock.observe.data_watch import change, collect, outliers
from penstock.observe.metrics import CAR_PRICE_OUTLIERS_LIMIT, POPULATION_CHANGE_LIMIT

INFLUX = Influx("http://influx:8086", "org", "ETL_Project", "s3cr3t")
LIMITS = WatchLimits(population_change=0.03, car_price_outliers=2, disk_free_bytes=1.0)
PRICES = [*range(20_000, 40_000, 1_000)]


@pytest.fixture
def server() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


def test_a_change_is_that_from_the_year_before() -> None:
    assert change({2021: 50.0, 2022: 100.0, 2023: 110.0}) == pytest.approx(0.1)
    assert change({2022: 100.0, 2023: 75.0}) == pytest.approx(-0.25)


@pytest.mark.parametrize("people", [{}, {2023: 100.0}, {2019: 100.0, 2021: 200.0}, {2022: 0.0, 2023: 100.0}])
def test_without_the_year_before_there_is_no_change(people: dict[int, float]) -> None:
    assert change(people) is None


def test_a_price_far_from_the_median_is_an_outlier_on_either_side() -> None:
    assert outliers(PRICES) == 0
    assert outliers([*PRICES, 120_000]) == 1
    assert outliers([*PRICES, 120_000, 1e9, 500_000]) == 3
    assert outliers([*(price + 100_000 for price in PRICES), 1.0]) == 1


def test_the_cut_off_is_a_modified_z_score_of_three_and_a_half() -> None:
    prices = [8.0, 9.0, 9.0, 10.0, 10.0, 10.0, 11.0, 11.0, 12.0, 10.0]  # median 10; with one more price, MAD 1
    edge = 10 + 3.5 / 0.6745
    assert outliers([*prices, edge - 0.001]) == 0
    assert outliers([*prices, edge + 0.001]) == 1


def test_almost_half_of_the_prices_may_be_wrong_and_are_all_found() -> None:
    assert outliers([*PRICES, *[1e6] * 19]) == 19


def test_a_price_apart_from_many_that_are_the_same_is_an_outlier() -> None:
    assert outliers([30_000] * 40) == 0
    assert outliers([*[30_000] * 40, 31_000]) == 1


def test_few_prices_tell_nothing() -> None:
    assert outliers([1.0] * 8 + [1e9]) is None
    assert outliers([]) is None


def test_the_car_apis_own_prices_are_usual_ones() -> None:
    day = datetime(2026, 11, 22, tzinfo=UTC)
    sold: dict[str, list[float]] = {}
    for number in Sales.between(day, day + timedelta(days=1)).ids():
        record = sale(number)
        sold.setdefault(str(record["car_brand"]), []).append(float(str(record["transaction_price"])))
    assert {outliers(prices) for prices in sold.values()} == {0}


def test_what_is_known_of_an_empty_bucket_are_the_limits(server: responses.RequestsMock) -> None:
    server.post(f"{INFLUX.url}/query", json={"results": [{"statement_id": 0}]})
    assert list(collect(INFLUX, limits=LIMITS)) == [
        (POPULATION_CHANGE_LIMIT, {}, 0.03),
        (CAR_PRICE_OUTLIERS_LIMIT, {}, 2),
    ]


def test_an_influxdb_that_refuses_the_token_is_a_matter_for_a_person(server: responses.RequestsMock) -> None:
    server.post(f"{INFLUX.url}/query", status=401, json={"message": "unauthorized access"})
    with pytest.raises(Fatal, match="INFLUXDB_TOKEN"):
        list(collect(INFLUX, limits=LIMITS))


def test_an_influxdb_that_is_away_is_asked_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.observe.data_watch._PATIENCE_SECONDS", 0.1)
    away = Influx("http://127.0.0.1:9", "org", "ETL_Project", "s3cr3t")
    with pytest.raises(Retry, match="cannot be reached"):
        list(collect(away, limits=LIMITS))


def test_limits_come_from_the_environment() -> None:
    assert WatchLimits.from_env({"POPULATION_CHANGE_LIMIT": "0.5"}).population_change == 0.5
    assert WatchLimits.from_env({"CAR_PRICE_OUTLIERS_LIMIT": "7"}).car_price_outliers == 7
    assert WatchLimits.from_env({"PENSTOCK_DISK_FREE_BYTES": "1e9"}).disk_free_bytes == 1e9


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POPULATION_CHANGE_LIMIT", "3%"),
        ("POPULATION_CHANGE_LIMIT", "0"),
        ("CAR_PRICE_OUTLIERS_LIMIT", "-1"),
        ("CAR_PRICE_OUTLIERS_LIMIT", str(math.pi)),
        ("PENSTOCK_DISK_FREE_BYTES", "5 GiB"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(name: str, value: str) -> None:
    with pytest.raises(Fatal, match=name):
        WatchLimits.from_env({name: value})
