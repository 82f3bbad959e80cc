from __future__ import annotations

from pathlib import Path

import pytest

from penstock.core.errors import Fatal
from penstock.services.spool import put

ROWS = '{"data": [\n {"Year": 2013,\n  "Population": 316128839.0}\n]}\n'


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    (tmp_path / "spool" / "population").mkdir(parents=True)
    return tmp_path / "spool"


@pytest.fixture
def response(tmp_path: Path) -> Path:
    path = tmp_path / "response.json"
    path.write_text(ROWS)
    return path


def test_a_file_is_copied_as_it_is(spool: Path, response: Path) -> None:
    target = put(spool, "population", response)
    assert target.parent == spool / "population"
    assert target.read_text() == response.read_text() == ROWS
    assert list(target.parent.iterdir()) == [target]


def test_the_same_file_twice_gets_two_names(spool: Path, response: Path) -> None:
    assert put(spool, "population", response) != put(spool, "population", response)


@pytest.mark.parametrize("name", [".hidden", "rows.tmp", "rows.part", "a b.json.COMPLETED"])
def test_a_name_that_the_agent_would_not_read_gets_one_that_it_does(spool: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(ROWS)
    target = put(spool, "population", tmp_path / name)
    assert target.suffix == ".json"
    assert not target.name.startswith(".")


@pytest.mark.parametrize("content", ["[1]", '{"a":1}\n{"a":2}\n', '\ufeff{"a":1}', " \n5 \n"])
def test_documents_lines_and_scalars_are_json(spool: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "file").write_text(content, encoding="utf-8")
    assert put(spool, "population", tmp_path / "file").read_text(encoding="utf-8") == content


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"<html>busy</html>", "is not JSON: Expecting value at line 1, column 1"),
        (b'{"data": [\n {"a": 1},\n', "is not JSON: .* at line 3, column 1"),
        (b'{"a":1}\nnope', "is not JSON: Expecting value at line 2, column 1"),
        (b" \n", "is empty"),
        (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_json_is_refused(spool: Path, tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(Fatal, match=sentence):
        put(spool, "population", tmp_path / "file")
    assert list((spool / "population").iterdir()) == []


def test_a_file_that_does_not_exist_is_refused(spool: Path, tmp_path: Path) -> None:
    with pytest.raises(Fatal, match=r"nothing\.json cannot be read: No such file"):
        put(spool, "population", tmp_path / "nothing.json")


def test_a_spool_folder_that_does_not_exist_is_not_made(spool: Path, response: Path) -> None:
    with pytest.raises(Fatal, match=r"there is no spool folder .*/populatoin: start the stack"):
        put(spool, "populatoin", response)
