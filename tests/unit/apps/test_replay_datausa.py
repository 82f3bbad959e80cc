from __future__ import annotations

from typing import Any

import pytest
import requests

from penstock.core import settings
from penstock.core.batch import Interval
from penstock.core.contract import Contract
from penstock.core.errors import Fatal, Retry
from penstock.core.record import Unusable
from penstock.sources import datausa as source
from penstock.sources.datausa import DataUsa
from penstock.sources.http import JsonClient
from tests.unit.conftest import NOW

NEW, OLD = "/datausa/tesseract/data.jsonrecords", "/datausa/api/data"
QUERY = "?cube=acs_yg_total_population_1&drilldowns=Year,Nation&measures=Population"
BOTH = pytest.mark.parametrize("path", [NEW, OLD])
CONTRACT = Contract.load(settings.INCLUDE / "avro" / "pop.avsc")


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow one another at once."""
    monkeypatch.setattr(source, "JsonClient", lambda: JsonClient(attempts=2, sleep=lambda _: None))


def get(base: str, path: str, query: str = QUERY) -> requests.Response:
    return requests.get(f"{base}{path}{query}", timeout=30)


def fetch(base: str, path: str) -> list[Any]:
    day = Interval(NOW.replace(hour=0, minute=0), NOW)
    return list(DataUsa(f"{base}{path}{QUERY}").fetch(day, {}))


def fault(base: str, kind: str, times: int = 1, **more: Any) -> None:
    requests.post(f"{base}/faults", json={"kind": kind, "times": times, **more}, timeout=10).raise_for_status()


def test_the_present_api_has_floats_and_the_oldest_year_first(replay: str) -> None:
    body = get(replay, NEW).json()

    assert body.keys() == {"annotations", "page", "columns", "data"}
    assert body["page"] == {"limit": 0, "offset": 0, "total": len(body["data"])}
    assert body["columns"] == list(body["data"][0]) == ["Nation ID", "Nation", "Year", "Population"]
    assert [row["Year"] for row in body["data"]] == [*range(2013, 2020), 2021, 2022, 2023]
    assert all(isinstance(row["Population"], float) for row in body["data"])


def test_the_former_api_has_texts_and_the_newest_year_first(replay: str) -> None:
    first = get(replay, OLD, "?drilldowns=Nation&measures=Population").json()["data"][0]

    assert first.keys() == {"ID Nation", "Nation", "ID Year", "Year", "Population", "Slug Nation"}
    assert (first["ID Year"], first["Year"]) == (2023, "2023")
    assert isinstance(first["Population"], int)


def test_both_apis_give_the_same_records(replay: str) -> None:
    new, old = fetch(replay, NEW), fetch(replay, OLD)

    assert new == list(reversed(old))
    assert all(CONTRACT.violation(record) is None for record in new)


@pytest.mark.parametrize("query", ["", "?drilldowns=State&measures=Population", "?drilldowns=Nation&measures=Wage"])
def test_another_question_is_refused(replay: str, query: str) -> None:
    assert get(replay, NEW, query).status_code == 400


@BOTH
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("negative-population", "Population is -1, below its minimum of 0"),
        ("bad-value", "Population is 'n/a', not a whole number"),
        ("no-population", "Population is missing"),
        ("no-year", "the year is missing"),
        ("junk-row", "the row is no object but 'junk'"),
    ],
)
def test_one_bad_row_is_one_reject(replay: str, path: str, kind: str, reason: str) -> None:
    fault(replay, kind)

    fetched = fetch(replay, path)

    assert [each.reason if isinstance(each, Unusable) else CONTRACT.violation(each) for each in fetched] == [
        reason,
        *[None] * (len(fetched) - 1),
    ]
    assert len(fetched) >= 10


@BOTH
@pytest.mark.parametrize(
    ("kind", "error", "reason"),
    [
        ("no-data", Fatal, "without a list of rows"),
        ("empty-data", Retry, "no rows at all"),
        ("404", Fatal, r"\(HTTP 404\): Not found"),
        ("500", Retry, "Internal Server Error"),
        ("429-minute", Retry, "wants fewer requests"),
        ("html", Retry, "not JSON"),
        ("truncated", Retry, "cut short"),
    ],
)
def test_a_spoiled_answer_is_never_a_run_of_zero_records(
    replay: str, path: str, kind: str, error: type[Exception], reason: str
) -> None:
    fault(replay, kind, times=2)

    with pytest.raises(error, match=reason):
        fetch(replay, path)


def test_a_revision_changes_every_figure(replay: str) -> None:
    before = fetch(replay, NEW)
    fault(replay, "revised")

    assert fetch(replay, NEW) == [record | {"Population": record["Population"] + 1_000} for record in before]


def test_a_fault_of_one_path_spares_the_others(replay: str) -> None:
    fault(replay, "500", path="/datausa")

    assert requests.get(f"{replay}/v1/forecast?latitude=1&longitude=1&daily=rain_sum", timeout=30).status_code == 200
    assert get(replay, NEW).status_code == 500
    assert get(replay, NEW).status_code == 200
