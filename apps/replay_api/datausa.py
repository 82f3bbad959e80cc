"""Data USA's answer about the population of the United States, in the shape of either of its APIs.

The figures are the Census Bureau's (American Community Survey, 1-year estimates, table B01003), which has none of 2020.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from apps.replay_api.faults import Kind

Row: TypeAlias = dict[str, Any]
Body: TypeAlias = dict[str, Any]

_NATION_ID, _NATION, _SLUG = "01000US", "United States", "united-states"

_POPULATION: Mapping[int, int] = {
    2013: 316_128_839,
    2014: 318_857_056,
    2015: 321_418_821,
    2016: 323_127_515,
    2017: 325_719_178,
    2018: 327_167_439,
    2019: 328_239_523,
    2021: 331_893_745,
    2022: 333_287_562,
    2023: 334_914_896,
}
"""{year: residents}."""

_SOURCE = {"dataset_name": "ACS 1-year Estimate", "source_name": "Census Bureau", "table_id": "B01003"}
_REVISION = 1_000


def tesseract() -> Body:
    """The present API: years as numbers, oldest first, and populations as floats."""
    rows = [
        {"Nation ID": _NATION_ID, "Nation": _NATION, "Year": year, "Population": float(people)}
        for year, people in _POPULATION.items()
    ]
    page = {"limit": 0, "offset": 0, "total": len(rows)}
    return {"annotations": _SOURCE, "page": page, "columns": list(rows[0]), "data": rows}


def before_2026() -> Body:
    """The API that the present one replaced: years as texts too, newest first, and populations as whole numbers."""
    rows = [
        {
            "ID Nation": _NATION_ID,
            "Nation": _NATION,
            "ID Year": year,
            "Year": str(year),
            "Population": people,
            "Slug Nation": _SLUG,
        }
        for year, people in reversed(list(_POPULATION.items()))
    ]
    return {"data": rows, "source": [{"measures": ["Population"], "annotations": _SOURCE, "name": "acs_yg_total"}]}


PATHS: Mapping[str, Callable[[], Body]] = {
    "/datausa/tesseract/data.jsonrecords": tesseract,
    "/datausa/api/data": before_2026,
}
"""{path: the body without faults}."""


def asks_for_population(parameters: Mapping[str, str]) -> bool:
    """Whether a question is the one that is answered here: Population by Nation, and by Year if the API is told so."""
    drilldowns = set(parameters.get("drilldowns", "").split(","))
    return "Nation" in drilldowns and drilldowns <= {"Nation", "Year"} and parameters.get("measures") == "Population"


def written(body: Body, kind: Kind | None) -> str:
    """The body as JSON text, with the fault in it."""
    if kind in _SPOILERS:
        _SPOILERS[kind](body)
    text = json.dumps(body, separators=(",", ":"))
    return text[: len(text) // 2] if kind is Kind.TRUNCATED else text


def _change_first(**change: Any) -> Callable[[Body], None]:
    def spoil(body: Body) -> None:
        body["data"][0] |= change

    return spoil


def _without_year(body: Body) -> None:
    for name in ("Year", "ID Year"):
        body["data"][0].pop(name, None)


def _revised(body: Body) -> None:
    for row in body["data"]:
        row["Population"] += _REVISION


_SPOILERS: Mapping[Kind | None, Callable[[Body], None]] = {
    Kind.NO_DATA: lambda body: body.pop("data"),
    Kind.EMPTY_DATA: lambda body: body["data"].clear(),
    Kind.NEGATIVE_POPULATION: _change_first(Population=-1),
    Kind.BAD_VALUE: _change_first(Population="n/a"),
    Kind.NO_POPULATION: _change_first(Population=None),
    Kind.NO_YEAR: _without_year,
    Kind.JUNK_ROW: lambda body: body["data"].insert(0, "junk"),
    Kind.REVISED: _revised,
}
