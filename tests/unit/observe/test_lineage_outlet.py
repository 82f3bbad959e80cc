from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
import responses

from penstock.core.errors import Fatal
from penstock.core.settings import Lineage
from penstock.observe import lineage_outlet
from penstock.observe.lineage_graph import read_events
from penstock.observe.lineage_outlet import FILES, NEWEST, Outlet

URL = "http://lineage.test"
POSTED = f"{URL}/api/v1/lineage"


def event(number: int, size: int = 0) -> str:
    return json.dumps({"eventType": "START", "run": {"runId": str(number)}, "job": {"name": "x" * size}})


def numbers(folder: Path) -> list[int]:
    return [int(each["run"]["runId"]) for each in read_events(folder)]


def test_events_are_lines_in_their_order(tmp_path: Path) -> None:
    outlet = Outlet(Lineage(tmp_path / "lineage", 1 << 20))
    for number in range(5):
        outlet.send(event(number))
    assert numbers(tmp_path / "lineage") == [0, 1, 2, 3, 4]


def test_the_files_stay_within_their_bytes_and_keep_the_newest_events(tmp_path: Path) -> None:
    outlet = Outlet(Lineage(tmp_path, 40_000))
    for number in range(200):
        outlet.send(event(number, size=900))
        assert sum(each.stat().st_size for each in tmp_path.glob("events*")) <= 40_000 + FILES * 1_000
    found = numbers(tmp_path)
    assert found == list(range(found[0], 200))
    assert len(found) >= 25
    assert {each.name for each in tmp_path.glob("events*")} <= {NEWEST, *(f"{NEWEST}.{n}" for n in range(1, FILES))}


def test_events_of_several_programs_do_not_mix_and_none_is_lost(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from penstock.core.settings import Lineage
from penstock.observe.lineage_outlet import Outlet
from tests.unit.observe.test_lineage_outlet import event
outlet = Outlet(Lineage(Path({str(tmp_path)!r}), 4_000_000))
for number in range(int(sys.argv[1]), int(sys.argv[1]) + 300):
    outlet.send(event(number, size=3_000))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    programs = [
        subprocess.Popen([sys.executable, "-c", code, str(first)], env=environment) for first in (0, 1_000, 2_000)
    ]
    assert [each.wait(60) for each in programs] == [0, 0, 0]
    expected = {first + number for first in (0, 1_000, 2_000) for number in range(300)}
    assert sorted(numbers(tmp_path)) == sorted(expected)


def test_a_line_that_a_crash_has_cut_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / NEWEST).write_text(f"{event(1)}\n{event(2)[:20]}\n[]\n\xff\n{event(3)}\n", encoding="latin-1")
    assert numbers(tmp_path) == [1, 3]


def test_a_folder_that_cannot_be_written_is_said_and_nothing_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    Outlet(Lineage(tmp_path / "file", 1 << 20)).send(event(1))
    (line,) = caplog.messages
    assert line.startswith("an event of lineage could not be written to ")


@responses.activate
def test_a_server_gets_each_event_too_with_its_key(tmp_path: Path) -> None:
    responses.post(POSTED, status=201)
    outlet = Outlet(Lineage(tmp_path, 1 << 20, URL, "the-key"))
    outlet.send(event(1))
    (call,) = responses.calls
    assert call.request.body == event(1).encode()
    assert call.request.headers["Authorization"] == "Bearer the-key"
    assert numbers(tmp_path) == [1]


@responses.activate
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"status": 503}, "answers 503"),
        ({"body": requests.ConnectionError("refused")}, "does not answer (ConnectionError)"),
        ({"body": requests.ReadTimeout()}, "does not answer (ReadTimeout)"),
    ],
)
def test_a_server_that_is_away_is_said_once_and_left_alone_for_a_while_by_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, answer: dict[str, object], said: str
) -> None:
    responses.post(POSTED, **answer)
    settings = Lineage(tmp_path, 1 << 20, URL, "the-key")
    for number in range(3):
        Outlet(settings).send(event(number))  # each another program
    (line,) = caplog.messages
    assert said in line
    assert "the-key" not in line
    assert len(responses.calls) == 1
    assert numbers(tmp_path) == [0, 1, 2], "the files have them all"

    mark = tmp_path / "server-silent"
    long_ago = time.time() - 61
    os.utime(mark, (long_ago, long_ago))
    Outlet(settings).send(event(3))
    assert len(responses.calls) == 2


def test_a_process_without_lineage_sends_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lineage_outlet, "outlet", lineage_outlet.outlet.__wrapped__)
    for value in ("", "off"):
        monkeypatch.setenv("LINEAGE_FOLDER", value)
        assert lineage_outlet.outlet() is None
        lineage_outlet.send(event(1))
    monkeypatch.setenv("LINEAGE_FOLDER", str(tmp_path))
    lineage_outlet.send(event(2))
    assert numbers(tmp_path) == [2]


def test_a_setting_that_makes_no_sense_costs_the_lineage_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LINEAGE_FOLDER", "/x")
    monkeypatch.setenv("LINEAGE_BYTES", "5")
    with pytest.raises(Fatal, match="LINEAGE_BYTES is 5"):
        Lineage.from_env()
    assert lineage_outlet.outlet.__wrapped__() is None
    assert "there will be no lineage: LINEAGE_BYTES is 5" in caplog.text


def test_others_may_read_the_files_and_not_write_them(tmp_path: Path) -> None:
    Outlet(Lineage(tmp_path, 1 << 20)).send(event(1))
    assert not stat.S_IMODE((tmp_path / NEWEST).stat().st_mode) & 0o022
