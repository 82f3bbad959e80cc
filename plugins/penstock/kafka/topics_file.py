"""The platform's topics, declared in include/kafka/topics.yaml, which says what each entry means."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from penstock.core.errors import Fatal
from penstock.core.settings import INCLUDE
from penstock.kafka.topics import EVENT_TIMED, Topic

PATH = INCLUDE / "kafka" / "topics.yaml"

_VARIABLE = re.compile(r"\$\{([A-Z][A-Z0-9_]*):-([^}]*)\}")
_TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")  # Kafka's own rule
_FOREVER = "forever"
_DAY_MS = 86_400_000
_GIB = 1 << 30
_MOST = 1_000_000
_KEYS = {"name", "partitions", "timestamps", "retention_days", "retention_gib", "replication", "min_insync"}
_DEFAULTS = _KEYS - {"name"}


def declared(
    path: Path = PATH, environment: Mapping[str, str] = os.environ, *, used: Iterable[str] = ()
) -> list[Topic]:
    """Every topic of the file, each followed by its dead letters; those `used` without an entry get its defaults.

    Raises Fatal, saying what is wrong where.
    """
    found = _parsed(path, environment)
    if not isinstance(found, dict) or not isinstance(found.get("topics"), list):
        raise Fatal(f"{path} has no list of topics")
    _check_keys(found, {"topics", "defaults"}, f"{path}")
    defaults = found.get("defaults") or {}
    _check_keys(defaults, _DEFAULTS, f"{path}: defaults")
    topics = [topic for entry in found["topics"] for topic in _entry(entry, defaults, path)]
    names = [topic.name for topic in topics]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Fatal(f"{path} has more than one topic {', '.join(twice)}: each needs a name of its own")
    others = ({"name": name, "dead_letters": {}} for name in dict.fromkeys(used) if name not in names)
    return [*topics, *(topic for entry in others for topic in _entry(entry, defaults, path))]


def _parsed(path: Path, environment: Mapping[str, str]) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise Fatal(f"{path} cannot be read: {error.strerror}") from None
    try:
        return _filled_in(yaml.safe_load(text), environment)
    except yaml.YAMLError as error:
        raise Fatal(f"{path} is no YAML: {' '.join(str(error).split())}") from None


def _filled_in(node: Any, environment: Mapping[str, str]) -> Any:
    """`node` with its variables replaced; what one stands for becomes a number where it is a whole one."""
    if isinstance(node, dict):
        return {key: _filled_in(value, environment) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled_in(value, environment) for value in node]
    if not isinstance(node, str) or not _VARIABLE.search(node):
        return node
    text = _VARIABLE.sub(lambda variable: environment.get(variable[1]) or variable[2], node)
    return int(text) if text.isdecimal() else text


def _entry(entry: Any, defaults: Mapping[str, Any], path: Path) -> Iterator[Topic]:
    name = entry.get("name") if isinstance(entry, dict) else None
    if isinstance(name, int):
        name = str(name)
    if not isinstance(name, str) or not _TOPIC_NAME.fullmatch(name) or name in {".", ".."}:
        raise Fatal(f"{path}: a topic is called {name!r}; give it up to 249 letters, digits, dots, dashes, underscores")
    letters = entry.get("dead_letters")
    if not isinstance(letters, dict):
        raise Fatal(
            f"{path}: {name} has no dead_letters, so a record that breaks its contract would have nowhere to go"
        )
    own = {key: value for key, value in entry.items() if key != "dead_letters"}
    yield _topic(name, {**defaults, **own}, f"{path}: {name}")
    yield _topic(f"{name}.dlq", {**defaults, **letters}, f"{path}: the dead_letters of {name}")


def _topic(name: str, entry: Mapping[str, Any], where: str) -> Topic:
    _check_keys(entry, _KEYS, where)
    replication = _number(entry, "replication", where)
    min_insync = _number(entry, "min_insync", where)
    if min_insync > replication:
        raise Fatal(
            f"{where}: min_insync is {min_insync}, more than its replication of {replication}: nobody can write"
        )
    config = {
        **_timed(entry, where),
        "retention.bytes": str(_number(entry, "retention_gib", where) * _GIB),
        "min.insync.replicas": str(min_insync),
    }
    return Topic(name, _number(entry, "partitions", where), replication, config)


def _timed(entry: Mapping[str, Any], where: str) -> dict[str, str]:
    days = entry.get("retention_days")
    limit = "-1" if days == _FOREVER else str(_number(entry, "retention_days", where, f", or {_FOREVER}") * _DAY_MS)
    match entry.get("timestamps"):
        case "append":
            return {"message.timestamp.type": "LogAppendTime", "retention.ms": limit}
        case "event" if days == _FOREVER:
            return {"message.timestamp.type": "CreateTime", **EVENT_TIMED}
        case "event":
            raise Fatal(
                f"{where}: retention_days is {days}, but Kafka would delete records with old event times at once: "
                f"give {_FOREVER}"
            )
        case other:
            raise Fatal(f"{where}: timestamps is {other!r}; give event or append")


def _number(entry: Mapping[str, Any], key: str, where: str, otherwise: str = "") -> int:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST:
        raise Fatal(f"{where}: {key} is {value!r}; give a whole number from 1{otherwise}")
    return value


def _check_keys(entry: Any, known: set[str], where: str) -> None:
    if not isinstance(entry, dict):
        raise Fatal(f"{where}: {entry!r} is no mapping of settings")
    if unknown := sorted(map(str, entry.keys() - known)):
        raise Fatal(f"{where}: nobody knows {', '.join(unknown)}; there are {', '.join(sorted(known))}")
