"""Queries as Grafana's data sources take them, and the parts that Flux and CQL queries share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.runtime import UnknownDataquery
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.dashboard import DataSourceRef

from penstock.observe import metrics

PROMETHEUS = DataSourceRef("prometheus", "prometheus")
INFLUXDB = DataSourceRef("influxdb", "influxdb")
CASSANDRA = DataSourceRef("hadesarchitect-cassandra-datasource", "cassandra")
"""The sources that include/grafana/provisioning/datasources declares."""

_MONTHS = range(1, 13)


@dataclass(frozen=True)
class Query:
    """One query of a panel: its source, and what Grafana keeps of it.

    The SDK has no type for Flux and for the Cassandra plugin.
    """

    source: DataSourceRef
    fields: Mapping[str, object]

    def target(self, ref_id: str) -> Builder[Dataquery]:
        """The query under the name that it has within its panel."""
        return _Target({"refId": ref_id, "datasource": self.source.to_json(), **self.fields})


class _Target(Builder[Dataquery]):
    def __init__(self, fields: dict[str, object]) -> None:
        self._fields = fields

    def build(self) -> Dataquery:
        return UnknownDataquery(self._fields)


def promql(expression: str, legend: str = "", *, instant: bool = False, table: bool = False) -> Query:
    """A PromQL query over the dashboard's time range, or, with `instant`, at its end."""
    fields: dict[str, object] = {"expr": expression, "editorMode": "code", "instant": instant, "range": not instant}
    if legend:
        fields["legendFormat"] = legend
    if table:
        fields["format"] = "table"
    return Query(PROMETHEUS, fields)


def answers(job: str) -> str:
    """That one of the job's targets can be scraped."""
    return f'up{{job="{job}"}} == 1'


LEDGER = f"{metrics.LEDGER_UP} == 1"
"""That the exporter answers, and the ledger that it asks."""


def looks_at(part: str) -> str:
    """That a part of what the exporter looks at answers."""
    return f'{metrics.PART_UP}{{part="{part}"}} == 1'


def or_zero(expression: str, while_: str) -> str:
    """The expression; 0 where it finds nothing `while_` who measures it answers: what it counts has never happened.

    Where nobody measures it there is no zero either, and the panel says that it has no data.
    """
    return f"{expression} or on () 0 * max({while_})"


def rate(counter: str, by: str) -> str:
    """A counter's rate a second, summed up by labels."""
    return f"sum by ({by}) (rate({counter}[$__rate_interval]))"


def flux(query: str) -> Query:
    """A Flux query."""
    return Query(INFLUXDB, {"query": query})


def cql(query: str, legend: str) -> Query:
    """A CQL query whose first column names the series; `legend` may name columns as {{ column }}."""
    return Query(CASSANDRA, {"queryType": "query", "rawQuery": True, "target": query, "alias": legend})


def text(value: str) -> str:
    """`value` as a string of Flux."""
    return json.dumps(value, ensure_ascii=False)


def points(bucket: str, measurement: str, *conditions: str) -> str:
    """The measurement's points in the dashboard's time range for which all `conditions` on r hold."""
    filters = " and ".join((f"r._measurement == {text(measurement)}", *conditions))
    return (
        f"from(bucket: {text(bucket)})\n"
        "  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)\n"
        f"  |> filter(fn: (r) => {filters})"
    )


def field(name: str) -> str:
    """The condition that a point is of this field."""
    return f"r._field == {text(name)}"


def chosen(tag: str, variable: str) -> str:
    """The condition that a tag has one of the values that are chosen in a variable."""
    return f"r.{tag} =~ /^${{{variable}:regex}}$/"


def tag_values(bucket: str, measurement: str, tag: str) -> str:
    """The values of a tag within the dashboard's time range."""
    return (
        'import "influxdata/influxdb/schema"\n\n'
        f"schema.tagValues(bucket: {text(bucket)}, tag: {text(tag)}, "
        f"predicate: (r) => r._measurement == {text(measurement)}, start: v.timeRangeStart, stop: v.timeRangeStop)"
    )


def newest(source: str) -> str:
    """The time of the newest of the points, in ms since the epoch."""
    return (
        f"{source}\n"
        "  |> last()\n"
        "  |> group()\n"
        '  |> max(column: "_time")\n'
        "  |> map(fn: (r) => ({_value: int(v: r._time) / 1000000}))"
    )


def per_minute(source: str, *by: str) -> str:
    """Counts of minutes, summed up over each of the panel's intervals, as a rate a minute; a series for each `by`.

    The panel's interval must be a minute at least.
    """
    return (
        f"{source}\n"
        f"  |> group(columns: {json.dumps(by)})\n"
        "  |> aggregateWindow(every: v.windowPeriod, fn: sum, createEmpty: false)\n"
        "  |> map(fn: (r) => ({r with _value: float(v: r._value) * 60000000000.0 / float(v: int(v: v.windowPeriod))}))"
    )


def months() -> str:
    """CQL's list of the months that the dashboard's time range may touch: those of its first and of its last year.

    The bucket of the partition key is text, and CQL can neither make a month of a time nor bound a partition key by a
    range. Grafana gives a time range's end as the browser's year, so that single months could be missed at their edge.
    """
    return ", ".join(f"'${{__{end}:date:YYYY}}-{month:02d}'" for end in ("from", "to") for month in _MONTHS)
