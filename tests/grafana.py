"""Asks a dashboard's queries as Grafana does: variables and macros replaced, by each data source's own interface."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from penstock.core.settings import Influx

Row = Mapping[str, Any]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "M": 2_629_800, "y": 31_557_600}
_MOST_POINTS = 1000
_SCRAPE_SECONDS = 15


@dataclass(frozen=True)
class TimeRange:
    """A dashboard's time range, and the interval that a panel's width and its least interval give."""

    start: datetime
    end: datetime
    interval: timedelta

    @classmethod
    def of(cls, dashboard: Mapping[str, Any], end: datetime, least: str | None = None) -> TimeRange:
        """The range that the dashboard opens with, as if it were `end` now."""
        start = end - seconds(dashboard["time"]["from"].removeprefix("now-"))
        width = (end - start) / _MOST_POINTS
        return cls(start, end, max(width, seconds(least) if least else timedelta(seconds=1)))


def seconds(text: str) -> timedelta:
    """A duration as Grafana writes it, such as 15m."""
    return timedelta(seconds=int(text[:-1]) * _UNITS[text[-1]])


def panels(dashboard: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All panels that show something: no rows, but what is in them."""
    for each in dashboard["panels"]:
        if each["type"] == "row":
            yield from each.get("panels") or ()
        else:
            yield each


def everything(dashboard: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """{variable: (what is shown, value)} as the dashboard opens; a value of all stands as the variable says."""
    found = {}
    for each in dashboard.get("templating", {}).get("list") or ():
        current = each["current"]
        shown, value = (part[0] if isinstance(part, list) else part for part in (current["text"], current["value"]))
        found[each["name"]] = (shown, each["allValue"] if value == "$__all" else value)
    return found


def interpolated(query: str, variables: Mapping[str, tuple[str, str]], within: TimeRange) -> str:
    """The query with Grafana's variables replaced, in the formats that our dashboards use.

    https://grafana.com/docs/grafana/latest/dashboards/variables/variable-syntax/
    """

    def replaced(match: re.Match[str]) -> str:
        name, _, how = (match[1] or match[2]).partition(":")
        if name in {"__from", "__to"}:
            return _formatted(within.start if name == "__from" else within.end, how)
        if name in {"__timeFrom", "__timeTo"}:  # of the Cassandra plugin, in ms
            return str(round((within.start if name == "__timeFrom" else within.end).timestamp() * 1000))
        if name in _prometheus(within):
            return _prometheus(within)[name]
        shown, value = variables[name]
        return {"": value, "raw": value, "text": shown, "regex": value}[how]

    return re.sub(r"\$\{([^}]+)\}|\$(\w+)", replaced, query)


def _formatted(moment: datetime, how: str) -> str:
    if not how:
        return str(round(moment.timestamp() * 1000))
    pattern = how.removeprefix("date:").replace("YYYY", "%Y").replace("MM", "%m").replace("DD", "%d")
    return moment.strftime(pattern)


def _prometheus(within: TimeRange) -> dict[str, str]:
    """https://grafana.com/docs/grafana/latest/datasources/prometheus/template-variables/."""
    interval = max(1, round(within.interval.total_seconds()))
    return {
        "__interval": f"{interval}s",
        "__rate_interval": f"{max(interval + _SCRAPE_SECONDS, 4 * _SCRAPE_SECONDS)}s",
        "__range": f"{round((within.end - within.start).total_seconds())}s",
    }


def chosen(value: str) -> tuple[str, str]:
    """A value that somebody chose in a variable of several values, in the format :regex."""
    return value, re.sub(r"([\\^$*+?.()|\[\]{}/])", r"\\\1", value)


def ask_flux(influx: Influx, query: str, within: TimeRange) -> list[Row]:
    """The rows of all tables that a Flux query gives."""
    macros = {
        "timeRangeStart": _rfc3339(within.start),
        "timeRangeStop": _rfc3339(within.end),
        "windowPeriod": f"{round(within.interval.total_seconds() * 1000)}ms",
    }
    text = re.sub(r"\bv\.(\w+)", lambda match: macros[match[1]], query)
    answer = requests.post(
        f"{influx.url}/api/v2/query",
        params={"org": influx.org},
        headers={"Authorization": f"Token {influx.token}", "Content-Type": "application/vnd.flux"},
        data=text.encode(),
        timeout=60,
    )
    assert answer.ok, f"{answer.text}\n{text}"
    return [row for table in re.split(r"\r?\n\r?\n", answer.text) for row in _rows(table)]


def _rows(table: str) -> Iterator[Row]:
    for row in csv.DictReader(io.StringIO(table)):
        assert not row.get("error"), row
        yield row


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def ask_prometheus(url: str, target: Mapping[str, Any], expression: str, within: TimeRange) -> list[Row]:
    """The series that a PromQL query gives: their labels, and their values as `values`."""
    if target["instant"]:
        path, times = "query", {"time": within.end.timestamp()}
    else:
        step = max(1, round(within.interval.total_seconds()))
        path, times = "query_range", {"start": within.start.timestamp(), "end": within.end.timestamp(), "step": step}
    answer = requests.get(f"{url}/api/v1/{path}", params={"query": expression, **times}, timeout=60).json()
    assert answer["status"] == "success", f"{answer}\n{expression}"
    return [
        {**each["metric"], "values": each["values"] if "values" in each else [each["value"]]}
        for each in answer["data"]["result"]
    ]


def labels(panel: Mapping[str, Any]) -> Sequence[str]:
    """The labels or columns by which the panel names its series."""
    named = panel["fieldConfig"]["defaults"].get("displayName", "")
    found = re.findall(r"__field\.labels\.(\w+)", named)
    return [*found, *([panel["options"]["xField"]] if "xField" in panel.get("options", {}) else [])]
