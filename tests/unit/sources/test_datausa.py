from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import responses

from penstock.core import settings
from penstock.core.batch import Interval
from penstock.core.contract import Contract
from penstock.core.errors import Fatal, Reject, Retry
from penstock.core.record import Record, Unusable
from penstock.sources import datausa
from penstock.sources.datausa import DataUsa, normalise
from penstock.sources.http import JsonClient

URL = "http://datausa.test/tesseract/data.jsonrecords?cube=acs_yg_total_population_1"
DAY = Interval(datetime(2026, 11, 21, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC))
CONTRACT = Contract.load(settings.INCLUDE / "avro" / "pop.avsc")

OLD = {
    "ID Nation": "01000US",
    "Nation": "United States",
    "ID Year": 2021,
    "Year": "2021",
    "Population": 331893745,
    "Slug Nation": "united-states",
}
NEW = {"Nation ID": "01000US", "Nation": "United States", "Year": 2021, "Population": 331893745.0}
RECORD = {
    "ID_Nation": "01000US",
    "time": 1_609_459_200_000,
    "Nation": "United States",
    "Slug_Nation": "united-states",
    "ID_Year": 2021,
    "Year": 2021,
    "Population": 331_893_745,
}


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow one another at once."""
    monkeypatch.setattr(datausa, "JsonClient", lambda: JsonClient(sleep=lambda _: None))


def fetch(body: Any, status: int = 200) -> list[Record | Unusable]:
    with responses.RequestsMock() as mocked:
        mocked.get(URL, status=status, json=body)
        return list(DataUsa(URL).fetch(DAY, {}))


@pytest.mark.parametrize("row", [OLD, NEW, RECORD], ids=["old API", "new API", "contract"])
def test_a_row_in_anybody_s_words_becomes_the_same_record(row: dict[str, Any]) -> None:
    record = normalise(row)

    assert record == RECORD
    assert [type(record[name]) for name in ("ID_Year", "Year", "Population")] == [int, int, int]
    assert CONTRACT.violation(record) is None


@pytest.mark.parametrize("row", [OLD, NEW], ids=["old API", "new API"])
def test_the_rows_of_an_answer_are_fetched_whatever_the_interval(row: dict[str, Any]) -> None:
    body = {"annotations": {}, "page": {"limit": 0, "offset": 0, "total": 1}, "columns": list(row), "data": [row]}

    assert fetch(body) == [RECORD]


def test_a_year_that_is_not_there_is_no_error() -> None:
    years = [2019, 2021]

    assert fetch({"data": [NEW | {"Year": year} for year in years]}) == [
        normalise(NEW | {"Year": year}) for year in years
    ]


@pytest.mark.parametrize(
    ("name", "slug"),
    [("United States", "united-states"), ("Côte d'Ivoire", "côte-d-ivoire"), (" Guinea_Bissau ", "guinea-bissau")],
)
def test_a_missing_slug_is_made_from_the_name(name: str, slug: str) -> None:
    assert normalise(NEW | {"Nation": name})["Slug_Nation"] == slug


BAD_ROWS = [
    ({"Year": None}, "the year is missing"),
    ({"Year": "20x1"}, "ID_Year is '20x1', not a year"),
    ({"Year": 2021.5}, "ID_Year is 2021.5, not a year"),
    ({"Year": True}, "ID_Year is True, not a year"),
    ({"Year": 99_999}, "ID_Year is 99999, not a year"),
    ({"Year": 0}, "ID_Year is 0, not a year"),
    ({"ID Year": 2021, "Year": "?"}, "Year is '?', not a year"),
    ({"Population": None}, "Population is missing"),
    ({"Population": "n/a"}, "Population is 'n/a', not a whole number"),
    ({"Population": 1.5}, "Population is 1.5, not a whole number"),
    ({"Population": float("nan")}, "Population is nan, not a whole number"),
    ({"Population": [1]}, "Population is [1], not a whole number"),
    ({"Nation": None}, "Nation is missing"),
    ({"Nation ID": None}, "ID_Nation is missing"),
]


@pytest.mark.parametrize(("change", "reason"), BAD_ROWS, ids=str)
def test_a_bad_row_is_rejected_and_fetched_as_unusable_for_the_same_reason(change: dict[str, Any], reason: str) -> None:
    row = NEW | change

    with pytest.raises(Reject) as rejected:
        normalise(row)
    assert str(rejected.value) == reason
    good, bad = fetch({"data": [NEW, row]})
    assert good == RECORD
    assert isinstance(bad, Unusable)
    assert (repr(bad.raw), bad.reason) == (repr(row), reason)


@pytest.mark.parametrize("row", ["junk", 7, None, ["United States", 2021]], ids=str)
def test_a_row_that_is_no_object_is_rejected_too(row: Any) -> None:
    with pytest.raises(Reject, match="the row is no object but"):
        normalise(row)
    assert fetch({"data": [NEW, row]}) == [RECORD, Unusable(row, f"the row is no object but {row!r}")]


def test_a_negative_population_breaks_the_contract_s_minimum() -> None:
    row = NEW | {"Population": -5.0}

    assert CONTRACT.violation(normalise(row)) == "Population is -5, below its minimum of 0"
    assert fetch({"data": [row]}) == [normalise(row)]


@pytest.mark.parametrize("body", [{}, {"data": None}, {"data": {"rows": []}}, [NEW], "text", 7], ids=str)
def test_an_answer_without_rows_under_data_stops_the_run(body: Any) -> None:
    with pytest.raises(Fatal, match=r"datausa\.test/tesseract/data\.jsonrecords answers without a list of rows"):
        fetch(body)


def test_an_answer_with_no_rows_at_all_is_never_a_run_of_zero_records() -> None:
    with pytest.raises(Retry, match="answers with no rows at all"):
        fetch({"data": []})


def test_a_refusal_stops_the_run_in_the_service_s_own_words() -> None:
    with pytest.raises(Fatal, match=r"refuses the request \(HTTP 404\): Cube not found"):
        fetch({"detail": "Cube not found"}, status=404)


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 500, "body": "oops"},
        {"status": 429, "body": "slow down"},
        {"status": 200, "body": "<html><body>Maintenance</body></html>", "content_type": "text/html"},
        {"status": 200, "body": '{"data": [{"Nation": "Uni'},
    ],
    ids=["server error", "too many", "HTML page", "cut short"],
)
def test_a_failure_that_may_pass_is_tried_again_and_then_raised(answer: dict[str, Any]) -> None:
    with responses.RequestsMock() as mocked:
        mocked.get(URL, **answer)
        with pytest.raises(Retry, match=r"datausa\.test"):
            list(DataUsa(URL).fetch(DAY, {}))
        assert len(mocked.calls) == JsonClient().attempts


def test_there_are_no_options() -> None:
    assert DataUsa(URL).resolve({}) == {}
    with pytest.raises(Fatal, match="unknown options: measures, year"):
        DataUsa(URL).resolve({"year": 2021, "measures": "x"})


def test_the_interval_may_be_any_length() -> None:
    with responses.RequestsMock() as mocked:
        mocked.get(URL, json={"data": [NEW]})
        hour = Interval(DAY.start, DAY.start + timedelta(hours=1))
        assert list(DataUsa(URL).fetch(hour, {})) == [RECORD]
