from __future__ import annotations

import json
import logging
from copy import deepcopy
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from penstock.core import settings
from penstock.core.batch import Interval
from penstock.core.contract import Contract
from penstock.core.errors import Fatal, Retry
from penstock.core.record import Record
from penstock.sources.open_meteo_answer import records
from penstock.sources.open_meteo_options import Location
from penstock.sources.open_meteo_request import Block, Days, Question

HOURLY = Contract.load(settings.INCLUDE / "avro" / "hourlymetrics.avsc")
DAILY = Contract.load(settings.INCLUDE / "avro" / "dailymetrics.avsc")

BERLIN = Location(52.52, 13.41)
MANAUS = Location(-3.1, -60.02)
DAY = date(2026, 3, 1)
WHOLE_DAY = Interval(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))


def hourly_body(offset: int = 0, latitude: float = 52.5, **columns: list[Any]) -> dict[str, Any]:
    """An answer of one location: 24 hours of one local day, its temperatures from 0.0 to 23.0 °C."""
    return {
        "latitude": latitude,
        "longitude": 13.419998,
        "generationtime_ms": 0.04,
        "utc_offset_seconds": offset,
        "timezone": "GMT",
        "timezone_abbreviation": "GMT",
        "elevation": 38.0,
        "hourly_units": {"time": "iso8601", "temperature_2m": "°C", "weather_code": "wmo code"},
        "hourly": {
            "time": [f"2026-03-01T{hour:02}:00" for hour in range(24)],
            "temperature_2m": [float(hour) for hour in range(24)],
            "weather_code": [3] * 24,
        }
        | columns,
    }


def daily_body(offset: int = 0) -> dict[str, Any]:
    """An answer of one location: two days with their sun."""
    return {
        "latitude": -3.125,
        "longitude": -60.0,
        "utc_offset_seconds": offset,
        "daily_units": {"time": "iso8601", "temperature_2m_max": "°C", "sunrise": "iso8601", "sunset": "iso8601"},
        "daily": {
            "time": ["2026-03-01", "2026-03-02"],
            "temperature_2m_max": [31.4, None],
            "sunrise": ["2026-03-01T06:07", "2026-03-02T06:07"],
            "sunset": ["2026-03-01T18:14", None],
        },
    }


def ask(*locations: Location, variables: tuple[str, ...] = ("temperature_2m",), days: int = 1) -> Question:
    last = DAY + timedelta(days=days - 1)
    return Question(Block.HOURLY, locations or (BERLIN,), variables, Days(DAY, last))


def ask_daily(days: int = 1) -> Question:
    variables = ("temperature_2m_max", "sunrise", "sunset")
    return Question(Block.DAILY, (MANAUS,), variables, Days(DAY, DAY + timedelta(days=days - 1)))


def read(answer: Any, question: Question, interval: Interval = WHOLE_DAY) -> list[Record]:
    contract = DAILY if question.block is Block.DAILY else HOURLY
    return list(records(answer, question, contract, interval, "weather.test"))


def ms(hour: int, minute: int = 0) -> int:
    """A time on 2026-03-01 in ms since the epoch."""
    return int(datetime(2026, 3, 1, hour, minute, tzinfo=UTC).timestamp() * 1000)


def test_a_row_has_the_asked_coordinate_the_grid_cell_and_the_asked_variables() -> None:
    rows = read(hourly_body(), ask())

    assert len(rows) == 24
    assert rows[7] == {
        "latitude": 52.52,
        "longitude": 13.41,
        "time": ms(7),
        "grid_latitude": 52.5,
        "grid_longitude": 13.419998,
        "elevation": 38.0,
        "temperature_2m": 7.0,
    }
    assert all(HOURLY.violation(row) is None for row in rows)


def test_only_the_hours_of_the_interval_are_yielded() -> None:
    hour = Interval(datetime(2026, 3, 1, 10, tzinfo=UTC), datetime(2026, 3, 1, 12, tzinfo=UTC))

    assert [row["time"] for row in read(hourly_body(), ask(), hour)] == [ms(10), ms(11)]


def test_a_list_of_answers_belongs_to_the_locations_in_their_order() -> None:
    second = hourly_body(latitude=-3.125) | {"location_id": 1}

    rows = read([hourly_body(), second], ask(BERLIN, MANAUS))

    assert [(row["latitude"], row["grid_latitude"]) for row in rows[::24]] == [(52.52, 52.5), (-3.1, -3.125)]


def test_nulls_stay_and_a_place_with_only_nulls_is_no_error() -> None:
    rows = read(hourly_body(temperature_2m=[None] * 24), ask())

    assert {row["temperature_2m"] for row in rows} == {None}


def test_an_elevation_that_is_not_sent_is_null() -> None:
    body = hourly_body()
    del body["elevation"]

    assert read(body, ask())[0]["elevation"] is None


def test_hours_in_local_time_become_utc_and_the_uncovered_edge_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        rows = read(hourly_body(offset=-3 * 3600), ask(MANAUS))

    assert [row["time"] for row in rows] == [ms(hour) for hour in range(3, 24)]
    assert rows[0]["temperature_2m"] == 0.0
    assert "3 rows are left out" in caplog.text


def test_an_offset_of_half_an_hour_keeps_its_minutes() -> None:
    rows = read(hourly_body(offset=19_800), ask())

    assert rows[0]["time"] == ms(0, 30)
    assert len(rows) == 18


def test_a_day_keeps_its_local_date_and_sunrise_and_sunset_become_utc() -> None:
    first, second = read(
        daily_body(offset=-4 * 3600), ask_daily(2), Interval(WHOLE_DAY.start, WHOLE_DAY.end.replace(day=3))
    )

    assert first["time"] == (DAY - date(1970, 1, 1)).days
    assert first["sunrise"] == ms(10, 7)
    assert first["sunset"] == ms(22, 14)
    assert (second["temperature_2m_max"], second["sunset"]) == (None, None)
    assert DAILY.violation(first) is None


def test_only_the_days_of_the_interval_are_yielded() -> None:
    assert [row["temperature_2m_max"] for row in read(daily_body(), ask_daily())] == [31.4]


@pytest.mark.parametrize("value", ["n/a", {"v": 1}, True, float("nan")])
def test_one_value_of_a_wrong_type_is_left_for_the_contract_to_reject(value: Any) -> None:
    rows = read(hourly_body(temperature_2m=[1.0] * 5 + [value] + [1.0] * 18), ask())

    assert rows[5]["temperature_2m"] is value
    assert "temperature_2m is" in str(HOURLY.violation(rows[5]))
    assert [HOURLY.violation(row) for row in rows].count(None) == 23


def test_a_time_of_the_sun_that_is_none_is_left_for_the_contract_to_reject() -> None:
    body = daily_body()
    body["daily"]["sunrise"][0] = "dawn"

    (row,) = read(body, ask_daily())

    assert DAILY.violation(row) == "sunrise is 'dawn', not a timestamp-millis"


@pytest.mark.parametrize("grid", [None, "52.5"])
def test_a_grid_cell_of_a_wrong_type_is_left_for_the_contract_to_reject(grid: Any) -> None:
    rows = read(hourly_body() | {"latitude": grid}, ask())

    assert all("grid_latitude is" in str(HOURLY.violation(row)) for row in rows)


def test_the_undefined_unit_of_a_variable_that_the_model_lacks_goes_with_nulls_only() -> None:
    body = hourly_body(temperature_2m=[None] * 24)
    body["hourly_units"]["temperature_2m"] = "undefined"

    assert len(read(body, ask())) == 24

    body["hourly"]["temperature_2m"][3] = 7.5
    with pytest.raises(Fatal, match="temperature_2m comes in 'undefined'"):
        read(body, ask())


def test_a_wrong_unit_stops_the_run() -> None:
    body = hourly_body()
    body["hourly_units"]["temperature_2m"] = "°F"

    with pytest.raises(Fatal, match=r"weather\.test at 52\.52,13\.41: temperature_2m comes in '°F', .* has '°C'"):
        read(body, ask())


def test_unix_times_are_refused_as_a_wrong_unit() -> None:
    body = hourly_body(time=[ms(hour) // 1000 for hour in range(24)])
    body["hourly_units"]["time"] = "unixtime"

    with pytest.raises(Fatal, match="time comes in 'unixtime'"):
        read(body, ask())


def edited(**changes: Any) -> dict[str, Any]:
    body = deepcopy(hourly_body())
    body["hourly"] |= changes
    return body


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ([], "answers 0 locations where 1 were asked"),
        ([hourly_body(), hourly_body()], "answers 2 locations where 1 were asked"),
        (None, "location number 1 with something else: None"),
        ("weather", "location number 1 with something else: weather"),
        (hourly_body() | {"location_id": 3}, "location number 1 with something else"),
        ({"latitude": 52.5}, "no hourly block with units; its keys are latitude"),
        (hourly_body() | {"hourly": None}, "no hourly block with units"),
        (hourly_body() | {"hourly_units": None}, "no hourly block with units"),
        (hourly_body() | {"utc_offset_seconds": "0"}, "utc_offset_seconds is '0'"),
        (
            edited(temperature_2m=None),
            "the hourly block lacks temperature_2m; it has time, temperature_2m, weather_code",
        ),
        (edited(temperature_2m=[1.0]), "columns differ in length: {'time': 24, 'temperature_2m': 1}"),
        (edited(time=["2026-03-01T00:00"] * 24), "the time 2026-03-01T00:00 follows 2026-03-01T00:00"),
        (edited(time=["soon"] * 24), "a hourly time cannot be read: .*soon"),
        (edited(time=[None] * 24), "a hourly time cannot be read"),
    ],
)
def test_an_answer_of_a_wrong_shape_stops_the_run(answer: Any, complaint: str) -> None:
    with pytest.raises(Fatal, match=complaint):
        read(json.loads(json.dumps(answer)), ask())


def test_rows_that_are_not_there_yet_are_a_retry_that_names_the_first() -> None:
    body = hourly_body()
    for column in body["hourly"].values():
        del column[22:]

    with pytest.raises(Retry, match="2 of 24 hourly rows are not there yet, the first of them 2026-03-01T22:00Z"):
        read(body, ask())


def test_a_day_that_is_not_there_yet_is_a_retry_that_names_it() -> None:
    body = daily_body()
    for column in body["daily"].values():
        del column[0]

    with pytest.raises(Retry, match="1 of 1 daily rows are not there yet, the first of them 2026-03-01"):
        read(body, ask_daily())
