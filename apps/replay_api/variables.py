"""Every variable of the hourly and of the daily block by its name in the API."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TypeAlias

import numpy as np

from apps.replay_api.weather import (
    HOURS_PER_DAY,
    LAPSE,
    SOLAR_CONSTANT,
    WET_HOUR,
    Array,
    Hourly,
    Place,
    bearing,
    declination,
)

_SECONDS_PER_HOUR = 3600
_SUNRISE_ALTITUDE = math.radians(-0.833)  # refraction and the sun's radius
_SUNSHINE_IRRADIANCE = 120.0  # W/m², the WMO's definition of sunshine


class Daily:
    """The weather of `place` on whole days, from the same hours that the hourly block shows.

    `starts` are the hours since the epoch (UTC) at which the days begin. Every array has their shape.
    """

    def __init__(self, place: Place, starts: Array) -> None:
        self.starts = starts
        self.place = place
        self.hourly = Hourly(place, (starts[:, None] + np.arange(HOURS_PER_DAY)).ravel())

    def hours(self, name: str) -> Array:
        """An hourly variable, one row a day."""
        return HOURLY[name](self.hourly).reshape(-1, HOURS_PER_DAY)

    @cached_property
    def wind_direction(self) -> Array:
        """Degrees from which the wind of the day comes on the whole."""
        east, north = (part.reshape(-1, HOURS_PER_DAY).sum(axis=1) for part in self.hourly.wind)
        return bearing(east, north)

    @cached_property
    def sunrise_and_sunset(self) -> tuple[Array, Array]:
        """Hours since the epoch; of a polar night the day's start twice, of a polar day its start and its end.

        See https://github.com/open-meteo/open-meteo/pull/844
        """
        noon = np.floor((self.starts + 12) / HOURS_PER_DAY) * HOURS_PER_DAY + 12 - self.place.longitude / 15
        tilt, latitude = declination(noon), math.radians(self.place.latitude)
        cosine = (math.sin(_SUNRISE_ALTITUDE) - math.sin(latitude) * np.sin(tilt)) / (math.cos(latitude) * np.cos(tilt))
        half = np.degrees(np.arccos(np.clip(cosine, -1, 1))) / 15
        polar_night, polar_day = cosine >= 1, cosine <= -1
        rise = np.where(polar_night | polar_day, self.starts, noon - half)
        sets = np.where(polar_night, self.starts, np.where(polar_day, self.starts + HOURS_PER_DAY, noon + half))
        return rise, sets

    @cached_property
    def sunrise(self) -> Array:
        """Hours since the epoch."""
        return self.sunrise_and_sunset[0]

    @cached_property
    def sunset(self) -> Array:
        """Hours since the epoch."""
        return self.sunrise_and_sunset[1]


HourlyVariable: TypeAlias = Callable[[Hourly], Array]
DailyVariable: TypeAlias = Callable[[Daily], Array]

_HEIGHTS = (10, 80, 120, 180)  # m
_SOIL_DEPTHS = (0, 6, 18, 54)  # cm
_SOIL_LAYERS = ((0, 1), (1, 3), (3, 9), (9, 27), (27, 81))  # cm


def _wind_speed(height: float) -> HourlyVariable:
    return lambda at: at.wind_speed_at(height)


def _wind_direction(height: float) -> HourlyVariable:
    return lambda at: at.wind_direction_at(height)


def _temperature(height: float) -> HourlyVariable:
    return lambda at: at.temperature - LAPSE * height


def _soil_temperature(depth: float) -> HourlyVariable:
    return lambda at: at.soil_temperature_at(depth)


def _soil_moisture(top: float, bottom: float) -> HourlyVariable:
    return lambda at: at.soil_moisture_at((top + bottom) / 2)


def _sunshine(at: Hourly) -> Array:
    shining = at.direct_normal(at.sun) > _SUNSHINE_IRRADIANCE
    return np.where(shining, _SECONDS_PER_HOUR * (1 - 0.5 * at.clouds), 0.0)


def _cloud_base(at: Hourly) -> Array:
    """A rising parcel cools to its dew point at about 125 m for each degree between the two (Espy)."""
    return at.place.elevation + 125 * (at.temperature - at.dew_point)


_RADIATION: Mapping[str, Callable[[Hourly, Array], Array]] = {
    "shortwave_radiation": lambda at, sun: at.shortwave(sun),
    "direct_radiation": lambda at, sun: at.shortwave(sun) * (1 - at.diffuse_share),
    "diffuse_radiation": lambda at, sun: at.shortwave(sun) * at.diffuse_share,
    "direct_normal_irradiance": lambda at, sun: at.direct_normal(sun),
    "global_tilted_irradiance": lambda at, sun: at.shortwave(sun),
    "terrestrial_radiation": lambda _at, sun: SOLAR_CONSTANT * sun,
}


def _mean(radiation: Callable[[Hourly, Array], Array]) -> HourlyVariable:
    return lambda at: radiation(at, at.sun)


def _instant(radiation: Callable[[Hourly, Array], Array]) -> HourlyVariable:
    return lambda at: radiation(at, at.sun_now)


HOURLY: Mapping[str, HourlyVariable] = {
    "temperature_2m": lambda at: at.temperature,
    "relative_humidity_2m": lambda at: at.humidity,
    "dew_point_2m": lambda at: at.dew_point,
    "apparent_temperature": lambda at: at.apparent_temperature,
    "wet_bulb_temperature_2m": lambda at: at.wet_bulb,
    "precipitation": lambda at: at.precipitation,
    "rain": lambda at: at.rain,
    "showers": lambda at: at.showers,
    "snowfall": lambda at: at.snowfall,
    "snow_depth": lambda at: 0.03 * np.maximum(-at.slow_temperature, 0),
    "snowfall_height": lambda at: np.maximum(at.freezing_level - 300, 0),
    "freezing_level_height": lambda at: at.freezing_level,
    "weather_code": lambda at: at.weather_code,
    "pressure_msl": lambda at: at.pressure,
    "surface_pressure": lambda at: at.surface_pressure,
    "cloud_cover": lambda at: 100 * at.clouds,
    "cloud_cover_low": lambda at: at.cloud_layer("low"),
    "cloud_cover_mid": lambda at: at.cloud_layer("mid"),
    "cloud_cover_high": lambda at: at.cloud_layer("high"),
    "visibility": lambda at: at.visibility,
    "convective_cloud_base": _cloud_base,
    "convective_cloud_top": lambda at: _cloud_base(at) + 5 * at.cape,
    "evapotranspiration": lambda at: 0.7 * at.reference_evapotranspiration,
    "et0_fao_evapotranspiration": lambda at: at.reference_evapotranspiration,
    "vapour_pressure_deficit": lambda at: at.vapour_pressure_deficit,
    "wind_gusts_10m": lambda at: at.gusts,
    "is_day": lambda at: (at.sun_now > 0).astype(np.float64),
    "sunshine_duration": _sunshine,
    "cape": lambda at: at.cape,
    "lightning_potential": lambda at: np.maximum(at.cape - 600, 0) / 20,
    "updraft": lambda at: 0.2 * np.sqrt(2 * at.cape),
    **{f"wind_speed_{height}m": _wind_speed(height) for height in _HEIGHTS},
    **{f"wind_direction_{height}m": _wind_direction(height) for height in _HEIGHTS},
    **{f"temperature_{height}m": _temperature(height) for height in _HEIGHTS[1:]},
    **{f"soil_temperature_{depth}cm": _soil_temperature(depth) for depth in _SOIL_DEPTHS},
    **{f"soil_moisture_{top}_to_{bottom}cm": _soil_moisture(top, bottom) for top, bottom in _SOIL_LAYERS},
    **{name: _mean(radiation) for name, radiation in _RADIATION.items()},
    **{f"{name}_instant": _instant(radiation) for name, radiation in _RADIATION.items()},
}

DAILY: Mapping[str, DailyVariable] = {
    "weather_code": lambda on: on.hours("weather_code").max(axis=1),
    "temperature_2m_max": lambda on: on.hours("temperature_2m").max(axis=1),
    "temperature_2m_min": lambda on: on.hours("temperature_2m").min(axis=1),
    "apparent_temperature_max": lambda on: on.hours("apparent_temperature").max(axis=1),
    "apparent_temperature_min": lambda on: on.hours("apparent_temperature").min(axis=1),
    "sunrise": lambda on: on.sunrise,
    "sunset": lambda on: on.sunset,
    "daylight_duration": lambda on: _SECONDS_PER_HOUR * (on.sunset - on.sunrise),
    "sunshine_duration": lambda on: on.hours("sunshine_duration").sum(axis=1),
    "precipitation_sum": lambda on: on.hours("precipitation").sum(axis=1),
    "rain_sum": lambda on: on.hours("rain").sum(axis=1),
    "showers_sum": lambda on: on.hours("showers").sum(axis=1),
    "snowfall_sum": lambda on: on.hours("snowfall").sum(axis=1),
    "precipitation_hours": lambda on: (on.hours("precipitation") >= WET_HOUR).sum(axis=1).astype(np.float64),
    "precipitation_probability_max": lambda on: 80 * on.hours("cloud_cover").max(axis=1) / 100,
    "wind_speed_10m_max": lambda on: on.hours("wind_speed_10m").max(axis=1),
    "wind_gusts_10m_max": lambda on: on.hours("wind_gusts_10m").max(axis=1),
    "wind_direction_10m_dominant": lambda on: on.wind_direction,
    "shortwave_radiation_sum": lambda on: on.hours("shortwave_radiation").sum(axis=1) * _SECONDS_PER_HOUR / 1e6,
    "et0_fao_evapotranspiration": lambda on: on.hours("et0_fao_evapotranspiration").sum(axis=1),
}

MOMENTS = frozenset({"sunrise", "sunset"})
"""The daily variables whose values are times."""
