"""The .env file: what a person may set, and the secrets that nobody should have to invent.

Docker Compose reads the same file, so this reader takes only what both understand alike.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from penstock.core.errors import Fatal


def _password() -> str:
    return secrets.token_urlsafe(32)


def _typed_password() -> str:
    """144 bits, short enough to be typed."""
    return secrets.token_urlsafe(18)


def _fernet_key() -> str:
    """32 random bytes in URL-safe base64 (https://cryptography.io/en/latest/fernet/)."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def _airflow_uid() -> str:
    """The person's own id, so that containers can read the checkout; never root's."""
    return str(os.getuid() or 50000)


SECRETS: Mapping[str, Callable[[], str]] = {
    "AIRFLOW_ADMIN_PASSWORD": _typed_password,
    "AIRFLOW_DB_PASSWORD": _password,
    "AIRFLOW_FERNET_KEY": _fernet_key,
    "AIRFLOW_JWT_SECRET": _password,
    "AIRFLOW_SECRET_KEY": _password,
    "CASSANDRA_ADMIN_PASSWORD": _password,
    "CASSANDRA_PASSWORD": _password,
    "CELERY_BROKER_PASSWORD": _password,
    "GRAFANA_ADMIN_PASSWORD": _typed_password,
    "INFLUXDB_ADMIN_PASSWORD": _password,
    "INFLUXDB_ADMIN_TOKEN": _password,
    "LEDGER_DB_PASSWORD": _password,
    "POSTGRES_PASSWORD": _password,
    "REGISTRY_DB_PASSWORD": _password,
    "SUPERVISOR_PASSWORD": _password,
}
"""How each secret is made. None has a default."""

_GENERATED: Mapping[str, Callable[[], str]] = {**SECRETS, "AIRFLOW_UID": _airflow_uid}

_ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>.*)")
_QUOTED = re.compile(r"""(?P<quote>['"])(?P<text>.*?)(?P=quote)\s*(?:\s#.*)?""")
_URL_SAFE = re.compile(r"[A-Za-z0-9_.~=-]*")


def read_env(path: Path) -> dict[str, str]:
    """{name: value} of a file of NAME=VALUE lines.

    A value may stand in single or double quotes; a comment is a line that starts with #, or what follows " #". Raises
    Fatal, naming the line, for anything else, and for a file that other users may read.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise Fatal(f"there is no {path}: run `penstock env` (or `make env`) to make one") from error
    if mode & 0o077:
        raise Fatal(
            f"{path} holds secrets and other users may use it (mode {mode & 0o777:03o}): run `chmod 600 {path}`"
        )
    return {line.name: line.value for line in _parse(text, path) if line.name}


def write_env(path: Path, example: Path) -> list[str]:
    """Make `path` from `example`, or add to it what it lacks; return the names of the keys that were written.

    Secrets are generated where they are missing or empty. What a person has set stays as it is. The file is replaced in
    one step, readable by its owner only from its first byte. Raises Fatal for a line that is no NAME=VALUE, and for a
    secret that would break the addresses it becomes part of.
    """
    path = path.resolve()
    lines = _parse(path.read_text(encoding="utf-8"), path) if path.exists() else []
    known = {line.name for line in lines if line.name}
    offered = _parse(example.read_text(encoding="utf-8"), example)
    missing = [line.name for line in offered if line.name and line.name not in known]
    filled = [line.name for line in lines if line.name in _GENERATED and not line.value]
    complete = [line.filled() for line in [*lines, *(_with_comments(offered, missing) if lines else offered)]]
    for line in complete:
        if line.name in SECRETS and not _URL_SAFE.fullmatch(line.value):
            raise Fatal(
                f"{path}: {line.name} would break the addresses it stands in: use letters, digits, - and _ only"
            )
    if missing or filled:
        _replace(path, "".join(f"{line.text}\n" for line in complete))
    elif path.stat().st_mode & 0o077:
        path.chmod(0o600)
    return [*filled, *missing]


@dataclass(frozen=True)
class _Line:
    """A line as it was written; `name` is empty for a comment and a blank line."""

    text: str
    name: str = ""
    value: str = ""

    def filled(self) -> _Line:
        """With a generated value in place of an empty one, for the keys that have one."""
        if self.value or self.name not in _GENERATED:
            return self
        value = _GENERATED[self.name]()
        return _Line(f"{self.name}={value}", self.name, value)


def _parse(text: str, path: Path) -> list[_Line]:
    lines: list[_Line] = []
    seen: dict[str, int] = {}
    for number, written in enumerate(text.splitlines(), start=1):
        line = _parse_line(written, f"{path}, line {number}")
        if line.name in seen:
            raise Fatal(f"{path}, line {number}: {line.name} is set a second time, after line {seen[line.name]}")
        if line.name:
            seen[line.name] = number
        lines.append(line)
    return lines


def _parse_line(written: str, where: str) -> _Line:
    line = written.strip()
    if not line or line.startswith("#"):
        return _Line(written)
    # The line itself is not shown in an error: it may hold a secret.
    if not (assignment := _ASSIGNMENT.fullmatch(line)):
        raise Fatal(f"{where} is not of the form NAME=VALUE, without spaces around the =")
    name, value = assignment["name"], assignment["value"].strip()
    if value.startswith(("'", '"')):
        if not (quoted := _QUOTED.fullmatch(value)):
            raise Fatal(f"{where}: the value of {name} has a quote that does not close, or goes on after it")
        value, literal = quoted["text"], quoted["quote"] == "'"
        if not literal and "\\" in value:
            raise Fatal(f"{where}: the value of {name} has a backslash in double quotes: use single ones")
    else:
        value, literal = value.split(" #", maxsplit=1)[0].rstrip(), False
    if not literal and "$" in value:
        raise Fatal(f"{where}: the value of {name} has a $, which Docker Compose would expand: put it in single quotes")
    return _Line(written, name, value)


def _with_comments(offered: list[_Line], names: list[str]) -> Iterator[_Line]:
    """The lines of `names`, each after the comments that stand directly above it."""
    comments: list[_Line] = []
    for line in offered:
        if line.name in names:
            yield from comments
            yield line
        comments = [*comments, line] if line.text.startswith("#") else []


def _replace(path: Path, text: str) -> None:
    owner = path.stat() if path.exists() else None
    # mkstemp opens with mode 600: https://docs.python.org/3/library/tempfile.html#tempfile.mkstemp
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".env.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            if owner and os.geteuid() == 0:
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
