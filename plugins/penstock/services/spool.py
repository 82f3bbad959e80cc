"""The spool folders, in which any program may leave files for Flume."""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from pathlib import Path

from penstock.core.errors import Fatal

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"\s*")


def put(spool: Path, name: str, file: Path) -> Path:
    """Copy a response file into the folder `name` of the spool, and return its new path.

    The file appears there at once and complete, under a name that no other file has had: one that comes back while
    Flume reads it would stop the agent. It holds one or several JSON documents, or JSON lines, and is read into memory.

    Raises Fatal, in one sentence, where it does not, or where there is no such file or folder.
    """
    folder = spool / name
    if not folder.is_dir():
        raise Fatal(f"there is no spool folder {folder}: start the stack, or set PENSTOCK_SPOOL to where it runs")
    _require_json(file)
    stem = file.stem.lstrip(".") or "response"  # hidden files are not read
    target = folder / f"{stem}-{uuid.uuid4().hex[:12]}.json"
    hidden = folder / f".{target.name}"
    try:
        shutil.copyfile(file, hidden)
        _flush(hidden)
        hidden.rename(target)
        _flush(folder)
    except OSError as error:
        hidden.unlink(missing_ok=True)
        raise Fatal(f"{file} cannot be put into {folder}: {error.strerror}") from error
    return target


def _require_json(file: Path) -> None:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Fatal(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Fatal(f"{file} is not JSON: its byte {error.start} is not UTF-8") from error
    at = _after_space(text, 0)
    if at == len(text):
        raise Fatal(f"{file} is empty: give a file with a response of the API")
    while at < len(text):
        try:
            _, at = _DECODER.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise Fatal(f"{file} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
        except RecursionError as error:
            raise Fatal(f"{file} is nested too deeply to be a response") from error
        at = _after_space(text, at)


def _after_space(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _flush(path: Path) -> None:
    """Have what was written outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
