"""Changes of Wikimedia's wikis, minute by minute."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from penstock.observe.dashboards.panels import bars, dashboard, lines, number, rows, tag_variable
from penstock.observe.dashboards.places import Places
from penstock.observe.dashboards.queries import chosen, field, flux, newest, per_minute, points, tag_values

_KINDS = {"edits": "Edits", "categorizations": "Categorizations", "log_entries": "Log entries", "others": "Others"}
_MINUTES_CLOSE = "A minute lands when it is closed: the stream has then seen changes that are newer by the lateness."


def wiki(places: Places) -> Dashboard:
    """The dashboard of the minute counts of the wikis' changes."""
    bucket, measurement = places.bucket, places.names.wiki_measurement
    wanted = chosen("wiki", "wiki")
    edits = points(bucket, measurement, field("edits"), wanted)
    every = " or ".join(field(each) for each in _KINDS)
    changes = points(bucket, measurement, f"({every})", wanted)
    made = dashboard(
        "penstock-wiki",
        "Wiki edits",
        "Changes of Wikimedia's wikis by minute of the event, as the stream job counted them",
        since="now-6h",
        refresh="30s",
    )
    made.with_variable(tag_variable("wiki", "Wiki", tag_values(bucket, measurement, "wiki")))
    _add_numbers(made, edits, changes)
    _add_over_time(made, edits, changes)
    _add_wikis(made, edits, changes)
    return made


def _add_numbers(made: Dashboard, edits: str, changes: str) -> None:
    latest = (
        f'{edits}\n  |> group(columns: ["_time"])\n  |> sum()\n  |> group()\n  |> sort(columns: ["_time"])\n  |> last()'
    )
    made.with_panel(
        number(
            "Edits in the newest minute", "short", flux(latest), description=f"Of all chosen wikis. {_MINUTES_CLOSE}"
        )
    )
    made.with_panel(number("Newest minute", "dateTimeFromNow", flux(newest(edits)), description=_MINUTES_CLOSE, span=5))
    made.with_panel(number("Edits", "short", flux(f"{edits}\n  |> group()\n  |> sum()"), span=5))
    made.with_panel(
        number(
            "Changes of all kinds",
            "short",
            flux(f"{changes}\n  |> group()\n  |> sum()"),
            description="Edits, categorizations, log entries and others.",
            span=5,
        )
    )
    made.with_panel(
        number(
            "Wikis",
            "short",
            flux(f'{changes}\n  |> group(columns: ["wiki"])\n  |> first()\n  |> group()\n  |> count()'),
            description="How many wikis had a change.",
            span=5,
        )
    )


def _add_over_time(made: Dashboard, edits: str, changes: str) -> None:
    top = (
        f"edits = {edits}\n\n"
        'top = edits\n  |> group(columns: ["wiki"])\n  |> sum()\n  |> group()\n  |> top(n: 10)\n'
        '  |> findColumn(fn: (key) => true, column: "wiki")\n\n'
        + per_minute("edits\n  |> filter(fn: (r) => contains(value: r.wiki, set: top))", "wiki")
    )
    made.with_row(Row("Over time"))
    made.with_panel(
        lines(
            "Edits per minute of the ten busiest wikis",
            "epm",
            flux(top),
            description="Those with the most edits in the time range.",
            name="${__field.labels.wiki}",
            least_interval="1m",
        )
    )
    made.with_panel(
        lines(
            "Changes per minute by kind",
            "epm",
            flux(per_minute(f'{changes}\n  |> rename(columns: {{_field: "kind"}})', "kind")),
            description="Edits are changes of type edit or new; a categorization says that a page came into a category "
            "or left one; log entries are those of Special:Log.",
            name="${__field.labels.kind}",
            least_interval="1m",
            stacked=True,
        )
    )


def _add_wikis(made: Dashboard, edits: str, changes: str) -> None:
    made.with_row(Row("Wikis"))
    busiest = (
        f'{edits}\n  |> group(columns: ["wiki"])\n  |> sum()\n  |> group()\n  |> top(n: 20)\n'
        '  |> rename(columns: {_value: "edits"})'
    )
    made.with_panel(bars("Edits of the 20 busiest wikis", "short", flux(busiest), by="wiki", height=14))
    kinds = (
        f'{changes}\n  |> group(columns: ["wiki", "_field"])\n  |> sum()\n  |> group()\n'
        '  |> pivot(rowKey: ["wiki"], columnKey: ["_field"], valueColumn: "_value")\n'
        '  |> sort(columns: ["edits"], desc: true)\n  |> limit(n: 500)'
    )
    made.with_panel(
        rows(
            "Changes by wiki and kind",
            "short",
            flux(kinds),
            description="The 500 wikis with the most edits.",
            renamed=_KINDS,
            height=14,
        )
    )
