from __future__ import annotations

import json
from typing import Any

import pytest
import requests

BERLIN = {"latitude": "52.52", "longitude": "13.41"}
TWO = {"latitude": "52.52,-33.87", "longitude": "13.41,151.21"}
DAYS = {"start_date": "2026-11-20", "end_date": "2026-11-21"}


def get(base: str, path: str = "/v1/dwd-icon", *, fault: str | None = None, **query: str) -> requests.Response:
    headers = {"X-Replay-Fault": fault} if fault else {}
    return requests.get(f"{base}{path}", params=query, headers=headers, timeout=30)


def reason(response: requests.Response) -> str:
    assert response.status_code == 400
    body = response.json()
    assert body.keys() == {"error", "reason"}
    assert body["error"] is True
    text: str = body["reason"]
    return text


def test_one_location_is_an_object_of_the_service_s_shape(replay: str) -> None:
    body = get(replay, **BERLIN, **DAYS, hourly="temperature_2m,weather_code", daily="sunrise,precipitation_sum").json()

    assert (body["latitude"], body["longitude"]) == (52.5, 13.375)
    assert (body["utc_offset_seconds"], body["timezone"], body["timezone_abbreviation"]) == (0, "GMT", "GMT")
    assert isinstance(body["elevation"], float)
    assert body["generationtime_ms"] > 0
    assert "location_id" not in body
    assert body["hourly_units"] == {"time": "iso8601", "temperature_2m": "°C", "weather_code": "wmo code"}
    assert body["daily_units"] == {"time": "iso8601", "sunrise": "iso8601", "precipitation_sum": "mm"}
    assert body["hourly"]["time"] == [f"2026-11-{day}T{hour:02}:00" for day in (20, 21) for hour in range(24)]
    assert {len(column) for column in body["hourly"].values()} == {48}
    assert body["daily"]["time"] == ["2026-11-20", "2026-11-21"]
    assert body["daily"]["sunrise"][0].startswith("2026-11-20T0")


def test_several_locations_are_a_list_numbered_from_the_second_on(replay: str) -> None:
    first, second = get(replay, **TWO, **DAYS, hourly="cape").json()

    assert "location_id" not in first
    assert second["location_id"] == 1
    assert second["latitude"] == -33.875


def test_the_same_question_has_the_same_answer_byte_for_byte(replay: str) -> None:
    assert get(replay, **TWO, **DAYS, hourly="cape").content == get(replay, **TWO, **DAYS, hourly="cape").content


def test_all_hosts_agree_on_a_day_they_all_have(replay: str) -> None:
    paths = ["/v1/dwd-icon", "/v1/forecast", "/historical-forecast/v1/forecast", "/archive/v1/archive", "/v1/archive"]

    assert len({get(replay, path, **BERLIN, **DAYS, hourly="temperature_2m").text for path in paths}) == 1


def test_variables_may_repeat_the_parameter_or_stand_in_one(replay: str) -> None:
    query = [*BERLIN.items(), *DAYS.items()]
    repeated = requests.get(
        f"{replay}/v1/forecast", params=[*query, ("hourly", "rain"), ("hourly", "cape")], timeout=30
    )

    assert repeated.json()["hourly"] == get(replay, **BERLIN, **DAYS, hourly="rain,cape").json()["hourly"]


def test_without_dates_the_answer_is_the_next_seven_days(replay: str) -> None:
    assert get(replay, **BERLIN, daily="rain_sum").json()["daily"]["time"] == [
        f"2026-11-{day}" for day in range(22, 29)
    ]
    past = get(replay, **BERLIN, daily="rain_sum", past_days="2", forecast_days="1").json()["daily"]["time"]
    assert past == ["2026-11-20", "2026-11-21", "2026-11-22"]


def test_local_time_shifts_the_rows_by_the_offset_that_holds_now(replay: str) -> None:
    utc = get(replay, **BERLIN, **DAYS, hourly="temperature_2m", daily="sunset").json()
    local = get(replay, **BERLIN, **DAYS, hourly="temperature_2m", daily="sunset", timezone="Europe/Berlin").json()

    assert (local["utc_offset_seconds"], local["timezone_abbreviation"]) == (3600, "CET")
    assert local["hourly"]["time"] == utc["hourly"]["time"]
    assert local["hourly"]["temperature_2m"][1:] == utc["hourly"]["temperature_2m"][:-1]
    assert utc["daily"]["sunset"][0][11:13] == "15"
    assert local["daily"]["sunset"][0][11:13] == "16"


def test_an_automatic_time_zone_follows_the_sun(replay: str) -> None:
    offsets = [
        each["utc_offset_seconds"] for each in get(replay, **TWO, **DAYS, daily="sunset", timezone="auto").json()
    ]

    assert offsets == [3600, 10 * 3600]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, "Parameter 'latitude' and 'longitude' must not be empty"),
        ({"latitude": "1,2", "longitude": "1"}, "must have the same number of elements"),
        ({"latitude": "91", "longitude": "1"}, "Latitude must be in range of -90 to 90°. Given: 91.0."),
        ({"latitude": "1", "longitude": "-181"}, "Longitude must be in range of -180 to 180°. Given: -181.0."),
        ({"latitude": "x", "longitude": "1"}, "invalid String value x"),
        (BERLIN | DAYS | {"hourly": "weathercod"}, "Cannot initialize .* from invalid String value weathercod"),
        (BERLIN | DAYS | {"daily": "cape"}, "invalid String value cape"),
        (BERLIN | {"start_date": "2026-11-20"}, "Both 'start_date' and 'end_date' must be set"),
        (BERLIN | {"start_date": "x", "end_date": "2026-11-20"}, "Invalid date format"),
        (BERLIN | {"start_date": "2026-11-20", "end_date": "2026-11-19"}, "End-date must be larger or equals"),
        (
            BERLIN | {"start_date": "2026-08-21", "end_date": "2026-08-22"},
            "Parameter 'start_date' is out of allowed range from 2026-08-22 to 2026-12-08",
        ),
        (
            BERLIN | {"start_date": "2026-11-20", "end_date": "2026-12-09"},
            "Parameter 'end_date' is out of allowed range from 2026-08-22 to 2026-12-08",
        ),
        (BERLIN | {"forecast_days": "17"}, "Forecast days is invalid. Allowed range 0 to 16. Given 17."),
        (BERLIN | {"past_days": "-1"}, "Past days is invalid"),
        (BERLIN | DAYS | {"timezone": "Mars/Olympus"}, "Invalid timezone"),
    ],
)
def test_bad_parameters_are_refused_in_the_service_s_words(replay: str, query: dict[str, str], expected: str) -> None:
    refused = reason(get(replay, **query))

    assert all(part in refused for part in expected.split(".*"))


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/historical-forecast/v1/forecast", "from 2021-01-01 to 2026-12-08"),
        ("/archive/v1/archive", "from 1940-01-01 to 2026-11-21"),
    ],
)
def test_each_host_has_a_window_of_its_own(replay: str, path: str, allowed: str) -> None:
    assert allowed in reason(get(replay, path, **BERLIN, start_date="1930-01-01", end_date="1930-01-02"))


def test_the_two_keys_of_errors_come_in_either_order(replay: str) -> None:
    assert {tuple(get(replay).json()) for _ in range(2)} == {("error", "reason"), ("reason", "error")}


def test_the_clock_moves_the_windows_and_can_be_let_go(replay: str) -> None:
    requests.post(f"{replay}/clock", json={"now": "2020-02-29T23:30:00+01:00"}, timeout=10).raise_for_status()

    assert requests.get(f"{replay}/clock", timeout=10).json() == {"now": "2020-02-29T22:30:00Z"}
    assert get(replay, **BERLIN, daily="rain_sum", forecast_days="1").json()["daily"]["time"] == ["2020-02-29"]
    requests.delete(f"{replay}/clock", timeout=10).raise_for_status()
    assert requests.get(f"{replay}/clock", timeout=10).json()["now"] > "2026"


def test_a_clock_without_an_offset_is_refused(replay: str) -> None:
    assert requests.post(f"{replay}/clock", json={"now": "2020-02-29T23:30:00"}, timeout=10).status_code == 422


def test_requests_are_counted_by_path_and_status(replay: str) -> None:
    get(replay, **BERLIN, **DAYS, hourly="cape")
    get(replay)
    get(replay, "/v1/archive", **BERLIN, **DAYS, hourly="cape")

    assert requests.get(f"{replay}/requests", timeout=10).json() == {
        "total": 3,
        "by_path": {"/v1/dwd-icon": 2, "/v1/archive": 1},
        "by_status": {"200": 2, "400": 1},
    }


def test_it_says_that_it_is_ready(replay: str) -> None:
    assert requests.get(f"{replay}/healthz", timeout=10).json() == {"status": "ok"}


def test_faults_hit_as_often_as_asked_in_their_order_and_then_end(replay: str) -> None:
    for kind, times in (("500", 2), ("html", 1)):
        requests.post(f"{replay}/faults", json={"kind": kind, "times": times}, timeout=10).raise_for_status()

    pending = requests.get(f"{replay}/faults", timeout=10).json()
    answers = [get(replay, **BERLIN, **DAYS, hourly="cape") for _ in range(4)]

    assert [(each["kind"], each["times"]) for each in pending] == [("500", 2), ("html", 1)]
    assert [each.status_code for each in answers] == [500, 500, 200, 200]
    assert [each.text[:1] for each in answers] == ["{", "{", "<", "{"]
    assert requests.get(f"{replay}/faults", timeout=10).json() == []


def test_faults_can_be_switched_off(replay: str) -> None:
    requests.post(f"{replay}/faults", json={"kind": "500", "times": 9}, timeout=10).raise_for_status()
    requests.delete(f"{replay}/faults", timeout=10).raise_for_status()

    assert get(replay, **BERLIN).status_code == 200


def spoilt(replay: str, kind: str) -> requests.Response:
    return get(replay, fault=kind, **BERLIN, **DAYS, hourly="temperature_2m,rain")


@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        ("429-minute", 429, "Minutely API request limit exceeded. Please try again in one minute."),
        ("429-hour", 429, "Hourly API request limit exceeded. Please try again in the next hour."),
        ("429-day", 429, "Daily API request limit exceeded. Please try again tomorrow."),
        ("429-concurrent", 429, "Too many concurrent requests"),
        ("400", 400, "Refused"),
        ("500", 500, "Internal Server Error"),
        ("503", 503, "Service Unavailable"),
        ("200-error", 200, "timeoutReached"),
    ],
)
def test_a_header_puts_an_error_in_one_answer_s_place(replay: str, kind: str, status: int, text: str) -> None:
    response = spoilt(replay, kind)

    assert response.status_code == status
    assert text in response.json()["reason"]
    assert get(replay, **BERLIN).status_code == 200


def hourly_of(response: requests.Response) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = response.json()["hourly"]
    return columns


def test_a_header_spoils_the_weather_in_one_answer(replay: str) -> None:
    assert hourly_of(spoilt(replay, "bad-value"))["temperature_2m"][0] == "n/a"
    assert set(hourly_of(spoilt(replay, "null-block"))["rain"]) == {None}
    assert spoilt(replay, "undefined-unit").json()["hourly_units"]["temperature_2m"] == "undefined"
    assert spoilt(replay, "wrong-unit").json()["hourly_units"]["temperature_2m"] == "furlong"
    assert len(hourly_of(spoilt(replay, "short-column"))["temperature_2m"]) == 47
    assert {len(column) for column in hourly_of(spoilt(replay, "missing-rows")).values()} == {24}
    with pytest.raises(json.JSONDecodeError):
        json.loads(spoilt(replay, "truncated").content)


def test_a_slow_answer_is_whole(replay: str) -> None:
    requests.post(f"{replay}/faults", json={"kind": "slow", "seconds": 0}, timeout=10).raise_for_status()

    assert len(hourly_of(get(replay, **BERLIN, **DAYS, hourly="rain"))["rain"]) == 48


def test_an_unknown_fault_is_refused_with_the_known_ones(replay: str) -> None:
    assert "429-minute" in spoilt(replay, "gremlin").json()["detail"]
    assert requests.post(f"{replay}/faults", json={"kind": "gremlin"}, timeout=10).status_code == 422
