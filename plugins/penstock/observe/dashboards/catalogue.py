"""All dashboards, and the files that they become."""

from __future__ import annotations

import json
from collections.abc import Mapping

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from penstock.observe.dashboards.cars import cars
from penstock.observe.dashboards.places import Places
from penstock.observe.dashboards.platform import platform
from penstock.observe.dashboards.population import population
from penstock.observe.dashboards.weather import weather
from penstock.observe.dashboards.web_events import web_events
from penstock.observe.dashboards.wiki import wiki


def dashboards(places: Places) -> Mapping[str, Dashboard]:
    """{file name without its suffix: dashboard}."""
    return {
        "cars": cars(places),
        "platform": platform(),
        "population": population(places),
        "weather": weather(places),
        "web-events": web_events(places),
        "wiki": wiki(places),
    }


def files(places: Places) -> Mapping[str, str]:
    """{file name: content}; the same places give the same bytes."""
    return {f"{name}.json": _json(made) for name, made in dashboards(places).items()}


def _json(made: Dashboard) -> str:
    dashboard = made.build()
    for number, panel in enumerate(dashboard.panels or (), start=1):
        panel.id_val = number
    return json.dumps(dashboard, cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"
