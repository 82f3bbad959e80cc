"""A contract: the Avro schema of one topic, and all that is derived from it.

A schema in `include/avro/` carries, beside plain Avro, what the platform needs to know. Avro keeps unknown attributes,
so the registry stores them too:

* on the record, `"penstock": {"key": [...], "eventTime": "...", "cassandra": {"partitionKey": [...],
  "clusteringKey": [...], "buckets": {COLUMN: {"of": FIELD, "by": "month"}}},
  "influxdb": {"tags": [...], "spread": FIELD}}`, of the last two those that the records land in. `spread` is a whole
  number that tells records of one tag set and time apart: in InfluxDB these make a point's identity;
* on a field, `"unit"`, and `"minimum"` and `"maximum"` (both inclusive) where the value has physical bounds.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from penstock.core.errors import Fatal
from penstock.core.record import Value


class Kind(StrEnum):
    """The types a field may have. A timestamp counts ms since the epoch, a date days."""

    BOOLEAN = "boolean"
    INT = "int"
    LONG = "long"
    FLOAT = "float"
    DOUBLE = "double"
    STRING = "string"
    TIMESTAMP = "timestamp-millis"
    DATE = "date"


_CQL = {
    Kind.BOOLEAN: "boolean",
    Kind.INT: "int",
    Kind.LONG: "bigint",
    Kind.FLOAT: "float",
    Kind.DOUBLE: "double",
    Kind.STRING: "text",
    Kind.TIMESTAMP: "timestamp",
    Kind.DATE: "date",
}

_SPARK = {
    Kind.BOOLEAN: "BOOLEAN",
    Kind.INT: "INT",
    Kind.LONG: "BIGINT",
    Kind.FLOAT: "FLOAT",
    Kind.DOUBLE: "DOUBLE",
    Kind.STRING: "STRING",
    Kind.TIMESTAMP: "TIMESTAMP",
    Kind.DATE: "DATE",
}

# Avro promotes these without loss: https://avro.apache.org/docs/1.12.0/specification/#schema-resolution
_PROMOTIONS = {
    (Kind.INT, Kind.LONG),
    (Kind.INT, Kind.FLOAT),
    (Kind.INT, Kind.DOUBLE),
    (Kind.LONG, Kind.FLOAT),
    (Kind.LONG, Kind.DOUBLE),
    (Kind.FLOAT, Kind.DOUBLE),
}

INTEGER_BITS = {Kind.INT: 32, Kind.DATE: 32, Kind.LONG: 64, Kind.TIMESTAMP: 64}

LARGEST = {Kind.FLOAT: (2 - 2**-23) * 2.0**127, Kind.DOUBLE: sys.float_info.max}
"""The largest finite value of IEEE 754's binary32 and binary64."""


_PLAIN = {Kind.STRING: str, Kind.BOOLEAN: bool, Kind.FLOAT: float, Kind.DOUBLE: float}
"""The Python types of values; those of all other kinds are ints."""


@dataclass(frozen=True)
class Field:
    """One field: its type, and what a value of it must satisfy."""

    name: str
    kind: Kind
    nullable: bool
    has_default: bool = False
    unit: str | None = None
    doc: str = ""
    minimum: float | None = None
    maximum: float | None = None

    @classmethod
    def from_avro(cls, declaration: Mapping[str, Any], where: str) -> Field:
        """Read one entry of a schema's `fields`. Raises Fatal for a type that contracts do not know."""
        name, avro_type = declaration["name"], declaration["type"]
        nullable = isinstance(avro_type, list)
        if isinstance(avro_type, list):
            others = [each for each in avro_type if each != "null"]
            if len(others) != 1 or avro_type[0] != "null":
                raise Fatal(f'{where}: field {name} has the union {avro_type}; only ["null", TYPE] is known')
            avro_type = others[0]
        if isinstance(avro_type, dict):
            avro_type = avro_type.get("logicalType", avro_type["type"])
        try:
            kind = Kind(avro_type)
        except ValueError as error:
            raise Fatal(f"{where}: field {name} has type {avro_type!r}; known are {', '.join(Kind)}") from error
        return cls(
            name=name,
            kind=kind,
            nullable=nullable,
            has_default="default" in declaration,
            unit=declaration.get("unit"),
            doc=declaration.get("doc", ""),
            minimum=declaration.get("minimum"),
            maximum=declaration.get("maximum"),
        )

    def violation(self, value: Value) -> str | None:
        """Say what is wrong with `value` for this field, or None where it fits."""
        if value is None:
            return None if self.nullable else f"{self.name} is missing"
        if not self._has_type(value):
            return f"{self.name} is {value!r}, not a {self.kind}"
        if isinstance(value, str | bool):
            return None
        if isinstance(value, float) and not math.isfinite(value):
            return f"{self.name} is {value!r}, not a finite number"
        if (bits := INTEGER_BITS.get(self.kind)) and not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
            return f"{self.name} is {value!r}, which does not fit {bits} bits"
        if (largest := LARGEST.get(self.kind)) and abs(value) > largest:
            return f"{self.name} is too large for a {self.kind}"
        if self.minimum is not None and value < self.minimum:
            return f"{self.name} is {value!r}, below its minimum of {self.minimum}"
        if self.maximum is not None and value > self.maximum:
            return f"{self.name} is {value!r}, above its maximum of {self.maximum}"
        return None

    @property
    def limits(self) -> tuple[float | None, float]:
        """The least and the greatest number that fits: (None, 0) where values are no numbers."""
        if bits := INTEGER_BITS.get(self.kind):
            least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        elif largest := LARGEST.get(self.kind):
            least, most = -largest, largest
        else:
            return None, 0
        return (
            least if self.minimum is None else max(least, self.minimum),
            most if self.maximum is None else min(most, self.maximum),
        )

    def _has_type(self, value: Value) -> bool:
        if self.kind is Kind.STRING:
            return isinstance(value, str)
        if self.kind is Kind.BOOLEAN or isinstance(value, bool):
            return self.kind is Kind.BOOLEAN and isinstance(value, bool)
        if self.kind in INTEGER_BITS:
            return isinstance(value, int)
        return isinstance(value, int | float)


@dataclass(frozen=True)
class Bucket:
    """A derived Cassandra column that bounds a partition: the `by` ("month", as "2026-11") of an event time."""

    name: str
    of: str
    by: str


class Contract:
    """The Avro schema of one topic, parsed once. Two contracts are equal where their schemas are."""

    def __init__(self, schema: Mapping[str, Any], where: str = "schema") -> None:
        """Raise Fatal, naming `where`, for a schema that lacks what the platform needs."""
        self.schema = dict(schema)
        self.where = where
        self.name: str = schema["name"]
        self.fields = tuple(Field.from_avro(each, where) for each in schema["fields"])
        extra = schema.get("penstock")
        if not extra:
            raise Fatal(f'{where}: the schema has no "penstock" attribute with key and eventTime')
        self.key: tuple[str, ...] = tuple(extra["key"])
        self.event_time: str = extra["eventTime"]
        layout = extra.get("cassandra", {})
        self.partition_key: tuple[str, ...] = tuple(layout.get("partitionKey", ()))
        self.clustering_key: tuple[str, ...] = tuple(layout.get("clusteringKey", ()))
        self.buckets = tuple(Bucket(name, each["of"], each["by"]) for name, each in layout.get("buckets", {}).items())
        influxdb = extra.get("influxdb", {})
        self.tags: tuple[str, ...] = tuple(influxdb.get("tags", ()))
        self.spread: str | None = influxdb.get("spread")
        self._check()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Contract) and self.schema == other.schema

    def __hash__(self) -> int:
        return hash(self.canonical)

    def __repr__(self) -> str:
        return f"Contract({self.name})"

    @classmethod
    def load(cls, path: Path) -> Contract:
        """Read an `.avsc` file. Raises Fatal where it is missing or is no contract."""
        try:
            return cls(json.loads(path.read_text(encoding="utf-8")), path.name)
        except FileNotFoundError as error:
            raise Fatal(f"the contract {path} does not exist") from error
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise Fatal(f"{path} is not an Avro record schema: {error!r}") from error

    @cached_property
    def canonical(self) -> str:
        """The schema as one line of JSON, the form that is registered."""
        return json.dumps(self.schema, separators=(",", ":"), ensure_ascii=False)

    @cached_property
    def by_name(self) -> Mapping[str, Field]:
        """The fields by their names."""
        return {field.name: field for field in self.fields}

    def _check(self) -> None:
        known = set(self.by_name)
        bucket_names = {bucket.name for bucket in self.buckets}
        named = {*self.key, self.event_time, *(bucket.of for bucket in self.buckets)}
        named |= {*self.partition_key, *self.clustering_key} - bucket_names
        if self.spread is not None:
            named.add(self.spread)
        if unknown := sorted({*named, *self.tags} - known):
            raise Fatal(
                f"{self.where}: key, eventTime, cassandra or influxdb name fields it does not have: "
                f"{', '.join(unknown)}"
            )
        if nullable := sorted(name for name in named if self.by_name[name].nullable):
            raise Fatal(f"{self.where}: key fields must not be nullable: {', '.join(nullable)}")
        if self.by_name[self.event_time].kind not in {Kind.TIMESTAMP, Kind.DATE}:
            raise Fatal(f"{self.where}: eventTime {self.event_time} is neither a timestamp-millis nor a date")
        if not_text := sorted(name for name in self.tags if self.by_name[name].kind is not Kind.STRING):
            raise Fatal(f"{self.where}: a tag is a string, and these are not: {', '.join(not_text)}")
        if self.spread is not None and self.by_name[self.spread].kind not in {Kind.INT, Kind.LONG}:
            raise Fatal(f"{self.where}: spread {self.spread} is no int or long")
        if wrong := sorted(bucket.by for bucket in self.buckets if bucket.by != "month"):
            raise Fatal(f'{self.where}: a bucket can only be by "month", not {", ".join(wrong)}')

    def violation(self, record: Mapping[str, Value]) -> str | None:
        """Say why `record` breaks this contract, in one phrase, or None where it keeps it."""
        if self._is_plain(record):
            return None
        for field in self.fields:
            if field.name not in record and not field.nullable:
                return f"{field.name} is missing"
            if broken := field.violation(record.get(field.name)):
                return broken
        unknown = record.keys() - self.by_name.keys()
        return f"unknown field {min(unknown)}" if unknown else None

    def _is_plain(self, record: Mapping[str, Value]) -> bool:
        """Whether every field is there, of its own type and within its limits: told in a quarter of the time."""
        if len(record) != len(self._plain):
            return False
        for name, kind, least, most in self._plain:
            value = record.get(name)
            if type(value) is not kind or (least is not None and not least <= value <= most):  # type: ignore[operator]
                return False
        return True

    @cached_property
    def _plain(self) -> Sequence[tuple[str, type, float | None, float]]:
        """Each field's name, and the type, the least and the greatest of its plain values: no least where all fit."""
        return [(field.name, _PLAIN.get(field.kind, int), *field.limits) for field in self.fields]

    def spark_ddl(self) -> str:
        """The schema as Spark's DDL, for `StructType.fromDDL` and `from_json`."""
        return ", ".join(f"`{field.name}` {_SPARK[field.kind]}" for field in self.fields)

    def cql_columns(self) -> Mapping[str, str]:
        """{column: CQL type}: the derived buckets after the fields."""
        columns = {field.name: _CQL[field.kind] for field in self.fields}
        return columns | {bucket.name: "text" for bucket in self.buckets}

    def cql_create_table(self, keyspace: str, table: str) -> str:
        """The CREATE TABLE IF NOT EXISTS of this contract's table."""
        if not self.partition_key:
            raise Fatal(f'{self.where}: no "cassandra" layout, so it cannot be a Cassandra table')
        columns = ", ".join(f'"{name}" {cql_type}' for name, cql_type in self.cql_columns().items())
        partition = ", ".join(f'"{name}"' for name in self.partition_key)
        clustering = "".join(f', "{name}"' for name in self.clustering_key)
        return f'CREATE TABLE IF NOT EXISTS "{keyspace}"."{table}" ({columns}, PRIMARY KEY (({partition}){clustering}))'

    def write_time_column(self) -> str:
        """The column whose write time tells who wrote a row: the first that is neither null nor part of the key.

        Raises Fatal where the contract has none: CQL keeps no write time for keys, and none for a null.
        """
        in_key = {*self.partition_key, *self.clustering_key}
        for field in self.fields:
            if field.name not in in_key and not field.nullable:
                return field.name
        raise Fatal(f"{self.where}: a Cassandra table needs a required field outside its key, to count a batch's rows")

    def breaking_changes(self, older: Contract) -> list[str]:
        """What makes records written with `older` unreadable with this contract, one phrase a field.

        These are Avro's rules for BACKWARD compatibility, and one more: a new key would give rows a new identity.
        """
        broken = []
        for field in self.fields:
            before = older.by_name.get(field.name)
            if before is None:
                if not field.has_default:
                    broken.append(f"field {field.name} is new and has no default")
            elif field.kind != before.kind and (before.kind, field.kind) not in _PROMOTIONS:
                broken.append(f"field {field.name} changes its type from {before.kind} to {field.kind}")
            elif before.nullable and not field.nullable:
                broken.append(f"field {field.name} was nullable and is not any more")
        if self.key != older.key:
            broken.append(f"the key changes from ({', '.join(older.key)}) to ({', '.join(self.key)})")
        return broken
