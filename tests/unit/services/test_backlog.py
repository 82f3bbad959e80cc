from __future__ import annotations

from pathlib import Path

import pytest

from penstock.core.errors import Fatal
from penstock.services.backlog import Files


def test_only_complete_files_wait(tmp_path: Path) -> None:
    for name in ("one.json", "two", ".hidden", "three.json.tmp", "four.json.part"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    assert Files(lambda: tmp_path).waiting() == 2


def test_a_folder_that_is_not_there_yet_has_none(tmp_path: Path) -> None:
    assert Files(lambda: tmp_path / "none").waiting() == 0


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Fatal, match="can't be read: Not a directory"):
        Files(lambda: tmp_path / "file").waiting()
