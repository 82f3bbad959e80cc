"""What the landed data itself may have to be looked at for: a population that jumps, prices that stand out.

Both are asked of InfluxDB in a few rows, bounded in time and in number, and cost it next to nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import TypeAlias

from penstock.core.settings import Influx, Names, WatchLimits, names
from penstock.observe.metrics import (
    CAR_PRICE_OUTLIERS,
    CAR_PRICE_OUTLIERS_LIMIT,
    POPULATION_CHANGE,
    POPULATION_CHANGE_LIMIT,
    Metric,
)
from penstock.sinks.influxdb_http import InfluxHttp, Series, quoted

Value: TypeAlias = tuple[Metric, dict[str, str], float]
"""A metric, the values of its labels, and its own."""

CUTOFF = 3.5
"""The modified z-score from which a price is an outlier, as its authors recommend."""

FEWEST_SALES = 10
"""Fewer sales of a brand say nothing about what is usual."""

_YEARS_DAYS = 20 * 366
_NATIONS = 1_000
_YEARS = 8
_BRANDS = 200
_SALES = 5_000
_PATIENCE_SECONDS = 5.0
_QUESTION_SECONDS = 20.0

_MAD_SCALE = 0.6745
_MEAN_SCALE = 1.253314
_NS = 1_000_000_000


def collect(
    influx: Influx, *, measurements: Names | None = None, limits: WatchLimits | None = None
) -> Iterator[tuple[Metric, dict[str, str], float]]:
    """What is known at present, with the limits it is held against.

    A nation without two years in a row and a brand with too few sales have no value. Raises Retry where InfluxDB is
    away or slow, Fatal where it refuses.
    """
    measured, held = measurements or names(), limits or WatchLimits.from_env()
    yield POPULATION_CHANGE_LIMIT, {}, held.population_change
    yield CAR_PRICE_OUTLIERS_LIMIT, {}, held.car_price_outliers
    with closing(InfluxHttp(influx, patience=_PATIENCE_SECONDS, question=_QUESTION_SECONDS)) as http:
        yield from _population(http, measured.population_measurement)
        yield from _car_prices(http, measured.cars_measurement)


def change(people: Mapping[int, float]) -> float | None:
    """The newest year's population over that of the year before it, less 1; None where there are no two in a row."""
    if not people:
        return None
    newest = max(people)
    before = people.get(newest - 1)
    return people[newest] / before - 1 if before else None


def outliers(prices: Sequence[float]) -> int | None:
    """How many of the prices have a modified z-score above 3.5; None where there are too few prices to tell.

    The score is 0.6745 * |price - median| / MAD, where MAD is the median of the distances from the median: unlike mean
    and standard deviation, neither moves until half of the prices are wrong (Iglewicz and Hoaglin, How to Detect and
    Handle Outliers, 1993; https://www.itl.nist.gov/div898/handbook/eda/section3/eda35h.htm). Where over half of the
    prices are the same, MAD is 0, and 1.253314 times the mean of the distances takes the place of MAD / 0.6745.
    """
    if len(prices) < FEWEST_SALES:
        return None
    middle = statistics.median(prices)
    distances = [abs(price - middle) for price in prices]
    usual = statistics.median(distances) / _MAD_SCALE or _MEAN_SCALE * statistics.fmean(distances)
    return sum(distance > CUTOFF * usual for distance in distances)


def _population(http: InfluxHttp, measurement: str) -> Iterator[Value]:
    query = (
        f'SELECT "Population" FROM {quoted(measurement)} '  # noqa: S608 - InfluxQL cannot bind names
        f'WHERE time > now() - {_YEARS_DAYS}d GROUP BY "Nation" ORDER BY time DESC LIMIT {_YEARS} SLIMIT {_NATIONS}'
    )
    for nation, rows in http.ask(query, lambda answer: _by_tag(answer, "Nation")).items():
        people = {datetime.fromtimestamp(time // _NS, UTC).year: number for time, number in rows}
        if (found := change(people)) is not None:
            yield POPULATION_CHANGE, {"nation": nation}, found


def _car_prices(http: InfluxHttp, measurement: str) -> Iterator[Value]:
    query = (
        f'SELECT "transaction_price" FROM {quoted(measurement)} '  # noqa: S608 - as above
        f'WHERE time > now() - 1d GROUP BY "car_brand" ORDER BY time DESC LIMIT {_SALES} SLIMIT {_BRANDS}'
    )
    for brand, rows in http.ask(query, lambda answer: _by_tag(answer, "car_brand")).items():
        found = outliers([price for _, price in rows])
        if found is not None:
            yield CAR_PRICE_OUTLIERS, {"car_brand": brand}, found


def _by_tag(answer: Iterable[Series], tag: str) -> dict[str, list[tuple[int, float]]]:
    """{value of the tag: its (time in ns, value) rows}; a long answer has several parts of one series."""
    found: dict[str, list[tuple[int, float]]] = {}
    for series in answer:
        found.setdefault(series.tags[tag], []).extend((time, value) for time, value in series.rows)
    return found
