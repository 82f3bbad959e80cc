from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import responses
from responses.matchers import query_param_matcher

from penstock.core.batch import Interval
from penstock.core.errors import Fatal, Retry
from penstock.sources import car_api
from penstock.sources.car_api import PAGE, CarApi
from penstock.sources.http import JsonClient

BASE = "http://cars.test:8091"
URL = f"{BASE}/api/car_transactions"
QUARTER = Interval(datetime(2026, 11, 22, 10, 0, tzinfo=UTC), datetime(2026, 11, 22, 10, 15, tzinfo=UTC))
QUERY = {"from": "2026-11-22T10:00:00+00:00", "to": "2026-11-22T10:15:00+00:00", "limit": PAGE}


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow one another at once."""
    monkeypatch.setattr(car_api, "JsonClient", lambda: JsonClient(sleep=lambda _: None))


def sales(*numbers: int) -> list[dict[str, Any]]:
    return [{"transaction_id": number, "car_brand": "Saab"} for number in numbers]


def page(total: int, numbers: list[int], following: int | None) -> dict[str, Any]:
    return {"total": total, "transactions": sales(*numbers), "next": following}


def fetch(*pages: Any) -> list[Any]:
    with responses.RequestsMock() as mocked:
        for each in pages:
            mocked.get(URL, **(each if isinstance(each, dict) and "body" in each else {"json": each}))
        return list(CarApi(BASE).fetch(QUARTER, {}))


def test_the_pages_of_an_interval_follow_one_another() -> None:
    with responses.RequestsMock() as mocked:
        mocked.get(URL, json=page(3, [1, 2], 2), match=[query_param_matcher(QUERY)])
        mocked.get(URL, json=page(3, [3], None), match=[query_param_matcher(QUERY | {"after": 2})])

        assert list(CarApi(BASE).fetch(QUARTER, {})) == sales(1, 2, 3)


def test_an_interval_without_sales_has_no_records() -> None:
    assert fetch(page(0, [], None)) == []


def test_fewer_transactions_than_the_api_says_there_are_is_noticed() -> None:
    with pytest.raises(Retry, match=r"gave 2 transactions of 2026-11-22T10:00:00Z/.*and says there are 3"):
        fetch(page(3, [1, 2], None))


def test_a_number_that_changes_between_pages_is_noticed() -> None:
    with pytest.raises(Retry, match=r"has 4 transactions of .*, and had 3 before"):
        fetch(page(3, [1, 2], 2), page(4, [3, 4], None))


def test_a_page_that_is_cut_short_is_asked_for_again() -> None:
    assert fetch({"body": '{"total": 2, "transactions": [{"transac'}, page(2, [1, 2], None)) == sales(1, 2)


def test_pages_that_go_round_in_circles_end() -> None:
    with pytest.raises(Fatal, match="goes round in circles"):
        fetch(page(9, [1, 2], 2), page(9, [1, 2], 2))
    with pytest.raises(Fatal, match="goes round in circles"):
        fetch(page(9, [], 2))


def test_a_refusal_stops_the_run_in_the_api_s_own_words() -> None:
    with responses.RequestsMock() as mocked:
        mocked.get(URL, status=400, json={"detail": "to is in the future"})
        with pytest.raises(Fatal, match=r"refuses the request \(HTTP 400\): to is in the future"):
            list(CarApi(BASE).fetch(QUARTER, {}))


@pytest.mark.parametrize(
    "body",
    [[], {}, {"total": "3"}, {"total": 1, "transactions": ["x"]}, {"total": 1, "transactions": {}}, {"total": -1}],
    ids=str,
)
def test_an_answer_of_another_shape_stops_the_run(body: Any) -> None:
    with pytest.raises(Fatal, match="something else than a page of transactions: check CAR_API_URL"):
        fetch(body)


def test_there_are_no_options() -> None:
    assert CarApi(BASE).resolve({}) == {}
    with pytest.raises(Fatal, match="unknown options: brand"):
        CarApi(BASE).resolve({"brand": "Saab"})
