"""Avro bytes from dicts, a chunk of records at a time.

Encoding is what limits a producer written in Python, so nothing here goes value by value in Python:

* msgspec checks types and bounds against a type built from the contract;
* a run of doubles, which is what a measurement mostly is, becomes one numpy array a chunk, and the bytes of all its
  records are laid out at once;
* any other field is packed by one function.

A chunk that is not entirely plain is halved until the odd records stand alone. Those are judged by the contract
itself: the fast path never decides what is refused, nor why.

The bytes: https://avro.apache.org/docs/1.12.0/specification/#binary-encoding, behind the header of
https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import groupby, repeat
from operator import itemgetter
from typing import Annotated, Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from penstock.core.contract import INTEGER_BITS, LARGEST, Contract, Field, Kind
from penstock.core.errors import Reject
from penstock.core.record import Record, Value

_MAGIC = 0
_NULL, _PRESENT = b"\x00", b"\x02"  # the branches of ["null", TYPE] as zigzag integers
_DOUBLE_BYTES = 8

_CHUNK_MIN = 16
"""For fewer records, setting up the arrays costs more than it saves."""

_LAYOUTS = 64
"""How many sets of field names are remembered; a source has one or two."""

_REMEMBERED = 65_536
"""How many keys and integers are remembered: places and hours come again and again."""

_MS_PER_DAY = 86_400_000

Pack: TypeAlias = Callable[[Any], bytes]
Piece: TypeAlias = Callable[[Sequence[Record]], Iterable[bytes]]
"""Gives, for each of some records, the bytes of one or several neighbouring fields."""


class Encoder:
    """Encodes the records of one contract under one schema id of the registry."""

    def __init__(self, contract: Contract, schema_id: int) -> None:
        self._contract = contract
        self._header = struct.pack(">bI", _MAGIC, schema_id)
        self._packs = {field.name: _pack(field) for field in contract.fields}
        self._layout = lru_cache(_LAYOUTS)(partial(_Layout, contract, self._header))

    def encode(self, record: Record) -> bytes:
        """Return the framed bytes of `record`. Raises Reject with the reason where it breaks the contract."""
        if reason := self._contract.violation(record):
            raise Reject(reason)
        try:
            return self._header + b"".join(pack(record.get(name)) for name, pack in self._packs.items())
        except UnicodeEncodeError as error:
            raise Reject(f"a text holds {error.object[error.start : error.end]!r}, which UTF-8 cannot carry") from error

    def encode_many(self, records: Sequence[Record]) -> list[bytes | Reject]:
        """`encode` for each of `records`, with the Reject in the place of a record that is refused."""
        if len(records) < _CHUNK_MIN:
            return [self._encoded_or_reject(record) for record in records]
        try:
            return list(self._layout(frozenset(records[0])).encode(records))
        except (_Odd, msgspec.ValidationError, UnicodeEncodeError):
            half = len(records) // 2
            return self.encode_many(records[:half]) + self.encode_many(records[half:])

    def _encoded_or_reject(self, record: Record) -> bytes | Reject:
        try:
            return self.encode(record)
        except Reject as reject:
            return reject


class Identity:
    """The message key and the timestamp of a contract's records. Asked only of records that keep the contract."""

    def __init__(self, contract: Contract) -> None:
        fields = [contract.by_name[name] for name in contract.key if name != contract.event_time]
        self._key_values = _values_of([field.name for field in fields])
        self._key = lru_cache(_REMEMBERED)(partial(_json_key, fields))
        self._time = itemgetter(contract.event_time)
        self._time_unit = _MS_PER_DAY if contract.by_name[contract.event_time].kind is Kind.DATE else 1

    def keys(self, records: Iterable[Record]) -> Iterator[bytes]:
        """The key fields but the event time, as one line of JSON each: what one place's records share."""
        return map(self._key, map(self._key_values, records))

    def timestamps(self, records: Iterable[Record]) -> Iterator[int]:
        """The event times, in ms since the epoch."""
        unit = self._time_unit
        return (time * unit for time in map(self._time, records))


class _Odd(Exception):
    """Not all records of a chunk have the same fields, or they are not the contract's."""


class _Layout:
    """Encodes records that all have exactly the fields `names`."""

    def __init__(self, contract: Contract, header: bytes, names: frozenset[str]) -> None:
        """Raise _Odd where `names` are not fields of the contract, or one that must be there is not."""
        required = {field.name for field in contract.fields if not field.nullable}
        if not required <= names <= contract.by_name.keys():
            raise _Odd
        self._width = len(names)
        self._pieces: list[Piece] = [lambda _: repeat(header)]
        for doubles, fields in groupby(contract.fields, key=lambda field: field.kind is Kind.DOUBLE):
            if doubles:
                self._pieces.append(_run(list(fields), names))
            else:
                self._pieces += [_column(field) if field.name in names else _absent for field in fields]

    def encode(self, records: Sequence[Record]) -> Iterator[bytes]:
        """Raise _Odd, ValidationError or UnicodeEncodeError where a record is not plain."""
        if set(map(len, records)) != {self._width}:
            raise _Odd
        try:
            pieces = [piece(records) for piece in self._pieces]
        except KeyError as error:  # as many fields, but others
            raise _Odd from error
        return map(b"".join, zip(*pieces, strict=False))  # some pieces repeat for ever


def _absent(_records: Sequence[Record]) -> Iterable[bytes]:
    return repeat(_NULL)


def _column(field: Field) -> Piece:
    value_of, pack, many = itemgetter(field.name), _pack(field), list[bounded_type(field)]  # type: ignore[misc]

    def column(records: Sequence[Record]) -> Iterable[bytes]:
        return map(pack, msgspec.convert(list(map(value_of, records)), many))

    return column


def _run(fields: Sequence[Field], names: frozenset[str]) -> Piece:
    present = [field for field in fields if field.name in names]
    if not present:
        return lambda _: repeat(_NULL * len(fields))
    return _Doubles(fields, present)


class _Doubles:
    """A run of fields that are doubles, of which only `present` occur in the records.

    Without nulls, all records take the same bytes: 8 for a value that is present, after the branch where it is
    nullable, and one for each that is not there. `_template` is that row with zeros for values; `_slots` says where
    the values go.
    """

    def __init__(self, fields: Sequence[Field], present: Sequence[Field]) -> None:
        self._values_of = _values_of([field.name for field in present])
        self._rows_type = list[tuple[tuple(map(bounded_type, present))]]  # type: ignore[misc]
        row = bytearray()
        offsets = []
        for field in fields:
            if field in present:
                row += _PRESENT if field.nullable else b""
                offsets.append(len(row))
                row += bytes(_DOUBLE_BYTES)
            else:
                row += _NULL
        self._template = bytes(row)
        self._offsets = np.array(offsets)
        self._names = [field.name for field in present]
        formats = ["<f8"] * len(present)
        self._slots = np.dtype({"names": self._names, "formats": formats, "offsets": offsets, "itemsize": len(row)})

    def __call__(self, records: Sequence[Record]) -> Iterable[bytes]:
        rows = msgspec.convert(list(map(self._values_of, records)), self._rows_type)
        values = _matrix(rows, len(self._names))
        data = bytearray(self._template * len(rows))
        slots = np.frombuffer(data, self._slots)
        for name, column in zip(self._names, values.T, strict=True):
            slots[name] = column
        nulls = np.isnan(values)  # a NaN in a record is out of bounds, so these were None
        if nulls.any():
            return self._without_nulls(slots, nulls)
        return (row for (row,) in struct.iter_unpack(f"{len(self._template)}s", data))

    def _without_nulls(self, slots: npt.NDArray[Any], nulls: npt.NDArray[np.bool_]) -> Iterator[bytes]:
        """Turn the branch of each null to 0 and cut out its 8 bytes."""
        width = len(self._template)
        data = slots.view(np.uint8).reshape(-1, width)
        row, column = np.nonzero(nulls)
        offset = self._offsets[column]
        data[row, offset - 1] = 0
        keep = np.ones(data.shape, np.bool_)
        keep[row[:, None], offset[:, None] + np.arange(_DOUBLE_BYTES)] = False
        kept = data[keep].tobytes()
        ends = np.cumsum(width - _DOUBLE_BYTES * nulls.sum(axis=1)).tolist()
        return (kept[start:end] for start, end in zip([0, *ends], ends, strict=False))


def _matrix(rows: Sequence[tuple[float | None, ...]], width: int) -> npt.NDArray[np.float64]:
    """`rows` of `width` as one array, None as NaN.

    MessagePack writes a float as a tag and 8 bytes and None as a tag alone, so a stream of the greatest length has no
    None and its values at equal distances: reading them there takes a fraction of the time that numpy needs to
    convert the objects. https://github.com/msgpack/msgpack/blob/master/spec.md
    """
    stream = msgspec.msgpack.encode(rows)
    row_header, value_bytes = _array_header(width), 1 + _DOUBLE_BYTES
    start, row_bytes = _array_header(len(rows)) + row_header, row_header + width * value_bytes
    if len(stream) < start - row_header + len(rows) * row_bytes:
        return np.array(rows, np.float64)
    return np.ndarray((len(rows), width), ">f8", stream, start + 1, (row_bytes, value_bytes))


def _array_header(length: int) -> int:
    """How many bytes MessagePack puts before an array of `length` elements."""
    if length < 1 << 4:
        return 1
    return 3 if length < 1 << 16 else 5


def bounded_type(field: Field) -> Any:
    """The type whose values `msgspec.convert` passes exactly where they keep `field`'s part of the contract."""
    plain = _bounded(field)
    return plain | None if field.nullable else plain


def _bounded(field: Field) -> Any:
    if field.kind is Kind.STRING:
        return str
    if field.kind is Kind.BOOLEAN:
        return bool
    low = -math.inf if field.minimum is None else field.minimum
    high = math.inf if field.maximum is None else field.maximum
    if bits := INTEGER_BITS.get(field.kind):
        limit = 1 << (bits - 1)
        low, high = math.ceil(max(low, -limit)), math.floor(min(high, limit - 1))
        return Annotated[int, msgspec.Meta(ge=low, le=high)]
    largest = LARGEST[field.kind]  # as a bound, it refuses infinity, and NaN is within no bounds
    return Annotated[float, msgspec.Meta(ge=max(float(low), -largest), le=min(float(high), largest))]


def _pack(field: Field) -> Pack:
    pack = _PACKS[field.kind]
    if not field.nullable:
        return pack
    return lambda value: _NULL if value is None else _PRESENT + pack(value)


@lru_cache(_REMEMBERED)
def _varint(value: int) -> bytes:
    rest = value << 1 ^ value >> 63  # zigzag
    data = bytearray([rest & 0x7F])
    while rest := rest >> 7:
        data[-1] |= 0x80
        data.append(rest & 0x7F)
    return bytes(data)


def _text(value: str) -> bytes:
    data = value.encode()
    return _varint(len(data)) + data


_PACKS: dict[Kind, Pack] = {
    Kind.BOOLEAN: lambda value: b"\x01" if value else b"\x00",
    Kind.INT: _varint,
    Kind.LONG: _varint,
    Kind.FLOAT: struct.Struct("<f").pack,
    Kind.DOUBLE: struct.Struct("<d").pack,
    Kind.STRING: _text,
    Kind.TIMESTAMP: _varint,
    Kind.DATE: _varint,
}


def _values_of(names: Sequence[str]) -> Callable[[Record], tuple[Value, ...]]:
    """A function that takes the values of `names` out of a record. It raises KeyError where one is missing."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda record: tuple(record[name] for name in names)


def _json_key(fields: Sequence[Field], values: Sequence[Any]) -> bytes:
    """One line of JSON. A 52 in a field of doubles is 52.0, so that it cannot be a second key for one place."""
    floats = {Kind.DOUBLE, Kind.FLOAT}  # + 0.0 makes a -0.0 a 0.0, for the same reason
    key = {
        field.name: float(value) + 0.0 if field.kind in floats else value
        for field, value in zip(fields, values, strict=True)
    }
    return json.dumps(key, separators=(",", ":"), ensure_ascii=False).encode()
