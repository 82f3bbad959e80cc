"""Rows as InfluxDB's line protocol, a whole column at a time.

`MEASUREMENT,TAG=VALUE,... FIELD=VALUE,... NANOSECONDS`, as the parser of InfluxDB 2.7 takes it (models/points.go there;
https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.core.contract import Contract, Kind
from penstock.core.errors import Fatal

AS_OF = "as_of"
"""The integer field of every point that tells the as-of time of who wrote it, in µs since the epoch."""

Times: TypeAlias = npt.NDArray[np.int64]

NANOSECONDS = {Kind.TIMESTAMP: 1_000_000, Kind.DATE: 86_400_000_000_000}
"""How many make up one unit of a physical event time."""

SPREAD = 1_000_000
"""Nanoseconds over which records of one event time are spread: those of the ms that they share."""

_FARTHEST = 9_223_372_036_854_775_806 - SPREAD

_RESERVED = {AS_OF, "time", "_field", "_measurement"}
_WHOLE = {Kind.INT, Kind.LONG, Kind.TIMESTAMP, Kind.DATE}


def escape_measurement(name: str) -> str:
    """The name as it stands in a line. Raises Fatal for one that a line cannot hold, or that InfluxDB keeps to itself.

    A line that begins with # is a comment, which would be dropped without a word.
    """
    if not name or name[0] in "#_" or "\\" in name or any(ord(each) < ord(" ") for each in name):
        raise Fatal(
            f"{name!r} cannot be the name of a measurement: it must not be empty, begin with # or _, "
            "or hold a backslash or a control character"
        )
    return name.replace(",", "\\,").replace(" ", "\\ ")


def escape_key(name: str) -> str:
    """The name of a tag or field as it stands in a line."""
    return name.replace(",", "\\,").replace("=", "\\=").replace(" ", "\\ ")


def point_times(rows: pa.RecordBatch, contract: Contract) -> tuple[Times, npt.NDArray[np.bool_]]:
    """Each point's time in ns since the epoch, and which of them InfluxDB can keep; the others are 0.

    Within its millisecond, a point lies at the contract's spread field modulo 1,000,000.
    """
    unit = NANOSECONDS[contract.by_name[contract.event_time].kind]
    times = rows.column(contract.event_time).to_numpy().astype(np.int64)
    storable = np.abs(times) <= _FARTHEST // unit
    nanoseconds = np.where(storable, times, 0) * unit
    if contract.spread is not None:
        nanoseconds += rows.column(contract.spread).to_numpy().astype(np.int64) % SPREAD
    return nanoseconds, storable


def unstorable_tag(value: str) -> str | None:
    """Why a tag cannot have this value, or None where it can.

    A line ends at a newline outside quotes, which only string fields have. A backslash escapes the comma or space
    behind the value, and cannot be escaped itself.
    """
    if "\n" in value:
        return "holds a newline, which a tag in InfluxDB cannot"
    if value.endswith("\\"):
        return "ends with a backslash, which a tag in InfluxDB cannot"
    return None


class LineProtocol:
    """Formats rows of `contract` as points of `measurement`.

    Tags are the contract's; fields are AS_OF and all others but the event time. A null and an empty tag are left out,
    and so is a null field.
    """

    def __init__(self, measurement: str, contract: Contract) -> None:
        """Raise Fatal for names that InfluxDB cannot store."""
        self._measurement = escape_measurement(measurement)
        self._tags = sorted(contract.tags)  # in this order, InfluxDB takes them without sorting
        self._fields = [each for each in contract.fields if each.name not in {contract.event_time, *contract.tags}]
        if taken := sorted(_RESERVED & {*self._tags, *(each.name for each in self._fields)}):
            raise Fatal(
                f"{contract.where}: no tag or field of a point can have the name {', '.join(taken)}: rename the field"
            )

    def lines(self, rows: pa.RecordBatch, times: Times, as_of: int | pa.Array) -> pa.StringArray:
        """The line of each row, its newline included.

        `rows` are physical ones, `times` in ns, `as_of` in µs. A value that is no finite number gives a line that
        InfluxDB refuses.
        """
        line = _Line(self._measurement)
        for name in self._tags:
            line.add(_tag(name, rows.column(name)))
        line.text(f" {AS_OF}=")
        line.add(str(as_of) if isinstance(as_of, int) else as_of.cast(pa.string()))
        line.text("i")
        for field in self._fields:
            column = rows.column(field.name)
            if column.null_count == len(column):
                continue
            before, values, after = _field_value(f",{escape_key(field.name)}=", column, field.kind)
            if column.null_count:
                line.add(pc.fill_null(pc.binary_join_element_wise(before, values, after, ""), ""))
            else:
                line.text(before)
                line.add(values)
                line.text(after)
        line.text(" ")
        line.add(pa.array(times).cast(pa.string()))
        line.text("\n")
        return line.joined()


class _Line:
    """The parts of a line: columns, and texts that are the same in all rows, of which neighbours become one."""

    def __init__(self, start: str) -> None:
        self._parts: list[str | pa.Array] = [start]

    def text(self, text: str) -> None:
        if isinstance(self._parts[-1], str):
            self._parts[-1] += text
        else:
            self._parts.append(text)

    def add(self, part: str | pa.Array) -> None:
        if isinstance(part, str):
            self.text(part)
        else:
            self._parts.append(part)

    def joined(self) -> pa.StringArray:
        return pc.binary_join_element_wise(*self._parts, "")


def _tag(name: str, column: pa.Array) -> pa.Array:
    """`,NAME=VALUE` of each row, or nothing where there is none."""
    encoded = column.dictionary_encode()
    prefix = f",{escape_key(name)}="
    texts = [prefix + escape_key(value) if value else "" for value in encoded.dictionary.to_pylist()]
    return pc.fill_null(pa.array(texts, pa.string()).take(encoded.indices), "")


def _field_value(before: str, column: pa.Array, kind: Kind) -> tuple[str, pa.Array, str]:
    if kind in _WHOLE:
        return before, column.cast(pa.string()), "i"
    if kind is Kind.STRING:
        return f'{before}"', _escaped(column), '"'
    if kind is Kind.FLOAT:
        column = column.cast(pa.float64())  # InfluxDB has doubles only: the same number, and not the shortest like it
    return before, column.cast(pa.string()), ""


def _escaped(column: pa.Array) -> pa.Array:
    """Strings as they stand between quotes, where newlines may stand as they are."""
    for special in ("\\", '"'):
        if pc.any(pc.match_substring(column, special)).as_py():
            column = pc.replace_substring(column, special, "\\" + special)
    return column


def unstorable_tags(rows: pa.RecordBatch, tags: Sequence[str]) -> Mapping[int, str]:
    """{row: why its tags cannot be stored}."""
    found: dict[int, str] = {}
    for name in tags:
        encoded = rows.column(name).dictionary_encode()
        reasons = [*map(unstorable_tag, encoded.dictionary.to_pylist()), None]
        if any(reasons):
            codes = encoded.indices.fill_null(len(reasons) - 1).to_pylist()
            found |= {row: f"{name} {reasons[code]}" for row, code in enumerate(codes) if reasons[code]}
    return found
