from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from penstock.core.errors import Fatal, Retry
from penstock.services import tail
from penstock.services.backlog import Unread


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


@pytest.fixture
def unread(logs: Path, tmp_path: Path) -> Unread:
    return Unread(lambda: logs, lambda: tmp_path / "positions.json")


def log(logs: Path, name: str, content: bytes) -> Path:
    file = logs / f"events-{name}.log"
    file.write_bytes(content)
    return file


def say(unread: Unread, taken: Mapping[Path, int], inode: int | None = None) -> None:
    entries = [
        {"inode": inode or file.stat().st_ino, "pos": position, "file": str(file)} for file, position in taken.items()
    ]
    unread.positions().write_text(json.dumps(entries), encoding="utf-8")


def test_all_lines_wait_before_flume_has_run(logs: Path, unread: Unread) -> None:
    log(logs, "1", b"one\ntwo\n")
    log(logs, "2", b"three\n")
    assert unread.waiting() == 14


def test_what_was_taken_does_not_wait(logs: Path, unread: Unread) -> None:
    first, second = log(logs, "1", b"one\ntwo\n"), log(logs, "2", b"three\n")
    say(unread, {first: 8, second: 0})
    assert unread.waiting() == 6
    say(unread, {first: 8, second: 6})
    assert unread.waiting() == 0


def test_a_position_of_another_inode_is_another_file_s(logs: Path, unread: Unread) -> None:
    say(unread, {log(logs, "1", b"one\n"): 4}, inode=1)
    assert unread.waiting() == 4


def test_an_unfinished_line_does_not_wait(logs: Path, unread: Unread) -> None:
    say(unread, {log(logs, "1", b"one\n" + 100_000 * b"x"): 4})
    log(logs, "2", b"half")
    assert unread.waiting() == 0


def test_positions_of_files_that_are_gone_do_no_harm(logs: Path, unread: Unread) -> None:
    file = log(logs, "1", b"one\n")
    say(unread, {file: 4})
    file.unlink()
    assert unread.waiting() == 0


def test_other_files_are_none_of_its_business(logs: Path, unread: Unread) -> None:
    (logs / "other.log").write_text("a\n")
    (logs / ".counts.json").write_text("{}\n")
    assert unread.waiting() == 0


def test_a_folder_that_is_not_there_yet_has_none(tmp_path: Path) -> None:
    assert Unread(lambda: tmp_path / "none", lambda: tmp_path / "positions.json").waiting() == 0


def test_an_empty_position_file_says_nothing(logs: Path, unread: Unread) -> None:
    log(logs, "1", b"one\n")
    unread.positions().touch()
    assert unread.waiting() == 4


@pytest.mark.parametrize("text", ['[{"inode":1,"pos"', "{}}", '[{"inode":1}]', "[5]", "5"])
def test_a_half_written_position_file_is_to_be_asked_again(unread: Unread, text: str) -> None:
    unread.positions().write_text(text)
    with pytest.raises(Retry, match="half written"):
        unread.waiting()


def test_a_position_file_that_is_none_is_a_person_s_to_mend(logs: Path, unread: Unread) -> None:
    log(logs, "1", b"one\n")
    unread.positions().mkdir()
    with pytest.raises(Fatal, match="can't be measured"):
        unread.waiting()


@pytest.mark.parametrize(
    ("content", "size"), [(b"", 0), (b"x", 0), (b"a\n", 2), (b"a\nb", 2), (b"a\n" + b"x" * 200_000, 2)]
)
def test_whole_bytes_end_with_a_line(logs: Path, content: bytes, size: int) -> None:
    assert tail.whole_bytes(log(logs, "1", content)) == size
