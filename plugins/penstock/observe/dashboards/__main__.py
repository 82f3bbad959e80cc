"""Writes the dashboards: `python -m penstock.observe.dashboards [FOLDER]`, for the names that .env may change."""

from __future__ import annotations

import sys
from pathlib import Path

from penstock.core.settings import INCLUDE
from penstock.observe.dashboards.catalogue import files
from penstock.observe.dashboards.places import Places

FOLDER = INCLUDE / "grafana" / "dashboards"


def write(folder: Path, places: Places) -> None:
    """Write all dashboards into `folder`, and take away those that are no longer made."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = files(places)
    for name, content in wanted.items():
        (folder / name).write_text(content, encoding="utf-8")
    for found in folder.glob("*.json"):
        if found.name not in wanted:
            found.unlink()


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER, Places.from_env())
