"""What a page of the documentation tells its reader to write and to type."""

from __future__ import annotations

import re
from pathlib import Path

from penstock.core.settings import PROJECT

ADD_A_DATA_SET = PROJECT / "docs" / "add-a-data-set.md"

_FILE = re.compile(r"^`data_sets/(\S+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def files(page: Path = ADD_A_DATA_SET) -> dict[str, str]:
    """{path below the folder of data sets: text}."""
    return dict(_FILE.findall(page.read_text(encoding="utf-8")))


def write(folder: Path, texts: dict[str, str]) -> None:
    """Put the files into a folder."""
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
