"""What the landed data may have to be looked at for, asked of a real InfluxDB."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import requests

from penstock.core.settings import Influx, Names, WatchLimits
from penstock.observe import data_watch
from penstock.observe.metrics import CAR_PRICE_OUTLIERS, POPULATION_CHANGE

pytestmark = pytest.mark.integration

HOUR = 3_600_000_000_000
LIMITS = WatchLimits(population_change=0.03, car_price_outliers=0, disk_free_bytes=1.0)
YEARS = {2018: 1_514_764_800, 2021: 1_609_459_200, 2022: 1_640_995_200}
NASTY = 'O\'Neill, "Škoda" = x'


class Measurements:
    """Two measurements of a test's own."""

    def __init__(self, where: Influx, name: str) -> None:
        self.where = where
        self.names = replace(Names.from_env({}), population_measurement=f"{name}-pop", cars_measurement=f"{name}-cars")

    def write(self, *lines: str) -> None:
        where = self.where
        answer = requests.post(
            f"{where.url}/api/v2/write",
            params={"org": where.org, "bucket": where.bucket, "precision": "ns"},
            headers={"Authorization": f"Token {where.token}"},
            data="\n".join(lines).encode(),
            timeout=30,
        )
        assert answer.ok, answer.text

    def people(self, nation: str, **numbers: int) -> None:
        self.write(
            *(
                f"{self.names.population_measurement},Nation={nation},Slug_Nation=s Population={number}i,Year=1i "
                f"{YEARS[int(year.lstrip('y'))]}000000000"
                for year, number in numbers.items()
            )
        )

    def sales(self, brand: str, prices: list[float], hours_ago: float = 1) -> None:
        first = time.time_ns() - int(hours_ago * HOUR)
        escaped = "".join(f"\\{each}" if each in ', ="' and each != '"' else each for each in brand)
        self.write(
            *(
                f"{self.names.cars_measurement},car_brand={escaped},country=c{number % 7} "
                f"transaction_price={price},year=2020i {first + number}"
                for number, price in enumerate(prices)
            )
        )

    def found(self) -> dict[tuple[str, str], float]:
        return {
            (metric.name, next(iter(labels.values()))): value
            for metric, labels, value in data_watch.collect(self.where, measurements=self.names, limits=LIMITS)
            if labels
        }


@pytest.fixture
def measurements(influx_settings: Influx, unique: str) -> Measurements:
    return Measurements(influx_settings, unique)


def test_a_population_is_held_against_the_year_before(measurements: Measurements) -> None:
    measurements.people("Atlantis", y2021=100, y2022=150)
    measurements.people("Thule", y2018=100, y2022=900)
    assert measurements.found() == {(POPULATION_CHANGE.name, "Atlantis"): pytest.approx(0.5)}


def test_outliers_are_counted_by_brand_over_a_day(measurements: Measurements) -> None:
    usual = [20_000.0 + 100 * number for number in range(50)]
    measurements.sales(NASTY, [*usual, 1e6, 2e6])
    measurements.sales("Volvo", usual, hours_ago=2)
    measurements.sales("Volvo", [1e6], hours_ago=25)
    measurements.sales("Trabant", [1.0, 1e6])
    name = CAR_PRICE_OUTLIERS.name
    assert measurements.found() == {(name, NASTY): 2, (name, "Volvo"): 0}


def test_of_many_sales_the_newest_are_looked_at(measurements: Measurements, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_watch, "_SALES", 20)
    measurements.sales("Volvo", [1e6] * 5 + [20_000.0 + number for number in range(20)])
    assert measurements.found() == {(CAR_PRICE_OUTLIERS.name, "Volvo"): 0}
