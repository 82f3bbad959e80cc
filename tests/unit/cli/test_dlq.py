"""`penstock dlq`: what it asks Airflow for, and what it says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from penstock import cli, dlq
from penstock.core.errors import Fatal, Retry
from penstock.kafka.dead_letters import DeadLetter
from penstock.ledger.dead_letters import LetterRow, LetterState

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
REASON = "relative_humidity_2m is 101, above its maximum of 100"
ROW = LetterRow(
    id=7,
    data_set="weather_hourly",
    topic="hourlymetrics.dlq",
    partition=1,
    offset=5,
    batch_id="weather_hourly:2026-11-01T10:00:00Z/2026-11-01T11:00:00Z",
    as_of=AT,
    source_topic=None,
    source_partition=None,
    source_offset=None,
    reason=REASON,
    kind="relative_humidity_2m is …, above its maximum of …",
    written=AT,
    state=LetterState.OPEN,
)
VALUE = {"latitude": 1.5, "longitude": 2.5, "time": 3, "relative_humidity_2m": 101}


class Letters:
    """In the place of the ledger."""

    def __init__(self) -> None:
        self.found = {7: ROW, 8: replace(ROW, id=8)}
        self.asked: list[Mapping[str, Any]] = []

    def rows(self, **wanted: Any) -> list[LetterRow]:
        self.asked.append(wanted)
        return list(self.found.values())[: wanted["limit"]]

    def by_reason(self, **_: Any) -> Mapping[tuple[str, str], int]:
        return {(ROW.data_set, ROW.kind): len(self.found)}

    def letters(self, ids: list[int]) -> list[LetterRow]:
        return [self.found[each] for each in ids]


class FakeAirflow:
    """A run that has ended."""

    def __init__(self) -> None:
        self.conf: Mapping[str, Any] = {}
        self.state = "success"
        self.paused = False
        self.outcome: dict[str, Any] | None = {
            **dict.fromkeys(("dropped", "waiting", "late", "refused"), 0),
            "replayed": 1,
            "refusals": [],
            "verdicts": {"b": "whole"},
        }

    def is_paused(self, dag_id: str) -> bool:
        assert dag_id == "maintenance"
        return self.paused

    def trigger(self, dag_id: str, conf: Mapping[str, Any]) -> str:
        assert dag_id == "maintenance"
        self.conf = conf
        return "run"

    def tasks(self, *_: str) -> list[Mapping[str, Any]]:
        names = ("replay_dead_letters", "drop_dead_letters")
        return [{"task_id": name, "state": self.state, "try_number": 1} for name in names]

    def xcom(self, *_: str) -> Any:
        return self.outcome

    def task_log(self, *_: Any) -> str:
        return "a line\nAirflowFailException: the sink refuses it"


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> Letters:
    found = Letters()
    letter = DeadLetter(REASON, json.dumps(VALUE).encode(), ROW.batch_id, AT)
    monkeypatch.setattr(dlq, "_taken_up", lambda: found)
    monkeypatch.setattr(dlq, "addresses", lambda: {"KAFKA_BOOTSTRAP_SERVERS": "x:1", "SCHEMA_REGISTRY_URL": "http://x"})
    monkeypatch.setattr(dlq, "_read", lambda _: letter)
    monkeypatch.setattr(dlq, "person", lambda: "ada")
    return found


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> FakeAirflow:
    found = FakeAirflow()
    monkeypatch.setattr(dlq.Context, "load", lambda: SimpleNamespace(airflow_url="http://airflow"))
    monkeypatch.setattr(dlq.demo, "airflow", lambda _: found)
    return found


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["dlq", *arguments])


@pytest.mark.usefixtures("letters")
def test_letters_are_listed_with_their_counts_by_reason() -> None:
    said = run("list", "-n", "1").output
    assert f"7  2026-11-01 12:00:00  open      {ROW.batch_id}: {REASON}" in said
    assert "2 dead letters, the newest 1 of them shown" in said
    assert f"2  weather_hourly: {ROW.kind}" in said


def test_open_letters_are_listed_unless_told_otherwise(letters: Letters) -> None:
    for arguments in ([], ["--state", "dropped"], ["--any-state"]):
        assert json.loads(run("list", "--json", *arguments).output)[0]["id"] == 7
    assert [each["state"] for each in letters.asked] == [LetterState.OPEN, LetterState.DROPPED, None]


@pytest.mark.usefixtures("letters")
def test_a_letter_is_shown_with_its_value() -> None:
    said = run("show", "7").output
    assert '"relative_humidity_2m": 101' in said
    assert "never on its topic" in said
    assert f"{ROW.batch_id}, as of 2026-11-01 12:00:00 UTC" in said
    assert json.loads(run("show", "7", "--json").output)["value"] == VALUE


@pytest.mark.usefixtures("letters")
def test_a_value_that_cannot_be_read_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    letter = DeadLetter("the value is no JSON", b"{\xff", None, None)
    monkeypatch.setattr(dlq, "_read", lambda _: letter)
    monkeypatch.setattr("penstock.airflow.candidates.decoded", lambda *_: _raise(Fatal("no record")))
    assert "{\\xff" in run("show", "7").output


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.usefixtures("letters")
def test_fields_are_set_on_each_letter_and_the_outcome_is_told(airflow: FakeAirflow) -> None:
    done = run("replay", "7", "8", "--set", "relative_humidity_2m=99.5", "--set", "time=2026-11-01T00:00:00Z")
    assert done.exit_code == 0, done.output
    mended = {**VALUE, "relative_humidity_2m": 99.5, "time": 1793491200000}
    assert airflow.conf == {"replay": [7, 8], "by": "ada", "mended": {"7": mended, "8": mended}}
    assert "replayed: 1" in done.output
    assert "b: whole" in done.output


@pytest.mark.usefixtures("letters")
def test_a_file_has_the_whole_record_or_one_for_each_letter(airflow: FakeAirflow, tmp_path: Path) -> None:
    file = tmp_path / "mended.json"
    file.write_text('{"time": 4}')
    run("replay", "7", "--file", str(file))
    assert airflow.conf["mended"] == {"7": {"time": 4}}
    file.write_text('{"8": {"time": 4}}')
    run("replay", "7", "8", "--file", str(file))
    assert airflow.conf["mended"] == {"8": {"time": 4}}
    file.write_text('{"9": {}}')
    assert 'must be {"ID": RECORD, ...} of the letters that are replayed, and not 9' in refusal(
        "replay", "7", "8", "--file", str(file)
    )


@pytest.mark.usefixtures("letters")
def test_all_letters_of_a_reason_are_replayed_as_they_were(airflow: FakeAirflow) -> None:
    run("replay", "--all", "--reason", "humidity")
    assert airflow.conf == {"replay": [7, 8], "by": "ada"}


@pytest.mark.usefixtures("letters")
def test_letters_are_dropped_with_who_and_why(airflow: FakeAirflow) -> None:
    assert run("drop", "7", "--why", "a broken sensor").exit_code == 0
    assert airflow.conf == {"drop": [7], "why": "a broken sensor", "by": "ada"}


@pytest.mark.usefixtures("letters")
def test_refusals_are_told_and_the_exit_code_is_1(airflow: FakeAirflow) -> None:
    airflow.state = "failed"
    airflow.outcome |= {"replayed": 0, "refused": 1, "refusals": ["letter 7: mend it"], "verdicts": {}}  # type: ignore[operator]
    done = run("replay", "7")
    assert (done.exit_code, "refused: letter 7: mend it" in done.output) == (1, True)


@pytest.mark.usefixtures("letters")
def test_a_dag_that_is_paused_is_said_at_once_and_nothing_is_asked(airflow: FakeAirflow) -> None:
    airflow.paused = True
    assert "the DAG maintenance is paused" in refusal("replay", "7")
    assert airflow.conf == {}


@pytest.mark.usefixtures("letters")
def test_a_run_that_failed_is_told_with_its_last_error(airflow: FakeAirflow) -> None:
    airflow.state, airflow.outcome = "failed", None
    assert "replay_dead_letters ended as failed: AirflowFailException: the sink refuses it" in refusal("replay", "7")


@pytest.mark.usefixtures("letters", "airflow")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["replay"], "name letters by their ids"),
        (["replay", "--all"], "--all goes with --reason or --data-set"),
        (["replay", "7", "--all", "--reason", "x"], "without ids"),
        (["replay", "7", "--set", "time"], "not of the form FIELD=VALUE"),
        (["replay", "7", "--set", "time=soon"], "'soon' is no time"),
        (["replay", "7", "--file", "/nowhere.json"], "cannot be read as JSON"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence(arguments: list[str], said: str) -> None:
    assert said in refusal(*arguments)


def refusal(*arguments: str) -> str:
    done = run(*arguments)
    assert isinstance(done.exception, Fatal), done.output
    return str(done.exception)


def test_without_kafka_the_list_is_the_ledger_s_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def away(*_: Any, **__: Any) -> int:
        raise Retry("Kafka is away")

    monkeypatch.setattr(dlq.DeadLetters, "take_up", away)
    environment = {
        "LEDGER_URL": "postgresql://u:p@h/d",
        "KAFKA_BOOTSTRAP_SERVERS": "x:1",
        "SCHEMA_REGISTRY_URL": "http://x",
    }
    monkeypatch.setattr(dlq, "addresses", lambda: environment)
    assert repr(dlq._taken_up()) == "DeadLetters(h:5432/d)"
    assert "newer letters may be missing: Kafka is away" in capsys.readouterr().err
