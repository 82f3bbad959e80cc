from __future__ import annotations

from datetime import date
from itertools import chain, pairwise
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.sources.dates import DAY
from penstock.sources.open_meteo_options import Location, Options
from penstock.sources.open_meteo_request import MAX_LOCATIONS, MAX_VALUES, Block, Days, Question, questions

FIRST = date(2026, 3, 1)
LONGEST_URL = 8190


def question(*, locations: int = 1, variables: int = 1, days: int = 1, block: Block = Block.HOURLY) -> Question:
    places = tuple(Location(-60.0 + number / 1000, -123.45678901234567) for number in range(locations))
    names = tuple(f"variable_{number}" for number in range(variables))
    return Question(block, places, names, Days(FIRST, FIRST + DAY * (days - 1)))


def options(locations: int, variables: int) -> Options:
    asked = question(locations=locations, variables=variables)
    return Options(asked.locations, asked.variables)


def test_one_request_asks_for_all_its_locations_and_variables_in_utc() -> None:
    url = Question(
        Block.DAILY, (Location(52.52, 13.41), Location(-33.87, 151.21)), ("sunrise", "sunset"), Days(FIRST, FIRST + DAY)
    ).url("http://weather.test/v1/dwd-icon")

    assert urlsplit(url).path == "/v1/dwd-icon"
    assert parse_qs(urlsplit(url).query) == {
        "latitude": ["52.52,-33.87"],
        "longitude": ["13.41,151.21"],
        "daily": ["sunrise,sunset"],
        "start_date": ["2026-03-01"],
        "end_date": ["2026-03-02"],
        "timezone": ["GMT"],
    }


def test_a_base_url_may_have_a_query_of_its_own() -> None:
    url = question().url("http://weather.test/v1/forecast?models=icon_seamless")

    assert parse_qs(urlsplit(url).query)["models"] == ["icon_seamless"]


# The examples of https://open-meteo.com/en/pricing and of the issue that explains it.
@pytest.mark.parametrize(
    ("locations", "variables", "days", "weight"),
    [
        (1, 1, 1, 1.0),
        (1, 10, 14, 1.0),
        (1, 15, 14, 1.5),
        (1, 15, 7, 1.5),
        (1, 10, 28, 2.0),
        (1, 5, 28, 1.0),
        (7, 10, 28, 14.0),
    ],
)
def test_the_weight_grows_with_variables_above_ten_days_above_fourteen_and_locations(
    locations: int, variables: int, days: int, weight: float
) -> None:
    assert question(locations=locations, variables=variables, days=days).weight == pytest.approx(weight)


def test_a_month_of_a_hundred_locations_is_one_request() -> None:
    assert len(list(questions(Block.HOURLY, options(100, 10), Days(FIRST, FIRST + DAY * 29)))) == 1


@settings(deadline=None)
@given(
    locations=st.integers(1, 250),
    variables=st.integers(1, 63),
    days=st.integers(1, 1500),
    block=st.sampled_from(Block),
    heaviest=st.sampled_from([5.5, 50.0, 300.0, float("inf")]),
)
def test_requests_ask_for_everything_once_and_stay_within_all_bounds(
    locations: int, variables: int, days: int, block: Block, heaviest: float
) -> None:
    whole = Days(FIRST, FIRST + DAY * (days - 1))
    pieces: dict[tuple[Location, ...], list[Days]] = {}
    for each in questions(block, options(locations, variables), whole, heaviest):
        pieces.setdefault(each.locations, []).append(each.days)
        values = block.rows_per_day * each.days.count * len(each.locations) * (variables + 1)
        assert len(each.locations) <= MAX_LOCATIONS
        assert len(each.url("http://weather.test/v1/forecast")) < LONGEST_URL
        assert values <= MAX_VALUES
        assert each.weight <= max(heaviest, each.smallest().weight) + 1e-9

    assert tuple(chain.from_iterable(pieces)) == options(locations, variables).locations
    for parts in pieces.values():
        assert (parts[0].first, parts[-1].last) == (whole.first, whole.last)
        assert all(before.last + DAY == after.first for before, after in pairwise(parts))


def test_the_smallest_question_is_the_first_day_of_the_first_location() -> None:
    smallest = question(locations=3, days=5).smallest()

    assert (len(smallest.locations), smallest.days) == (1, Days(FIRST, FIRST))


def test_days_are_clipped_to_those_that_others_have_too() -> None:
    days = Days(FIRST, FIRST + DAY * 9)

    assert days.within(Days(FIRST + DAY * 5, date.max)) == Days(FIRST + DAY * 5, FIRST + DAY * 9)
    assert days.within(Days(date.min, FIRST - DAY)) is None
