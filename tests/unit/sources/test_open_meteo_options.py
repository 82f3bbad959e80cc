from __future__ import annotations

from typing import Any

import pytest

from penstock.core.errors import Fatal
from penstock.sources.open_meteo_options import Location, Options

KNOWN = ("temperature_2m", "temperature_80m", "precipitation", "weather_code")
DEFAULTS = {"latitudes": [52.52, 48.85], "longitudes": [13.41, 2.35], "variables": ["temperature_2m"]}


def parse(**given: Any) -> Options:
    return Options.parse(given, DEFAULTS, KNOWN)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"latitudes": None, "longitudes": None, "variables": None},
        {"latitudes": "", "longitudes": [], "variables": " "},
    ],
)
def test_what_is_left_out_comes_from_the_defaults(given: dict[str, Any]) -> None:
    assert parse(**given).to_json() == DEFAULTS


@pytest.mark.parametrize(
    ("latitudes", "longitudes"),
    [
        ([-33.87, 0], [151.21, 0]),
        ("-33.87, 0", "151.21,0,"),
        ("[-33.87, 0]", '["151.21", 0]'),
        (("-33.87", "-0.0"), (151.21, 0.0)),
    ],
)
def test_coordinates_come_as_lists_as_comma_separated_text_or_as_json(latitudes: Any, longitudes: Any) -> None:
    assert parse(latitudes=latitudes, longitudes=longitudes).locations == (Location(-33.87, 151.21), Location(0.0, 0.0))


def test_a_single_number_is_one_location() -> None:
    assert parse(latitudes=52.52, longitudes="13.41").locations == (Location(52.52, 13.41),)


def test_locations_and_variables_that_repeat_are_taken_once_in_their_first_order() -> None:
    options = parse(latitudes="2,1,2", longitudes="4,3,4", variables="weather_code,precipitation,weather_code")

    assert options.locations == (Location(2, 4), Location(1, 3))
    assert options.variables == ("weather_code", "precipitation")


def test_what_to_json_gives_is_read_again_unchanged() -> None:
    options = parse(latitudes="1.5,2", longitudes="3,4", variables="precipitation")

    assert parse(**options.to_json()) == options


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"latitudes": "1,2", "longitudes": "3"}, "2 latitudes and 1 longitudes: give one longitude for each"),
        ({"latitudes": "1,2"}, "2 latitudes and 0 longitudes"),
        ({"longitudes": "1"}, "0 latitudes and 1 longitudes"),
        (
            {"latitudes": "1,north", "longitudes": "3,4"},
            "number 2 of latitudes is 'north': give degrees from -90 to 90",
        ),
        ({"latitudes": "90.1", "longitudes": "4"}, "number 1 of latitudes is '90.1': give degrees from -90 to 90"),
        ({"latitudes": "4", "longitudes": "-181"}, "number 1 of longitudes is '-181': give degrees from -180 to 180"),
        ({"latitudes": "nan", "longitudes": "4"}, "number 1 of latitudes is 'nan'"),
        ({"latitudes": [True], "longitudes": [4]}, "number 1 of latitudes is True"),
        ({"latitudes": [None], "longitudes": [4]}, "number 1 of latitudes is None"),
        ({"latitudes": {"a": 1}, "longitudes": [4]}, "latitudes is {'a': 1}: give a list"),
        ({"latitudes": "[1,", "longitudes": "[4]"}, "begins like a JSON list and is none"),
        ({"hourly": "temperature_2m"}, "unknown options: hourly; known are latitudes, longitudes, variables"),
    ],
)
def test_bad_options_are_refused_with_what_to_give_instead(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(Fatal, match=complaint):
        parse(**given)


def test_unknown_variables_are_refused_with_close_matches_first_and_then_all_names() -> None:
    with pytest.raises(Fatal) as caught:
        parse(variables="temprature_2m,precipitation,xyz")

    message = str(caught.value)
    assert message.startswith(
        "unknown variables: temprature_2m (did you mean temperature_2m or temperature_80m?), xyz."
    )
    assert message.endswith("The 4 known ones are temperature_2m, temperature_80m, precipitation, weather_code")


def test_minus_zero_is_zero_so_that_a_location_has_one_key() -> None:
    (place,) = parse(latitudes="-0.0", longitudes="-0").locations

    assert (str(place.latitude), str(place.longitude)) == ("0.0", "0.0")
