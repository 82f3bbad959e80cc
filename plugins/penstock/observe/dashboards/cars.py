"""Car sales: what they bring in, by brand and country."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from penstock.observe import metrics
from penstock.observe.dashboards.panels import BAD_FROM_ONE, bars, dashboard, dial, lines, number, rows, tag_variable
from penstock.observe.dashboards.places import Places
from penstock.observe.dashboards.queries import (
    chosen,
    field,
    flux,
    looks_at,
    newest,
    or_zero,
    points,
    promql,
    tag_values,
)

_DEAREST = 60_000
"""USD; a new car costs no more."""

_OPENING = "15m"
"""Branches are open for the first 5 minutes of each quarter of an hour."""


def cars(places: Places) -> Dashboard:
    """The dashboard of the measurement of car sales."""
    bucket, measurement = places.bucket, places.names.cars_measurement
    wanted = (chosen("car_brand", "brand"), chosen("country", "country"))
    prices = points(bucket, measurement, field("transaction_price"), *wanted)
    made = dashboard("penstock-cars", "Cars", "Car sales as they landed in InfluxDB", since="now-24h", refresh="1m")
    made.with_variable(tag_variable("brand", "Brand", tag_values(bucket, measurement, "car_brand")))
    made.with_variable(tag_variable("country", "Country", tag_values(bucket, measurement, "country")))
    _add_numbers(made, prices)
    _add_over_time(made, prices)
    _add_comparisons(made, prices)
    return made


def _add_numbers(made: Dashboard, prices: str) -> None:
    made.with_panel(number("Revenue", "currencyUSD", flux(f"{prices}\n  |> group()\n  |> sum()"), span=4))
    made.with_panel(number("Sales", "short", flux(f"{prices}\n  |> group()\n  |> count()"), span=4))
    made.with_panel(number("Average price", "currencyUSD", flux(f"{prices}\n  |> group()\n  |> mean()"), span=4))
    made.with_panel(
        dial(
            "Median price",
            "currencyUSD",
            flux(f"{prices}\n  |> group()\n  |> median()"),
            most=_DEAREST,
            description="Half of the sales cost less; the scale ends at the price of the dearest new car.",
        )
    )
    made.with_panel(
        number(
            "Newest sale",
            "dateTimeFromNow",
            flux(newest(prices)),
            description="When the newest of the chosen sales was made. There is one every 2 seconds in the first 5 "
            "minutes of each quarter of an hour, and it lands after the quarter is over.",
        )
    )
    outliers = f'sum({metrics.CAR_PRICE_OUTLIERS}{{car_brand=~"$brand"}})'
    made.with_panel(
        number(
            "Prices that stand out",
            "short",
            promql(or_zero(outliers, looks_at("data")), instant=True),
            description="Sales of the last 24 hours, of the chosen brands, whose price is far from the brand's median. "
            "From Prometheus.",
            steps=BAD_FROM_ONE,
        )
    )


def _add_over_time(made: Dashboard, prices: str) -> None:
    by_brand = f'{prices}\n  |> group(columns: ["car_brand"])'
    by_country = f'{prices}\n  |> group(columns: ["country"])'
    made.with_row(Row("Over time"))
    made.with_panel(
        lines(
            "Revenue by brand",
            "currencyUSD",
            flux(f"{by_brand}\n  |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false)"),
            description="In each interval of the graph, which is at least a quarter of an hour.",
            name="${__field.labels.car_brand}",
            least_interval=_OPENING,
            stacked=True,
        )
    )
    made.with_panel(
        lines(
            "Sales by country",
            "short",
            flux(f"{by_country}\n  |> aggregateWindow(every: v.windowPeriod, fn: count, createEmpty: false)"),
            description="In each interval of the graph, which is at least a quarter of an hour.",
            name="${__field.labels.country}",
            least_interval=_OPENING,
            stacked=True,
        )
    )


def _add_comparisons(made: Dashboard, prices: str) -> None:
    made.with_row(Row("Comparisons"))
    for title, tag in (("Revenue by brand, sum", "car_brand"), ("Revenue by country, sum", "country")):
        summed = (
            f'{prices}\n  |> group(columns: ["{tag}"])\n  |> sum()\n  |> group()\n'
            f'  |> sort(columns: ["_value"], desc: true)\n'
            f'  |> rename(columns: {{_value: "revenue"}})'
        )
        made.with_panel(bars(title, "currencyUSD", flux(summed), by=tag, height=10))
    models = (
        f'{prices}\n  |> group(columns: ["car_brand", "car_model"])\n'
        "  |> reduce(identity: {sales: 0, revenue: 0.0}, fn: (r, accumulator) => "
        "({sales: accumulator.sales + 1, revenue: accumulator.revenue + r._value}))\n"
        "  |> map(fn: (r) => ({r with average: r.revenue / float(v: r.sales)}))\n"
        '  |> group()\n  |> sort(columns: ["revenue"], desc: true)'
    )
    made.with_panel(rows("By model", "currencyUSD", flux(models), units={"sales": "short"}, height=12))
    latest = (
        f'{prices}\n  |> group()\n  |> sort(columns: ["_time"], desc: true)\n  |> limit(n: 50)\n'
        '  |> keep(columns: ["_time", "car_brand", "car_model", "color", "country", "branch", "_value"])\n'
        '  |> rename(columns: {_time: "time", _value: "price"})'
    )
    made.with_panel(rows("Newest 50 sales", "currencyUSD", flux(latest), height=12))
