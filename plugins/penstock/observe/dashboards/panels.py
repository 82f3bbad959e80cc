"""How panels look: one function a kind, so that the same thing looks the same on every dashboard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from string import ascii_uppercase
from typing import TypeVar

from grafana_foundation_sdk.builders import barchart, bargauge, common, gauge, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as models

from penstock.observe.dashboards.queries import INFLUXDB, PROMETHEUS, Query

P = TypeVar(
    "P",
    barchart.Panel,
    bargauge.Panel,
    gauge.Panel,
    stat.Panel,
    statetimeline.Panel,
    table.Panel,
    timeseries.Panel,
)

GREEN, ORANGE, RED, BLUE, GREY = "green", "orange", "red", "blue", "text"

Steps = Sequence[tuple[float | None, str]]
"""(value from which on, colour); the first value is None: from the lowest on."""

NEUTRAL: Steps = ((None, BLUE),)
BAD_FROM_ONE: Steps = ((None, GREEN), (1, RED))


def _dressed(  # what every panel has
    panel: P, title: str, unit: str, queries: Iterable[Query], description: str, span: int, height: int
) -> P:
    asked = list(queries)
    panel.title(title).unit(unit).datasource(asked[0].source).span(span).height(height)
    if description:
        panel.description(description)
    for ref_id, query in zip(ascii_uppercase, asked, strict=False):
        panel.with_target(query.target(ref_id))
    return panel


def lines(
    title: str,
    unit: str,
    *queries: Query,
    description: str = "",
    span: int = 12,
    height: int = 8,
    name: str = "",
    least_interval: str = "",
    stacked: bool = False,
    limit: float | None = None,
) -> timeseries.Panel:
    """Values over time; `name` is how Grafana names a series, `limit` a value that is drawn as a red line."""
    panel = _dressed(timeseries.Panel(), title, unit, queries, description, span, height)
    panel.legend(
        common.VizLegendOptions()
        .display_mode(options.LegendDisplayMode.LIST)
        .placement(options.LegendPlacement.BOTTOM)
        .show_legend(show_legend=True)
    )
    panel.tooltip(common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI).sort(options.SortOrder.DESCENDING))
    panel.fill_opacity(60 if stacked else 10).show_points(options.VisibilityMode.AUTO)
    if stacked:
        panel.stacking(common.StackingConfig().mode(options.StackingMode.NORMAL)).axis_soft_min(0)
    if name:
        panel.display_name(name)
    if least_interval:
        panel.interval(least_interval)
    if limit is not None:
        panel.thresholds(_thresholds(((None, "transparent"), (limit, RED))))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(options.GraphThresholdsStyleMode.LINE))
    return panel


def number(
    title: str,
    unit: str,
    *queries: Query,
    description: str = "",
    span: int = 4,
    height: int = 4,
    name: str = "",
    steps: Steps = NEUTRAL,
    words: Mapping[str, tuple[str, str]] | None = None,
    decimals: int | None = None,
    fields: str = "",
) -> stat.Panel:
    """The last value of each series, large; `words` is {value: (what is shown for it, colour)}."""
    panel = _dressed(stat.Panel(), title, unit, queries, description, span, height)
    reduced = common.ReduceDataOptions().calcs(["lastNotNull"])
    panel.reduce_options(reduced.fields(fields) if fields else reduced)
    panel.thresholds(_thresholds(steps)).color_mode(options.BigValueColorMode.VALUE)
    panel.graph_mode(options.BigValueGraphMode.NONE)
    if name:
        panel.display_name(name)
    if words:
        panel.mappings(_mappings(words)).color_mode(options.BigValueColorMode.BACKGROUND)
    if decimals is not None:
        panel.decimals(decimals)
    return panel


def dial(
    title: str, unit: str, query: Query, *, most: float, description: str = "", span: int = 4, height: int = 4
) -> gauge.Panel:
    """One value on a scale from 0 to `most`."""
    panel = _dressed(gauge.Panel(), title, unit, [query], description, span, height)
    return panel.min(0).max(most).thresholds(_thresholds(NEUTRAL))


def levels(
    title: str,
    unit: str,
    *queries: Query,
    description: str = "",
    span: int = 12,
    height: int = 8,
    steps: Steps = NEUTRAL,
    most: float | None = None,
) -> bargauge.Panel:
    """The last value of each series as a bar."""
    panel = _dressed(bargauge.Panel(), title, unit, queries, description, span, height)
    panel.orientation(options.VizOrientation.HORIZONTAL).display_mode(options.BarGaugeDisplayMode.BASIC)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).thresholds(_thresholds(steps)).min(0)
    return panel if most is None else panel.max(most)


def bars(
    title: str, unit: str, query: Query, *, by: str, description: str = "", span: int = 12, height: int = 8
) -> barchart.Panel:
    """The rows of one table as bars, named by the column `by`."""
    panel = _dressed(barchart.Panel(), title, unit, [query], description, span, height)
    panel.orientation(options.VizOrientation.HORIZONTAL).x_field(by).fill_opacity(80).min(0)
    return panel.legend(common.VizLegendOptions().show_legend(show_legend=False))


def rows(
    title: str,
    unit: str,
    *queries: Query,
    description: str = "",
    span: int = 12,
    height: int = 8,
    units: Mapping[str, str] | None = None,
    hidden: Iterable[str] = (),
    renamed: Mapping[str, str] | None = None,
    joined: bool = False,
) -> table.Panel:
    """Rows; `unit` is of all columns that `units` does not name. With `joined`, rows of several queries become one."""
    panel = _dressed(table.Panel(), title, unit, queries, description, span, height)
    panel.filterable(filterable=True)
    if joined:
        panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    organised = {"excludeByName": dict.fromkeys(hidden, True), "renameByName": dict(renamed or {}), "indexByName": {}}
    panel.with_transformation(models.DataTransformerConfig(id_val="organize", options=organised))
    for column, its_unit in (units or {}).items():
        panel.override_by_name(column, [models.DynamicConfigValue("unit", its_unit)])
    return panel


def states(
    title: str,
    unit: str,
    *queries: Query,
    words: Mapping[str, tuple[str, str]],
    description: str = "",
    span: int = 24,
    height: int = 8,
) -> statetimeline.Panel:
    """The value of each series as a band over time; `words` is {value: (what is shown for it, colour)}."""
    panel = _dressed(statetimeline.Panel(), title, unit, queries, description, span, height)
    return (
        panel.mappings(_mappings(words))
        .merge_values(merge_values=True)
        .show_value(options.VisibilityMode.NEVER)
        .fill_opacity(80)
    )


def dashboard(uid: str, title: str, description: str, *, since: str, refresh: str) -> builders.Dashboard:
    """An empty dashboard in UTC that links to the others; `since` is its time range at first."""
    made = builders.Dashboard(title).uid(uid).description(description).tags(["penstock"]).timezone("utc")
    made.time(since, "now").refresh(refresh).tooltip(models.DashboardCursorSync.CROSSHAIR).readonly()
    others = builders.DashboardLink("Penstock").type(models.DashboardLinkType.DASHBOARDS).tags(["penstock"])
    return made.link(others.as_dropdown(as_dropdown=True).keep_time(keep_time=False))


def tag_variable(name: str, label: str, query: str) -> builders.QueryVariable:
    """The values that a Flux query finds; several may be chosen, and at first all are."""
    return _variable(name, label, INFLUXDB, query)


def label_variable(name: str, label: str, query: str) -> builders.QueryVariable:
    """The values of a label in Prometheus: `label_values(METRIC, LABEL)`."""
    return _variable(name, label, PROMETHEUS, query)


def _variable(name: str, label: str, source: models.DataSourceRef, query: str) -> builders.QueryVariable:
    variable = builders.QueryVariable(name).label(label).datasource(source).query(query).multi(multi=True)
    variable.include_all(include_all=True).all_value(".*").sort(models.VariableSort.ALPHABETICAL_ASC)
    variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    return variable.current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))


def _thresholds(steps: Steps) -> builders.ThresholdsConfig:
    made = [models.Threshold(value, colour) for value, colour in steps]
    return builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(made)


def _mappings(words: Mapping[str, tuple[str, str]]) -> list[models.ValueMapping]:
    results = {
        value: models.ValueMappingResult(text=shown, color=colour, index=at)
        for at, (value, (shown, colour)) in enumerate(words.items())
    }
    return [models.ValueMap(options=results)]
