from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.replay_api.variables import DAILY, HOURLY, Daily
from apps.replay_api.weather import Array, Hourly, Place
from penstock.pipelines import WEATHER_DAILY, WEATHER_HOURLY
from penstock.sources.open_meteo import NO_VARIABLES

HOUR_OF_2026 = 490_896  # 2026-01-01T00:00Z, in hours since the epoch
YEAR = np.arange(HOUR_OF_2026, HOUR_OF_2026 + 365 * 24, dtype=np.float64)
DAYS = YEAR[::24]

BERLIN = Place.nearest(52.52, 13.41)
MANAUS = Place.nearest(-3.1, -60.02)
SYDNEY = Place.nearest(-33.87, 151.21)
TROMSO = Place.nearest(69.65, 18.96)


def hourly(place: Place, name: str) -> Array:
    return HOURLY[name](Hourly(place, YEAR))


def monthly_mean(values: Array, month: int) -> float:
    return float(values.reshape(365, 24)[month * 30 : month * 30 + 30].mean())


def test_every_variable_of_the_contracts_has_a_formula() -> None:
    assert HOURLY.keys() == WEATHER_HOURLY.contract.by_name.keys() - NO_VARIABLES
    assert DAILY.keys() == WEATHER_DAILY.contract.by_name.keys() - NO_VARIABLES


def test_a_value_depends_on_place_and_time_alone_and_not_on_what_else_is_asked() -> None:
    whole = hourly(BERLIN, "temperature_2m")

    assert np.array_equal(HOURLY["temperature_2m"](Hourly(BERLIN, YEAR[1000:1001])), whole[1000:1001])


def test_places_differ() -> None:
    assert not np.allclose(hourly(BERLIN, "pressure_msl"), hourly(Place.nearest(52.75, 13.41), "pressure_msl"))


def test_summer_is_in_july_in_the_north_and_in_january_in_the_south() -> None:
    berlin, sydney = hourly(BERLIN, "temperature_2m"), hourly(SYDNEY, "temperature_2m")

    assert monthly_mean(berlin, 6) > monthly_mean(berlin, 0) + 10
    assert monthly_mean(sydney, 0) > monthly_mean(sydney, 6) + 5


def test_it_is_warmer_near_the_equator_and_in_the_afternoon() -> None:
    assert hourly(MANAUS, "temperature_2m").mean() > hourly(TROMSO, "temperature_2m").mean() + 15
    by_hour = hourly(MANAUS, "temperature_2m").reshape(365, 24).mean(axis=0)
    assert int(by_hour.argmax()) == 19  # 15 o'clock by the sun at 60° west


def test_weather_changes_smoothly() -> None:
    assert float(np.abs(np.diff(hourly(BERLIN, "temperature_2m"))).max()) < 3
    assert float(np.abs(np.diff(hourly(BERLIN, "pressure_msl"))).max()) < 4


def test_the_sun_is_up_by_day_and_gives_nothing_at_night() -> None:
    night = hourly(BERLIN, "terrestrial_radiation") == 0

    assert 0.3 < night.mean() < 0.7
    assert not hourly(BERLIN, "shortwave_radiation")[night].any()
    assert hourly(BERLIN, "shortwave_radiation").max() > 600


def test_water_falls_as_rain_showers_and_snow() -> None:
    precipitation, rain, showers, snowfall = (
        hourly(TROMSO, name) for name in ("precipitation", "rain", "showers", "snowfall")
    )

    np.testing.assert_allclose(precipitation, rain + showers + snowfall / 0.7, atol=1e-9)
    assert 0.02 < (precipitation > 0).mean() < 0.5


def test_days_are_made_of_their_hours() -> None:
    on = Daily(BERLIN, DAYS)
    temperature = hourly(BERLIN, "temperature_2m").reshape(365, 24)

    assert np.array_equal(DAILY["temperature_2m_max"](on), temperature.max(axis=1))
    assert np.array_equal(DAILY["temperature_2m_min"](on), temperature.min(axis=1))


def test_berlin_s_longest_day_begins_before_three_and_its_shortest_after_seven_utc() -> None:
    rise = (DAILY["sunrise"](Daily(BERLIN, DAYS)) - DAYS)[[171, 354]]
    daylight = DAILY["daylight_duration"](Daily(BERLIN, DAYS))[[171, 354]] / 3600

    np.testing.assert_allclose(rise, [2.7, 7.2], atol=0.3)
    np.testing.assert_allclose(daylight, [16.8, 7.65], atol=0.2)


def test_a_polar_day_lasts_24_hours_and_a_polar_night_begins_and_ends_at_midnight() -> None:
    on = Daily(TROMSO, DAYS)
    rise, sets = DAILY["sunrise"](on) - DAYS, DAILY["sunset"](on) - DAYS

    assert (rise[171], sets[171]) == (0, 24)
    assert (rise[354], sets[354]) == (0, 0)


@settings(deadline=None, max_examples=30)
@given(
    latitude=st.floats(-90, 90),
    longitude=st.floats(-180, 180),
    start=st.integers(-262_968, 700_000),  # from 1940 to 2049
)
def test_every_value_anywhere_and_at_any_time_is_finite_and_possible(
    latitude: float, longitude: float, start: int
) -> None:
    place = Place.nearest(latitude, longitude)
    at = Hourly(place, np.arange(start, start + 72, dtype=np.float64))
    on = Daily(place, np.arange(start - start % 24, start + 72, 24, dtype=np.float64))
    values = {name: formula(at) for name, formula in HOURLY.items()}
    days = {name: formula(on) for name, formula in DAILY.items()}

    assert all(np.isfinite(each).all() for each in (*values.values(), *days.values()))
    for name in ("relative_humidity_2m", "cloud_cover", "cloud_cover_low"):
        assert 0 <= values[name].min() <= values[name].max() <= 100
    for name in ("precipitation", "rain", "showers", "snowfall", "snow_depth", "visibility", "cape", "wind_speed_10m"):
        assert values[name].min() >= 0
    assert -90 < values["temperature_2m"].min() <= values["temperature_2m"].max() < 60
    assert 850 < values["surface_pressure"].min() <= values["pressure_msl"].max() < 1080
    assert (values["dew_point_2m"] <= values["temperature_2m"]).all()
    assert 0 <= days["precipitation_hours"].min() <= days["precipitation_hours"].max() <= 24
    assert (days["sunset"] >= days["sunrise"]).all()


@pytest.mark.parametrize(("asked", "cell"), [((52.52, 13.41), (52.5, 13.375)), ((-0.03, 179.99), (0.0, 180.0))])
def test_a_place_is_the_centre_of_its_grid_cell(asked: tuple[float, float], cell: tuple[float, float]) -> None:
    place = Place.nearest(*asked)

    assert (place.latitude, place.longitude) == cell
    assert 0 <= place.elevation <= 1000
