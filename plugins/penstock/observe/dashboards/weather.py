"""Weather of the cities that are fetched unless somebody chooses others, straight from Cassandra."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import CustomVariable, Dashboard, Row
from grafana_foundation_sdk.models.dashboard import VariableOption

from penstock.observe.dashboards.panels import dashboard, lines, number
from penstock.observe.dashboards.places import Places
from penstock.observe.dashboards.queries import Query, cql, months
from penstock.pipelines.weather_defaults import CITIES

_HOUR = "time >= $__timeFrom AND time <= $__timeTo"
_DAY = "time >= '${__from:date:YYYY-MM-DD}' AND time <= '${__to:date:YYYY-MM-DD}'"

_CITY = "${city:text}"
_PLACE = "${city:raw}"

_SUNSHINE = "Global horizontal irradiation, mean of the hour before."


def weather(places: Places) -> Dashboard:
    """The dashboard of the tables of hourly and daily weather."""
    made = dashboard(
        "penstock-weather",
        "Weather",
        "Weather as it landed in Cassandra from Open-Meteo, UTC; each query reads partitions of one place",
        since="now-7d",
        refresh="5m",
    )
    hourly = _Table(f"{places.keyspace}.{places.names.hourly_table}", _HOUR)
    daily = _Table(f"{places.keyspace}.{places.names.daily_table}", _DAY)
    made.with_variable(_city_variable())
    _add_now(made, hourly)
    _add_hourly(made, hourly)
    _add_daily(made, daily)
    _add_cities(made, hourly)
    return made


class _Table:
    """One table, and how its time is bounded by the dashboard's time range."""

    def __init__(self, name: str, within: str) -> None:
        self._name = name
        self._within = within

    def of(self, column: str, legend: str, *, city: str = _CITY, place: str = _PLACE) -> Query:
        """A column of one place, under its legend; the city's name makes the rows one series."""
        return cql(
            f"SELECT (text)'{city}' AS city, {column}, time FROM {self._name} "  # noqa: S608 - CQL cannot bind names
            f"WHERE {place} AND month IN ({months()}) AND {self._within}",
            legend,
        )


def _place(latitude: float, longitude: float) -> str:
    return f"latitude = {latitude} AND longitude = {longitude}"


def _city_variable() -> CustomVariable:
    """The value is CQL's condition, because a place has two coordinates."""
    listed = {name: _place(*where) for name, where in CITIES.items()}
    first, condition = next(iter(listed.items()))
    variable = (
        CustomVariable("city").label("City").values(", ".join(f"{key} : {value}" for key, value in listed.items()))
    )
    return variable.current(VariableOption(selected=True, text=first, value=condition))


def _add_now(made: Dashboard, hourly: _Table) -> None:
    newest = "The newest hour of the time range. Hours land after they are over."
    for title, unit, column in (
        ("Temperature", "celsius", "temperature_2m"),
        ("Humidity", "percent", "relative_humidity_2m"),
        ("Wind", "velocitykmh", "wind_speed_10m"),
        ("Pressure", "pressurehpa", "pressure_msl"),
    ):
        made.with_panel(number(title, unit, hourly.of(column, title), description=newest))
    made.with_panel(
        number(
            "Newest hour",
            "dateTimeFromNow",
            hourly.of("temperature_2m", "Temperature"),
            description=newest,
            fields="/^time$/",
            span=8,
        )
    )


def _add_hourly(made: Dashboard, hourly: _Table) -> None:
    made.with_row(Row("Hourly, $city"))
    made.with_panel(
        lines(
            "Temperature over time",
            "celsius",
            hourly.of("temperature_2m", "temperature"),
            hourly.of("dew_point_2m", "dew point"),
            description="2 m above ground. The dew point is where the air's water begins to condense.",
        )
    )
    made.with_panel(
        lines(
            "Precipitation",
            "lengthmm",
            hourly.of("precipitation", "precipitation"),
            description="Rain, showers and snow of the hour before.",
        )
    )
    made.with_panel(
        lines("Wind speed", "velocitykmh", hourly.of("wind_speed_10m", "wind"), description="10 m above ground.")
    )
    made.with_panel(
        lines(
            "Wind direction",
            "degree",
            hourly.of("wind_direction_10m", "direction"),
            description="Where the wind comes from: 0° is north, 90° is east.",
        )
    )
    made.with_panel(
        lines(
            "Clouds and humidity",
            "percent",
            hourly.of("cloud_cover", "clouds"),
            hourly.of("relative_humidity_2m", "relative humidity"),
            description="The share of the sky that clouds cover, and relative humidity 2 m above ground.",
        )
    )
    made.with_panel(lines("Radiation", "Wm2", hourly.of("shortwave_radiation", "radiation"), description=_SUNSHINE))
    made.with_panel(
        lines(
            "Air pressure",
            "pressurehpa",
            hourly.of("pressure_msl", "pressure"),
            description="Reduced to sea level.",
            span=24,
        )
    )


def _add_daily(made: Dashboard, daily: _Table) -> None:
    made.with_row(Row("Daily, $city"))
    made.with_panel(
        lines(
            "Highest and lowest temperature",
            "celsius",
            daily.of("temperature_2m_max", "highest"),
            daily.of("temperature_2m_min", "lowest"),
            span=8,
        )
    )
    made.with_panel(
        lines(
            "Precipitation of the day",
            "lengthmm",
            daily.of("precipitation_sum", "precipitation"),
            description="Rain, showers and snow together.",
            span=8,
        )
    )
    made.with_panel(
        lines(
            "Strongest wind of the day",
            "velocitykmh",
            daily.of("wind_gusts_10m_max", "gusts"),
            daily.of("wind_speed_10m_max", "wind"),
            span=8,
        )
    )


def _add_cities(made: Dashboard, hourly: _Table) -> None:
    def of_all(column: str) -> list[Query]:
        return [hourly.of(column, city, city=city, place=_place(*where)) for city, where in CITIES.items()]

    made.with_row(Row("All cities"))
    made.with_panel(lines("Temperature of all cities", "celsius", *of_all("temperature_2m")))
    made.with_panel(
        lines(
            "Precipitation of all cities",
            "lengthmm",
            *of_all("precipitation"),
            description="Rain, showers and snow of the hour before.",
        )
    )
