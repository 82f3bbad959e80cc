"""Plausible weather as a pure function of coordinate, time and variable: the same question has the same answer.

The sun's position is computed; the rest follows from it, the latitude and the season, and from smooth noise. The values
look and move like weather, and none of them is a forecast.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

HOURS_PER_DAY = 24

_GRID_DEGREES = 0.125  # ICON global, https://open-meteo.com/en/docs/dwd-api
SOLAR_CONSTANT = 1361.0  # W/m²
_DAYS_PER_YEAR = 365.2425
_EQUINOX = 79.3  # days from 1 January to the March equinox, and so from the epoch to the first one
_OBLIQUITY = math.radians(23.44)
LAPSE = 0.0065  # K/m, standard atmosphere
WET_HOUR = 0.1  # mm

_MOST = 0.5
_MODERATE_AND_HEAVY = (0.5, 1.5)  # mm
_PARTLY_CLOUDY_TO_OVERCAST = (0.2, 0.5, 0.85)
_FOG_HUMIDITY = 97  # %
_THUNDER_CAPE = 400  # J/kg


@dataclass(frozen=True)
class Place:
    """A grid cell: its centre in degrees, and its elevation in m."""

    latitude: float
    longitude: float

    @classmethod
    def nearest(cls, latitude: float, longitude: float) -> Place:
        """The cell that a coordinate lies in."""
        return cls(*(round(degrees / _GRID_DEGREES) * _GRID_DEGREES + 0.0 for degrees in (latitude, longitude)))

    @cached_property
    def elevation(self) -> float:
        """Metres above sea level, from 0 to 1,000."""
        return float(np.rint(1000 * max(0.0, self.noise("elevation", np.zeros(1), 1)[0])))

    def noise(self, name: str, hours: Array, period: float) -> Array:
        """Smooth values in [-1, 1] over `hours`, new ones every `period` hours, of their own for each `name`."""
        seed = hashlib.blake2b(f"{self.latitude},{self.longitude},{name},{period}".encode(), digest_size=8).digest()
        position = hours / period
        left = np.floor(position)
        part = position - left
        at_left, at_right = (_scattered(left + step, int.from_bytes(seed, "big")) for step in (0, 1))
        return at_left + (at_right - at_left) * part * part * (3 - 2 * part)


def _scattered(points: Array, seed: int) -> Array:
    """A pseudo-random value in [-1, 1) for each whole number of `points`: the finaliser of SplitMix64.

    See https://prng.di.unimi.it/splitmix64.c
    """
    bits = points.astype(np.int64).view(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    scattered: Array = (bits ^ (bits >> np.uint64(31))).astype(np.float64) / 2.0**63 - 1
    return scattered


def declination(hours: Array) -> Array:
    """Of the sun, in radians."""
    return _OBLIQUITY * np.sin(2 * np.pi * (hours / HOURS_PER_DAY - _EQUINOX) / _DAYS_PER_YEAR)


def _vapour_pressure(temperature: Array) -> Array:
    """Saturation vapour pressure over water in hPa: the Magnus formula of the WMO's guide no. 8."""
    return 6.112 * np.exp(17.62 * temperature / (243.12 + temperature))


def bearing(east: Array, north: Array, turned: float = 0.0) -> Array:
    """Degrees from 0 to 360 from which a wind comes that blows so much to the east and to the north."""
    degrees: Array = np.degrees(np.arctan2(-east, -north)) + turned
    return np.mod(degrees, 360)


class Hourly:
    """The weather of `place` at `hours`, which count from the epoch in UTC. Every array has their shape."""

    def __init__(self, place: Place, hours: Array) -> None:
        self.place = place
        self.hours = hours

    def noise(self, name: str, period: float) -> Array:
        """The place's noise at these hours."""
        return self.place.noise(name, self.hours, period)

    # The sun

    def _cosine_of_zenith(self, shift: float) -> Array:
        """Of the sun `shift` hours later, 0 where it is below the horizon."""
        hours, latitude = self.hours + shift, math.radians(self.place.latitude)
        hour_angle = math.radians(15) * (hours % HOURS_PER_DAY + self.place.longitude / 15 - 12)
        tilt = declination(hours)
        cosine = math.sin(latitude) * np.sin(tilt) + math.cos(latitude) * np.cos(tilt) * np.cos(hour_angle)
        return np.maximum(cosine, 0.0)

    @cached_property
    def sun_now(self) -> Array:
        """Cosine of the sun's zenith angle at the hour."""
        return self._cosine_of_zenith(0.0)

    @cached_property
    def sun(self) -> Array:
        """Cosine of the sun's zenith angle, mean of the hour before."""
        moments = [self._cosine_of_zenith(shift) for shift in (-0.875, -0.625, -0.375, -0.125)]
        return sum(moments[1:], start=moments[0]) / len(moments)

    @cached_property
    def clearness(self) -> Array:
        """The share of the sun's radiation that reaches the ground."""
        return 0.76 - 0.55 * self.clouds**2

    @cached_property
    def diffuse_share(self) -> Array:
        """The share of the radiation that reaches the ground from all the sky."""
        return 0.2 + 0.75 * self.clouds

    def shortwave(self, sun: Array) -> Array:
        """Global horizontal irradiance in W/m²."""
        return SOLAR_CONSTANT * sun * self.clearness

    def direct_normal(self, sun: Array) -> Array:
        """Direct irradiance in W/m² on a plane that faces the sun."""
        return self.shortwave(sun) * (1 - self.diffuse_share) / np.maximum(sun, 0.05)

    # Air and clouds

    @cached_property
    def clouds(self) -> Array:
        """The share of the sky that clouds cover."""
        return np.clip(0.5 + 0.7 * self.noise("clouds", 60) + 0.35 * self.noise("clouds", 11), 0, 1)

    def cloud_layer(self, name: str) -> Array:
        """The cover by one layer of the clouds in %."""
        return 100 * self.clouds * np.clip(0.6 + 0.6 * self.noise(name, 17), 0, 1)

    @cached_property
    def slow_temperature(self) -> Array:
        """Air temperature in °C without its daily cycle: by latitude, elevation and season, about a month late."""
        latitude = self.place.latitude
        season = np.sin(2 * np.pi * (self.hours / HOURS_PER_DAY - _EQUINOX - 28) / _DAYS_PER_YEAR)
        by_place = 27 - 0.0055 * latitude**2 - LAPSE * self.place.elevation
        return by_place + 0.2 * latitude * season + 4 * self.noise("temperature", 120)

    @cached_property
    def daily_cycle(self) -> Array:
        """From -1 to 1, highest at 15 o'clock by the sun."""
        return np.cos(2 * np.pi * (self.hours + self.place.longitude / 15 - 15) / HOURS_PER_DAY)

    @cached_property
    def temperature(self) -> Array:
        """Air temperature at 2 m in °C."""
        swing = 5 * (1 - 0.6 * self.clouds) * math.cos(math.radians(self.place.latitude))
        return self.slow_temperature + swing * self.daily_cycle + self.noise("temperature", 18)

    @cached_property
    def dew_point(self) -> Array:
        """Dew point at 2 m in °C, below the temperature."""
        dryness = np.clip(0.5 + 0.5 * self.noise("dryness", 48) - 0.4 * (self.clouds - 0.5), 0, 1)
        return self.temperature - 0.3 - (9 + 3 * self.daily_cycle) * dryness

    @cached_property
    def humidity(self) -> Array:
        """Relative humidity at 2 m in %."""
        return 100 * _vapour_pressure(self.dew_point) / _vapour_pressure(self.temperature)

    @cached_property
    def vapour_pressure_deficit(self) -> Array:
        """In kPa."""
        return (_vapour_pressure(self.temperature) - _vapour_pressure(self.dew_point)) / 10

    @cached_property
    def wet_bulb(self) -> Array:
        """Wet bulb temperature in °C, after Stull (2011): https://doi.org/10.1175/JAMC-D-11-0143.1 ."""
        temperature, humidity = self.temperature, self.humidity
        return (
            temperature * np.arctan(0.151977 * np.sqrt(humidity + 8.313659))
            + np.arctan(temperature + humidity)
            - np.arctan(humidity - 1.676331)
            + 0.00391838 * humidity**1.5 * np.arctan(0.023101 * humidity)
            - 4.686035
        )

    @cached_property
    def apparent_temperature(self) -> Array:
        """In °C: Steadman (1994) as the Australian Bureau of Meteorology has it."""
        return self.temperature + 0.33 * _vapour_pressure(self.dew_point) - 0.7 * self.wind_speed / 3.6 - 4

    @cached_property
    def pressure(self) -> Array:
        """Air pressure at sea level in hPa."""
        return 1014 + 14 * self.noise("pressure", 110) + 3 * self.noise("pressure", 31) - 8 * (self.clouds - 0.5)

    @cached_property
    def surface_pressure(self) -> Array:
        """Air pressure at the surface in hPa, by the barometric formula."""
        return self.pressure * np.exp(-self.place.elevation / (29.27 * (self.temperature + 273.15)))

    @cached_property
    def visibility(self) -> Array:
        """In m, in steps of 20."""
        haze = np.clip((self.humidity - 70) / 30, 0, 1) ** 2
        return np.rint(24_140 * (1 - 0.95 * haze) / 20) * 20

    # Precipitation

    @cached_property
    def precipitation(self) -> Array:
        """Water in mm that fell in the hour before."""
        cloudiness = np.clip((self.clouds - 0.65) / 0.35, 0, 1)
        amount = 3 * (cloudiness * np.clip(0.5 + 0.7 * self.noise("precipitation", 7), 0, 1)) ** 2
        return np.where(amount < WET_HOUR, 0.0, amount)

    @cached_property
    def snow_share(self) -> Array:
        """The share of the precipitation that is snow."""
        return np.clip((1.5 - self.temperature) / 2, 0, 1)

    @cached_property
    def convective_share(self) -> Array:
        """The share of the rain that falls in showers."""
        return np.clip((self.temperature - 12) / 15, 0, 1)

    @cached_property
    def rain(self) -> Array:
        """Large-scale rain in mm."""
        return self.precipitation * (1 - self.snow_share) * (1 - self.convective_share)

    @cached_property
    def showers(self) -> Array:
        """Convective rain in mm."""
        return self.precipitation * (1 - self.snow_share) * self.convective_share

    @cached_property
    def snowfall(self) -> Array:
        """Fresh snow in cm, 7 for 10 mm of water."""
        return 0.7 * self.precipitation * self.snow_share

    @cached_property
    def freezing_level(self) -> Array:
        """Altitude of 0 °C in m."""
        return self.place.elevation + np.maximum(self.temperature, 0) / LAPSE

    @cached_property
    def cape(self) -> Array:
        """Convective available potential energy in J/kg."""
        return 55 * np.clip(self.dew_point - 8, 0, None) * np.clip(self.noise("cape", 13), 0, 1)

    @cached_property
    def weather_code(self) -> Array:
        """A WMO code of those that https://open-meteo.com/en/docs#weather_variable_documentation lists."""
        dry, snow, showers = self.precipitation == 0, self.snow_share > _MOST, self.convective_share > _MOST
        strength = np.digitize(self.precipitation, _MODERATE_AND_HEAVY)
        sky = np.digitize(self.clouds, _PARTLY_CLOUDY_TO_OVERCAST)
        codes: Array = np.select(
            [dry & (self.humidity > _FOG_HUMIDITY), dry, snow, showers & (self.cape > _THUNDER_CAPE), showers],
            [45, sky, np.take([71, 73, 75], strength), 95, np.take([80, 80, 81], strength)],
            default=np.take([51, 61, 63], strength),
        ).astype(np.float64)
        return codes

    # Wind

    @cached_property
    def wind(self) -> tuple[Array, Array]:
        """The wind's eastward and northward parts at 10 m in km/h."""
        east, north = (14 * self.noise(name, 37) + 6 * self.noise(name, 9) for name in ("east", "north"))
        return east, north

    @cached_property
    def wind_speed(self) -> Array:
        """At 10 m in km/h."""
        return np.hypot(*self.wind)

    def wind_speed_at(self, height: float) -> Array:
        """In km/h, by the power law of neutral air over land."""
        return self.wind_speed * math.pow(height / 10, 0.14)

    def wind_direction_at(self, height: float) -> Array:
        """Degrees from which the wind comes, turned to the right with height (by 3° each 20 m)."""
        east, north = self.wind
        return bearing(east, north, turned=0.15 * (height - 10))

    @cached_property
    def gusts(self) -> Array:
        """At 10 m in km/h."""
        return self.wind_speed * (1.5 + 0.2 * self.noise("gusts", 5)) + 3

    # Ground

    def soil_temperature_at(self, depth: float) -> Array:
        """In °C at a depth in cm: the daily cycle fades below 12 cm."""
        swing = 6 * (1 - 0.5 * self.clouds) * math.exp(-depth / 12)
        return self.slow_temperature + swing * self.daily_cycle * math.cos(math.radians(self.place.latitude))

    def soil_moisture_at(self, depth: float) -> Array:
        """Water content in m³/m³ at a depth in cm: it changes more slowly the deeper."""
        return 0.28 + 0.1 * self.noise("moisture", 100 + 20 * depth)

    @cached_property
    def reference_evapotranspiration(self) -> Array:
        """Of watered grass in mm, in proportion to the radiation and the dryness of the air."""
        return 0.0004 * self.shortwave(self.sun) * (0.6 + 0.4 * np.minimum(self.vapour_pressure_deficit, 2))
