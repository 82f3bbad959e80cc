"""Compares a measurement with a contract, before the first point is written."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.core import settings
from penstock.core.contract import Contract, Kind
from penstock.core.errors import Fatal
from penstock.sinks.influxdb_http import InfluxHttp, Series, quoted
from penstock.sinks.line_protocol import AS_OF

_FIELD_TYPES = {
    Kind.BOOLEAN: "boolean",
    Kind.INT: "integer",
    Kind.LONG: "integer",
    Kind.FLOAT: "float",
    Kind.DOUBLE: "float",
    Kind.STRING: "string",
    Kind.TIMESTAMP: "integer",
    Kind.DATE: "integer",
}


def check(http: InfluxHttp, where: settings.Influx, measurement: str, contract: Contract) -> None:
    """Raise Fatal where the bucket cannot be written, or the measurement's fields or tags contradict the contract.

    Fields that the contract does not have are left alone. Tags that it does not have are not: they would be part of
    the identity of every point there, and of none of ours.
    """
    if refused := http.write(b""):
        raise Fatal(f"{where!r} refuses even a write without lines: {refused}")
    name = quoted(measurement)
    fields, tags = http.ask(f"SHOW FIELD KEYS FROM {name}; SHOW TAG KEYS FROM {name}", _fields_and_tags)
    if conflicts := _conflicts(fields, tags, contract):
        raise Fatal(
            f"the measurement {measurement} in bucket {where.bucket} does not fit its contract: "
            f"{'; '.join(conflicts)}. Land into another measurement, or delete the old one"
        )


def _fields_and_tags(answer: Iterable[Series]) -> tuple[list[tuple[str, str]], list[str]]:
    """(field, type) pairs, and the tags. A field has several types where those of its shards differ."""
    fields: list[tuple[str, str]] = []
    tags: list[str] = []
    for series in answer:
        if series.columns[0] == "fieldKey":
            fields += [(name, kind) for name, kind in series.rows]
        else:
            tags += [name for (name,) in series.rows]
    return fields, tags


def _conflicts(fields: Iterable[tuple[str, str]], tags: Iterable[str], contract: Contract) -> list[str]:
    ours = [each for each in contract.fields if each.name not in {*contract.tags, contract.event_time}]
    wanted = {AS_OF: "integer"} | {each.name: _FIELD_TYPES[each.kind] for each in ours}
    conflicts = []
    for name, there in fields:
        if name in contract.tags:
            conflicts.append(f"{name} is a field there and a tag here")
        elif name in wanted and there != wanted[name]:
            conflicts.append(f"{name} is a field of type {there} there and {wanted[name]} here")
    for name in tags:
        if name not in contract.tags:
            here = "a field" if name in wanted else "none"
            conflicts.append(f"{name} is a tag there and {here} here")
    return conflicts
