"""The log files of the web event producer, and how far Flume's TAILDIR source is in them by its position file.

https://flume.apache.org/releases/content/1.11.0/FlumeUserGuide.html#taildir-source
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from penstock.core.errors import Retry

PATTERN = "events-*.log"
"""The names of log files."""

Positions: TypeAlias = Mapping[tuple[str, int], int]
"""{(path, inode): bytes that were taken}. A file of another inode is another file, even under the same path."""

_CHUNK = 64 << 10


def positions(file: Path) -> Positions:
    """What the position file says; nothing where there is none yet, or it is empty, as it is with no log file.

    Raises Retry where Flume is just writing it: it does so in place.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    if not text:
        return {}
    try:
        return {(each["file"], int(each["inode"])): int(each["pos"]) for each in json.loads(text)}
    except (ValueError, KeyError, TypeError) as error:
        raise Retry(f"Flume's position file {file} is half written, or none at all: {error}") from None


def log_files(folder: Path) -> list[Path]:
    """The log files in a folder, the oldest first: their names begin with the time."""
    return sorted(folder.glob(PATTERN))


def taken(file: Path, known: Positions) -> int:
    """How many bytes of a file were taken. Raises FileNotFoundError where it is gone."""
    return known.get((str(file), file.stat().st_ino), 0)


def unread(file: Path, known: Positions) -> int:
    """How many bytes of whole lines were not taken yet; 0 where the file is gone."""
    try:
        begun = taken(file, known)
        return 0 if begun >= file.stat().st_size else max(0, whole_bytes(file) - begun)
    except FileNotFoundError:
        return 0


def whole_bytes(file: Path) -> int:
    """The size of a file up to the end of its last whole line: a source leaves the rest until the line is finished."""
    with file.open("rb") as content:
        end = content.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _CHUNK)
            content.seek(start)
            found = content.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0
