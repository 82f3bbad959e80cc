"""Population of nations, year by year."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from penstock.observe.dashboards.panels import dashboard, lines, number, rows, tag_variable
from penstock.observe.dashboards.places import Places
from penstock.observe.dashboards.queries import chosen, field, flux, newest, points, tag_values

_AGAINST_THE_YEAR_BEFORE = (
    "Against the year before that landed: 2021 is compared with 2019, because the American Community Survey has no "
    "1-year estimate of 2020."
)


def population(places: Places) -> Dashboard:
    """The dashboard of the measurement of the population."""
    bucket, measurement = places.bucket, places.names.population_measurement
    residents = points(bucket, measurement, field("Population"), chosen("Nation", "nation"))
    by_nation = (
        f'{residents}\n  |> keep(columns: ["_time", "_value", "Nation"])\n'
        '  |> group(columns: ["Nation"])\n  |> sort(columns: ["_time"])'
    )
    changes = (
        f'{by_nation}\n  |> toFloat()\n  |> duplicate(column: "_value", as: "more")\n'
        '  |> difference(columns: ["more"])\n'
        "  |> map(fn: (r) => ({r with change: r.more / (r._value - r.more)}))"
    )
    made = dashboard(
        "penstock-population",
        "Population",
        "Population by year, as it landed in InfluxDB from Data USA",
        since="now-15y",
        refresh="1h",
    )
    made.with_variable(tag_variable("nation", "Nation", tag_values(bucket, measurement, "Nation")))
    nation = "${__field.labels.Nation}"
    made.with_panel(number("Newest population", "locale", flux(f"{by_nation}\n  |> last()"), name=nation, span=6))
    made.with_panel(
        number(
            "Change",
            "percentunit",
            flux(
                f'{changes}\n  |> last(column: "change")\n  |> map(fn: (r) => ({{Nation: r.Nation, _value: r.change}}))'
            ),
            description=_AGAINST_THE_YEAR_BEFORE,
            name=nation,
            decimals=2,
            span=6,
        )
    )
    made.with_panel(
        number(
            "Newest year",
            "dateTimeFromNow",
            flux(newest(residents)),
            description="Since 1 January of the newest year that landed. A year is published in September of the next.",
            span=6,
        )
    )
    made.with_panel(
        number(
            "Years",
            "short",
            flux(f"{by_nation}\n  |> count()"),
            description="How many years landed within the time range.",
            name=nation,
            span=6,
        )
    )
    made.with_panel(lines("Population", "locale", flux(by_nation), name=nation, height=10))
    made.with_panel(
        lines(
            "Change against the year before",
            "percentunit",
            flux(f"{changes}\n  |> map(fn: (r) => ({{_time: r._time, Nation: r.Nation, _value: r.change}}))"),
            description=_AGAINST_THE_YEAR_BEFORE,
            name=nation,
            height=10,
        )
    )
    table = (
        f'{changes}\n  |> group()\n  |> sort(columns: ["_time"], desc: true)\n'
        "  |> map(fn: (r) => ({nation: r.Nation, year: string(v: date.year(t: r._time)), "
        "population: r._value, more: r.more, change: r.change}))"
    )
    made.with_panel(
        rows(
            "Year by year",
            "locale",
            flux(f'import "date"\n\n{table}'),
            description=f"The first year of the time range is only in the graph. {_AGAINST_THE_YEAR_BEFORE}",
            units={"change": "percentunit"},
            span=24,
            height=10,
        )
    )
    return made
