"""What visitors of the shop do: events a minute by price bucket."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from penstock.observe.dashboards.panels import bars, dashboard, lines, number, rows, tag_variable
from penstock.observe.dashboards.places import Places
from penstock.observe.dashboards.queries import chosen, field, flux, newest, per_minute, points, tag_values

_SUM = (
    "Each consumer counts its partitions by itself; this is the sum over the partitions. Counts of the newest minutes "
    "still grow."
)


def web_events(places: Places) -> Dashboard:
    """The dashboard of the minute counts of web events."""
    bucket, measurement = places.bucket, places.names.events_measurement
    wanted = (chosen("category", "category"), chosen("bucket", "bucket"))
    events = points(bucket, measurement, field("events"), *wanted)
    revenue = points(bucket, measurement, field("revenue"), *wanted)
    made = dashboard(
        "penstock-web-events",
        "Web events",
        "Events of the shop's visitors by minute, category and price bucket, as the consumers counted them",
        since="now-6h",
        refresh="30s",
    )
    made.with_variable(tag_variable("category", "Category", tag_values(bucket, measurement, "category")))
    made.with_variable(tag_variable("bucket", "Price bucket", tag_values(bucket, measurement, "bucket")))
    _add_numbers(made, events, revenue)
    _add_over_time(made, events, revenue)
    _add_comparisons(made, events, revenue)
    return made


def _add_numbers(made: Dashboard, events: str, revenue: str) -> None:
    made.with_panel(number("Events", "short", flux(f"{events}\n  |> group()\n  |> sum()"), description=_SUM, span=6))
    made.with_panel(
        number(
            "Revenue",
            "currencyUSD",
            flux(f"{revenue}\n  |> group()\n  |> sum()"),
            description="The prices of the products that were purchased.",
            span=6,
        )
    )
    made.with_panel(
        number(
            "Newest minute",
            "dateTimeFromNow",
            flux(newest(events)),
            description="The newest minute of which anything was counted.",
            span=6,
        )
    )
    made.with_panel(
        number(
            "Partitions",
            "short",
            flux(f'{events}\n  |> group(columns: ["partition"])\n  |> first()\n  |> group()\n  |> count()'),
            description="Partitions of the topic of which events were counted.",
            span=6,
        )
    )


def _add_over_time(made: Dashboard, events: str, revenue: str) -> None:
    made.with_row(Row("Over time"))
    made.with_panel(
        lines(
            "Events per minute by price bucket",
            "epm",
            flux(per_minute(events, "bucket")),
            description=_SUM,
            name="${__field.labels.bucket}",
            least_interval="1m",
            stacked=True,
        )
    )
    made.with_panel(
        lines(
            "Revenue per minute by price bucket",
            "currencyUSD",
            flux(per_minute(revenue, "bucket")),
            description=_SUM,
            name="${__field.labels.bucket}",
            least_interval="1m",
            stacked=True,
        )
    )
    made.with_panel(
        lines(
            "Events per minute by category",
            "epm",
            flux(per_minute(events, "category")),
            name="${__field.labels.category}",
            least_interval="1m",
        )
    )
    made.with_panel(
        lines(
            "Events per minute by partition",
            "epm",
            flux(per_minute(events, "partition")),
            description="A partition that falls away has lost its consumer, or its producers.",
            name="${__field.labels.partition}",
            least_interval="1m",
        )
    )


def _add_comparisons(made: Dashboard, events: str, revenue: str) -> None:
    made.with_row(Row("Categories"))
    by_category = (
        f'{revenue}\n  |> group(columns: ["category"])\n  |> sum()\n  |> group()\n'
        '  |> sort(columns: ["_value"], desc: true)\n  |> rename(columns: {_value: "revenue"})'
    )
    made.with_panel(bars("Revenue by category", "currencyUSD", flux(by_category), by="category", height=10))
    table = (
        f'{events}\n  |> group(columns: ["category", "bucket"])\n  |> sum()\n  |> group()\n'
        '  |> pivot(rowKey: ["category"], columnKey: ["bucket"], valueColumn: "_value")'
    )
    made.with_panel(rows("Events by category and price bucket", "short", flux(table), description=_SUM, height=10))
