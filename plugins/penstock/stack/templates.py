"""Configuration files, written once in include/ and rendered for each instance."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.core.settings import INCLUDE


def render_folder(name: str, target: Path, values: Mapping[str, Any]) -> None:
    """Render each `*.j2` of include/NAME into `target`, and copy the other files. A missing value is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    jinja = Environment(
        loader=FileSystemLoader(INCLUDE / name),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - these are configuration files, not web pages
    )
    target.mkdir(parents=True, exist_ok=True)
    for source in (INCLUDE / name).iterdir():
        if source.suffix == ".j2":
            (target / source.stem).write_text(jinja.get_template(source.name).render(values), encoding="utf-8")
        elif source.is_file():
            shutil.copyfile(source, target / source.name)
