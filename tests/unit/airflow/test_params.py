from __future__ import annotations

from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import ParamsDict
from airflow.sdk.exceptions import AirflowFailException, ParamValidationError

from penstock.airflow import params
from penstock.airflow.operators.plan import MOST_CHUNKS, PlanOperator
from penstock.airflow.params import VARIABLE_DEFAULTS, historic_form, historic_request, scheduled_options
from penstock.core.errors import Fatal
from penstock.pipelines.weather import WEATHER_DAILY, WEATHER_HOURLY
from penstock.pipelines.weather_defaults import DAILY, HOURLY, LATITUDES, LONGITUDES

TODAY = date(2026, 3, 10)


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The Airflow Variables, none of them set."""
    values: dict[str, str] = {}
    monkeypatch.setattr(params.Variable, "get", lambda name, default=None: values.get(name, default))
    return values


def form(**filled_in: Any) -> dict[str, Any]:
    merged = ParamsDict(historic_form())
    merged.update(filled_in)
    return merged.validate()


@pytest.mark.parametrize(
    "filled_in",
    [
        {},
        {"start_date": "2026-01-01", "end_date": "2026-01-31"},
        {"latitudes": "52.52, 48.14", "longitudes": "13.41,11.58"},
        {"latitudes": [52.52], "longitudes": [13]},
        {"latitudes": 52.52, "longitudes": -13},
        {"hourly": ["temperature_2m"], "daily": []},
    ],
)
def test_the_form_takes_what_can_be_fetched(filled_in: dict[str, Any]) -> None:
    assert form(**filled_in).items() >= filled_in.items()


@pytest.mark.parametrize(
    ("filled_in", "said"),
    [
        ({"start_date": "yesterday"}, "is not a 'date'"),
        ({"end_date": "2026-02-30"}, "is not a 'date'"),
        ({"latitudes": "52.52; 48.14"}, "does not match"),
        ({"latitudes": [90.5]}, "greater than the maximum of 90"),
        ({"longitudes": [-181]}, "less than the minimum of -180"),
        ({"hourly": ["temprature"]}, "temperature_2m"),
        ({"daily": ["temperature_2m"]}, "temperature_2m_max"),
        ({"hourly": "temperature_2m"}, "is not of type"),
    ],
)
def test_the_form_refuses_what_cannot_be_fetched(filled_in: dict[str, Any], said: str) -> None:
    with pytest.raises(ParamValidationError, match=said):
        form(**filled_in)


def test_every_variable_is_shown_with_its_unit() -> None:
    shown = historic_form()["hourly"].schema
    assert "temperature_2m" in shown["examples"]
    assert shown["values_display"]["temperature_2m"] == "temperature_2m (°C)"


def test_an_empty_form_asks_for_the_last_days_and_the_defaults(variables: dict[str, str]) -> None:
    interval, options = historic_request(form(), TODAY)
    assert str(interval) == "2026-02-08T00:00:00Z/2026-03-10T00:00:00Z"
    assert options["hourly"] == {"latitudes": LATITUDES, "longitudes": LONGITUDES, "variables": HOURLY}
    assert options["daily"]["variables"] == DAILY


def test_what_a_new_installation_shows_is_the_same_as_nothing(variables: dict[str, str]) -> None:
    without = historic_request(form(), TODAY)
    variables |= VARIABLE_DEFAULTS
    assert historic_request(form(), TODAY) == without


def test_the_form_goes_before_the_variables(variables: dict[str, str]) -> None:
    variables |= {"start_date": "2026-01-01", "end_date": "2026-01-03", "hourly": "rain", "daily": "rain_sum"}
    interval, options = historic_request(form(end_date="2026-01-02", hourly=["precipitation"]), TODAY)
    assert str(interval) == "2026-01-01T00:00:00Z/2026-01-03T00:00:00Z"
    assert options["hourly"]["variables"] == ["precipitation"]
    assert options["daily"]["variables"] == ["rain_sum"]


def test_a_block_without_variables_is_left_out(variables: dict[str, str]) -> None:
    _, options = historic_request(form(daily=[]), TODAY)
    assert options.keys() == {"hourly"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"start_date": "2026-03-02", "end_date": "2026-03-01"}, "end_date 2026-03-01 is before start_date 2026-03-02"),
        ({"start_date": "2026-03-01", "end_date": "2026-03-10"}, "not over yet.*2026-03-09"),
        ({"latitudes": "1,2", "longitudes": "1"}, "2 latitudes and 1 longitudes"),
        ({"latitudes": "1"}, "belong together"),
        ({"hourly": [], "daily": []}, "no variables at all"),
        ({"startdate": "2026-03-01"}, "unknown parameters: startdate; known are start_date"),
    ],
)
def test_what_no_form_can_refuse_the_first_task_refuses(
    variables: dict[str, str], given: dict[str, Any], said: str
) -> None:
    with pytest.raises(Fatal, match=said):
        historic_request(given, TODAY)


def test_an_unknown_name_in_a_variable_is_refused_with_the_valid_ones(variables: dict[str, str]) -> None:
    variables["hourly"] = "temperature_2m, temprature"
    with pytest.raises(Fatal, match=r"temprature \(did you mean .*temperature_2m, relative_humidity_2m"):
        historic_request(form(), TODAY)


def test_options_of_scheduled_runs_are_read_when_the_task_runs() -> None:
    assert scheduled_options(WEATHER_HOURLY)["variables"] == "{{ var.value.get('hourly', '') }}"
    assert scheduled_options(WEATHER_DAILY)["variables"] == "{{ var.value.get('daily', '') }}"


def context(**filled_in: Any) -> Any:
    run_after = datetime(2026, 3, 10, 8, tzinfo=UTC)
    return {"params": form(**filled_in), "dag_run": SimpleNamespace(run_after=run_after)}


def chunks(block: str, context: Any) -> list[dict[str, Any]]:
    return PlanOperator(task_id="plan", block=block).execute(context)


def test_a_long_run_is_split_into_batches(variables: dict[str, str]) -> None:
    days = {"start_date": "2024-01-01", "end_date": "2025-12-31"}
    hourly, daily = (chunks(block, context(**days, hourly=["rain"])) for block in ("hourly", "daily"))
    assert len(hourly) == 2
    assert len(daily) == 1
    assert hourly[0]["interval"].startswith("2024-01-01T00:00:00Z/")
    assert hourly[0]["interval"].split("/")[1] == hourly[1]["interval"].split("/")[0]
    assert hourly[0]["options"] == {"latitudes": LATITUDES, "longitudes": LONGITUDES, "variables": ["rain"]}


def test_a_block_without_variables_has_no_batches(variables: dict[str, str]) -> None:
    assert chunks("daily", context(daily=[])) == []


def test_a_mistake_in_one_block_stops_the_other_too(variables: dict[str, str]) -> None:
    variables["daily"] = "nonsense"
    with pytest.raises(AirflowFailException, match="unknown variables: nonsense"):
        chunks("hourly", context())


def test_a_run_of_too_many_batches_is_refused(variables: dict[str, str]) -> None:
    places = {"latitudes": [each / 100 for each in range(1000)], "longitudes": [0] * 1000}
    with pytest.raises(AirflowFailException, match=f"at most {MOST_CHUNKS}: split it"):
        chunks("hourly", context(start_date="1940-01-01", end_date="2025-12-31", **places))
