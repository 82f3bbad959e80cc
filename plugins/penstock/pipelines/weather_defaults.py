"""What the weather pipelines fetch unless an Airflow Variable or a run says otherwise."""

from __future__ import annotations

from datetime import date, timedelta

CITIES = {
    "Berlin": (52.52, 13.41),
    "London": (51.51, -0.13),
    "New York": (40.71, -74.01),
    "São Paulo": (-23.55, -46.63),
    "Sydney": (-33.87, 151.21),
    "Tokyo": (35.68, 139.69),
}
"""{name: (latitude, longitude)} in degrees."""

LATITUDES = [latitude for latitude, _ in CITIES.values()]
LONGITUDES = [longitude for _, longitude in CITIES.values()]

# Ten each: a request for two weeks of one location then counts as one call.
HOURLY = [
    "temperature_2m",
    "relative_humidity_2m",
    "dew_point_2m",
    "precipitation",
    "weather_code",
    "pressure_msl",
    "cloud_cover",
    "wind_speed_10m",
    "wind_direction_10m",
    "shortwave_radiation",
]
DAILY = [
    "weather_code",
    "temperature_2m_max",
    "temperature_2m_min",
    "sunrise",
    "sunset",
    "precipitation_sum",
    "wind_speed_10m_max",
    "wind_gusts_10m_max",
    "wind_direction_10m_dominant",
    "shortwave_radiation_sum",
]

HISTORIC_DAYS = 30


def historic_dates(today: date) -> tuple[date, date]:
    """The start_date and end_date of a historic run that names none: the last whole days before `today`."""
    return today - timedelta(days=HISTORIC_DAYS), today - timedelta(days=1)
