from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import requests
import time_machine

from penstock.core.batch import Interval
from penstock.core.errors import Fatal, Retry
from penstock.core.pipeline import Source
from penstock.core.settings import OpenMeteo as Settings
from penstock.pipelines import WEATHER_DAILY, WEATHER_HOURLY
from penstock.sources import http
from penstock.sources.http import Refused, Unlimited
from penstock.sources.open_meteo import OpenMeteo, wait_after_429

BERLIN = {"latitudes": [52.52], "longitudes": [13.41], "variables": ["temperature_2m", "precipitation"]}


class Scale:
    """A budget that notes what each request weighs."""

    def __init__(self) -> None:
        self.weights: list[float] = []

    @contextmanager
    def spend(self, host: str, weight: float) -> Iterator[None]:
        self.weights.append(weight)
        yield


def settings_of(base: str, **limits: int) -> Settings:
    return Settings(
        base_url=f"{base}/v1/dwd-icon",
        archive_url=f"{base}/archive/v1/archive",
        historical_url=f"{base}/historical-forecast/v1/forecast",
        **({"per_minute": 0, "per_hour": 0, "per_day": 0} | limits),
    )


@pytest.fixture
def hourly(replay: str) -> OpenMeteo:
    source = WEATHER_HOURLY.source
    assert isinstance(source, OpenMeteo)
    return replace(source, settings=settings_of(replay), budget=Unlimited())


@pytest.fixture
def daily(replay: str) -> OpenMeteo:
    source = WEATHER_DAILY.source
    assert isinstance(source, OpenMeteo)
    return replace(source, settings=settings_of(replay), budget=Unlimited())


@pytest.fixture
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []

    class Sleepless(http.JsonClient):
        def __post_init__(self) -> None:
            super().__post_init__()
            self.sleep = slept.append

    monkeypatch.setattr("penstock.sources.open_meteo.JsonClient", Sleepless)
    return slept


def days(first: str, last: str) -> Interval:
    start, end = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in (first, last))
    return Interval(start, end + timedelta(days=1))


def hour(text: str) -> Interval:
    start = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return Interval(start, start + timedelta(hours=1))


def fault(base: str, kind: str, times: int = 1) -> None:
    requests.post(f"{base}/faults", json={"kind": kind, "times": times}, timeout=10).raise_for_status()


def asked(base: str) -> dict[str, int]:
    counts: dict[str, int] = requests.get(f"{base}/requests", timeout=10).json()["by_path"]
    return counts


def test_it_is_a_source(hourly: OpenMeteo) -> None:
    source: Source = hourly
    assert source.resolve(BERLIN) == BERLIN


def test_the_variables_are_the_fields_of_the_contract_that_are_no_coordinates(hourly: OpenMeteo) -> None:
    assert len(hourly.variables) == len(hourly.contract.fields) - 6
    assert {"temperature_2m", "updraft", "soil_moisture_27_to_81cm"} <= set(hourly.variables)
    assert not {"time", "latitude", "grid_latitude", "elevation"} & set(hourly.variables)


def test_a_live_hour_of_all_default_cities_is_one_request_and_one_record_each(hourly: OpenMeteo, replay: str) -> None:
    records = list(hourly.fetch(hour("2026-11-22T06:00"), {}))

    assert [(each["latitude"], each["longitude"]) for each in records] == list(
        zip(hourly.defaults["latitudes"], hourly.defaults["longitudes"], strict=True)
    )
    assert {each["time"] for each in records} == {int(datetime(2026, 11, 22, 6, tzinfo=UTC).timestamp() * 1000)}
    assert all(hourly.contract.violation(each) is None for each in records)
    assert asked(replay) == {"/v1/dwd-icon": 1}


def test_the_same_fetch_twice_gives_the_same_records(hourly: OpenMeteo) -> None:
    interval = hour("2026-11-21T23:00")

    assert list(hourly.fetch(interval, {})) == list(hourly.fetch(interval, {}))


def test_every_variable_comes_in_the_contract_s_unit_and_bounds(hourly: OpenMeteo, daily: OpenMeteo) -> None:
    for source in (hourly, daily):
        records = list(source.fetch(days("2026-11-20", "2026-11-21"), {"variables": source.variables}))

        assert records
        assert all(source.contract.violation(each) is None for each in records)
        assert all(each.keys() == set(source.contract.by_name) for each in records)


def test_a_day_is_one_record_for_each_location(daily: OpenMeteo) -> None:
    records = list(daily.fetch(days("2026-11-21", "2026-11-21"), {}))

    assert Counter(each["time"] for each in records) == {(date(2026, 11, 21) - date(1970, 1, 1)).days: 6}


def test_days_too_old_for_the_forecast_host_come_from_the_historical_one(hourly: OpenMeteo, replay: str) -> None:
    records = list(hourly.fetch(days("2026-08-20", "2026-08-24"), BERLIN))

    # The forecast host has the days since 2026-08-22, which its refusal of the first request says.
    first = int(datetime(2026, 8, 20, tzinfo=UTC).timestamp() * 1000)
    assert [each["time"] for each in records] == [first + number * 3_600_000 for number in range(5 * 24)]
    assert asked(replay) == {"/v1/dwd-icon": 2, "/historical-forecast/v1/forecast": 1}


def test_days_before_2021_come_from_the_archive(hourly: OpenMeteo, replay: str) -> None:
    records = list(hourly.fetch(days("2020-12-30", "2021-01-01"), BERLIN))

    assert len(records) == 3 * 24
    assert asked(replay) == {"/v1/dwd-icon": 1, "/historical-forecast/v1/forecast": 1, "/archive/v1/archive": 1}


def test_a_heavy_request_is_preceded_by_a_light_one_that_may_be_refused(hourly: OpenMeteo) -> None:
    scale = Scale()
    options = {"latitudes": list(range(20)), "longitudes": list(range(20)), "variables": ["cape"]}
    assert len(list(hourly.within(scale).fetch(days("2026-03-01", "2026-03-01"), options))) == 20 * 24
    # Forecast host refuses the light one; the historical host takes the light and then the heavy one.
    assert scale.weights == [1.0, 1.0, 20.0]


def test_a_day_that_no_host_has_yet_is_a_retry_that_says_up_to_when(hourly: OpenMeteo) -> None:
    with pytest.raises(Retry, match=r"dwd-icon has days up to 2026-12-08, and 2026-12-09 are still to come"):
        list(hourly.fetch(days("2026-12-09", "2026-12-09"), BERLIN))


def test_a_day_before_all_hosts_is_fatal(hourly: OpenMeteo) -> None:
    with pytest.raises(Fatal, match="no Open-Meteo host has the hourly weather of 1939-12-31"):
        list(hourly.fetch(days("1939-12-31", "1939-12-31"), BERLIN))


def test_an_interval_without_a_row_is_fatal_before_any_request(daily: OpenMeteo, replay: str) -> None:
    with pytest.raises(Fatal, match="holds no daily row: the next one is at 2026-11-22T00:00Z"):
        list(daily.fetch(hour("2026-11-21T06:00"), {}))

    assert asked(replay) == {}


@pytest.mark.parametrize("options", [{"variables": "weathercode"}, {"latitudes": "91", "longitudes": "0"}])
def test_bad_options_are_fatal_before_any_request(hourly: OpenMeteo, replay: str, options: dict[str, Any]) -> None:
    with pytest.raises(Fatal):
        list(hourly.fetch(hour("2026-11-22T06:00"), options))

    assert asked(replay) == {}


def test_no_request_weighs_more_than_half_of_the_tightest_limit(hourly: OpenMeteo, replay: str) -> None:
    scale = Scale()
    source = replace(hourly, settings=settings_of(replay, per_minute=600, per_hour=20), budget=scale)
    options = {"latitudes": list(range(25)), "longitudes": list(range(25)), "variables": ["cape"]}

    assert len(list(source.fetch(days("2026-11-20", "2026-11-21"), options))) == 25 * 48
    assert max(scale.weights) == 10


@pytest.mark.parametrize("kind", ["500", "503", "truncated", "html", "200-error", "429-minute", "429-concurrent"])
def test_a_fault_that_passes_costs_no_record(hourly: OpenMeteo, replay: str, no_sleep: list[float], kind: str) -> None:
    fault(replay, kind)

    assert len(list(hourly.fetch(hour("2026-11-22T06:00"), BERLIN))) == 1
    assert len(no_sleep) == 1
    assert asked(replay) == {"/v1/dwd-icon": 2}


def test_a_minute_s_limit_is_slept_and_a_day_s_is_handed_on(
    hourly: OpenMeteo, replay: str, no_sleep: list[float]
) -> None:
    fault(replay, "429-minute")
    list(hourly.fetch(hour("2026-11-22T06:00"), BERLIN))
    assert 60 <= no_sleep.pop() <= 61

    fault(replay, "429-day")
    with (
        time_machine.travel(datetime(2026, 11, 22, 20, tzinfo=UTC), tick=False),
        pytest.raises(Retry, match="Daily API request limit exceeded") as caught,
    ):
        list(hourly.fetch(hour("2026-11-22T06:00"), BERLIN))
    assert caught.value.retry_after == 4 * 3600 + 60
    assert no_sleep == []


@pytest.mark.parametrize(
    ("reason", "seconds"),
    [
        ("Minutely API request limit exceeded. Please try again in one minute.", 60),
        ("Hourly API request limit exceeded. Please try again in the next hour.", 15 * 60 + 60),
        ("Daily API request limit exceeded. Please try again tomorrow.", 2 * 3600 + 15 * 60 + 60),
        ("Too many concurrent requests", None),
    ],
)
def test_a_limit_is_lifted_in_the_first_minute_after_the_period_it_names(reason: str, seconds: int | None) -> None:
    with time_machine.travel(datetime(2026, 11, 22, 21, 45, tzinfo=UTC), tick=False):
        assert wait_after_429(reason) == seconds


def test_a_refusal_is_fatal_with_the_service_s_reason(hourly: OpenMeteo, replay: str) -> None:
    fault(replay, "400")

    with pytest.raises(Refused, match="Refused on request"):
        list(hourly.fetch(hour("2026-11-22T06:00"), BERLIN))


def test_one_bad_value_spoils_one_record_only(hourly: OpenMeteo, replay: str) -> None:
    fault(replay, "bad-value")

    records = list(hourly.fetch(days("2026-11-21", "2026-11-21"), BERLIN))

    broken = [reason for each in records if (reason := hourly.contract.violation(each))]
    assert (len(records), broken) == (24, ["temperature_2m is 'n/a', not a double"])


@pytest.mark.parametrize("kind", ["null-block", "undefined-unit"])
def test_values_that_are_not_there_are_null(hourly: OpenMeteo, replay: str, kind: str) -> None:
    fault(replay, kind)

    records = list(hourly.fetch(days("2026-11-21", "2026-11-21"), BERLIN))

    assert {each["temperature_2m"] for each in records} == {None}
    assert len(records) == 24


@pytest.mark.parametrize(
    ("kind", "error", "complaint"),
    [
        ("wrong-unit", Fatal, "temperature_2m comes in 'furlong'"),
        ("short-column", Fatal, "differ in length"),
        ("missing-rows", Retry, "12 of 24 hourly rows are not there yet"),
    ],
)
def test_an_answer_that_cannot_be_trusted_stops_the_run(
    hourly: OpenMeteo, replay: str, kind: str, error: type[Exception], complaint: str
) -> None:
    fault(replay, kind)

    with pytest.raises(error, match=complaint):
        list(hourly.fetch(days("2026-11-21", "2026-11-21"), BERLIN))
