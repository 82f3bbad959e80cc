"""JSON objects, as they lie on a topic, as Arrow rows of a contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeAlias, get_type_hints, is_typeddict

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.json

from penstock.core.contract import Contract
from penstock.core.errors import Fatal, Reject
from penstock.core.record import Record
from penstock.sinks.columns import arrow_schema, physical_rows, taken, violations
from penstock.sinks.keys import Indices

Normaliser: TypeAlias = Callable[[Any], Record]
"""Makes a record of the contract from what others write. Raises Reject where it cannot.

Where its parameter is annotated with a TypedDict, objects are parsed for the fields of that alone: see `parser`.
"""

Parse: TypeAlias = Callable[[bytes | None], Any]
"""Finds the JSON value in the bytes of a message. Raises Reject where there is none."""

_FEW = 16
"""So few values are decoded one by one, which names the bad ones."""


@dataclass(frozen=True)
class Decoded:
    """The rows of some values, where among them each row stood, and why the others are none."""

    rows: pa.RecordBatch
    where: Indices
    rejects: Mapping[int, str]


def normaliser(name: str | None) -> Normaliser | None:
    """The function that `module:function` names. Raises Fatal where there is none."""
    if name is None:
        return None
    module, _, function = name.partition(":")
    try:
        found: Normaliser = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise Fatal(f"there is no function {name} to normalise records with: {error}") from error
    return found


def decode(values: pa.Array, contract: Contract, normalise: Normaliser | None = None) -> Decoded:
    """Decode JSON objects, given as binary.

    Rows have the contract's physical types; whether their values keep it is not judged here. Values that are all plain
    are parsed by Arrow at once; otherwise they are halved until the odd ones stand alone. With `normalise`, each value
    goes through it.
    """
    if normalise is not None:
        return _one_by_one(values.to_pylist(), contract, normalise)
    options = pyarrow.json.ParseOptions(_unjudged(contract), unexpected_field_behavior="error")
    return _decoded(values.to_pylist(), 0, contract, options)


def judged(decoded: Decoded, contract: Contract) -> Decoded:
    """Only the rows that keep the contract, in its physical types, and what is wrong with all others."""
    rows, where = physical_rows(decoded.rows, contract), decoded.where
    violating = violations(rows, contract)
    broken = dict(decoded.rejects) | {int(where[row]): reason for row, reason in violating.items()}
    good = np.setdiff1d(np.arange(rows.num_rows), list(violating)) if violating else np.arange(rows.num_rows)
    return Decoded(taken(rows, good), where[good], broken)


def _decoded(values: Sequence[bytes | None], start: int, contract: Contract, options: Any) -> Decoded:
    if len(values) < _FEW:
        found = _one_by_one(values, contract, None)
    elif (rows := _parsed(values, options)) is not None:
        found = Decoded(rows, np.arange(len(values)), {})
    else:
        half = len(values) // 2
        parts = [
            _decoded(values[:half], 0, contract, options),
            _decoded(values[half:], half, contract, options),
        ]
        found = _joined(parts, contract)
    return Decoded(found.rows, found.where + start, {start + at: reason for at, reason in found.rejects.items()})


def _parsed(values: Sequence[bytes | None], options: Any) -> pa.RecordBatch | None:
    """A row for each value, or None where they are not all plain objects of the contract's types."""
    if not all(value and value[:1] == b"{" and value[-1:] == b"}" and b"\n" not in value for value in values):
        return None
    lines = b"\n".join(values)  # type: ignore[arg-type]  # none is None
    reading = pyarrow.json.ReadOptions(use_threads=False, block_size=len(lines) + 1)
    try:
        table = pyarrow.json.read_json(pa.BufferReader(lines), read_options=reading, parse_options=options)
        table.validate(full=True)  # Arrow's parser lets bytes through that are no UTF-8
    except pa.ArrowException:
        return None
    if table.num_rows != len(values):
        return None
    return table.combine_chunks().to_batches()[0]


def _one_by_one(values: Sequence[bytes | None], contract: Contract, normalise: Normaliser | None) -> Decoded:
    parsed = parser(normalise)
    rows: list[Record] = []
    where: list[int] = []
    rejects: dict[int, str] = {}
    for at, value in enumerate(values):
        try:
            rows.append(_row(parsed(value), contract, normalise))
            where.append(at)
        except Reject as reject:
            rejects[at] = str(reject)
    table = pa.RecordBatch.from_pylist(rows, schema=arrow_schema(contract))
    return Decoded(table, np.array(where, dtype=np.int64), rejects)


def _row(found: Any, contract: Contract, normalise: Normaliser | None) -> Record:
    record = found if normalise is None else normalise(found)
    if not isinstance(record, dict):
        raise Reject(f"the value is a JSON {type(record).__name__}, not an object")
    if reason := contract.violation(record):
        raise Reject(reason)
    return record


def parse(value: bytes | None) -> Any:
    """The whole JSON value in the bytes of a message. Raises Reject where there is none."""
    if value is None:
        raise Reject("the record has no value")
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Reject(f"the value is no JSON: {error}") from error


def parser(normalise: Normaliser | None) -> Parse:
    """How to parse values for this normaliser: whole, or objects for those fields alone that it says it reads.

    An event of Wikimedia is parsed for its four fields in a third of the time. All of it must be JSON in UTF-8 still.
    """
    shape = None if normalise is None else next(iter(get_type_hints(normalise).values()), None)
    if not is_typeddict(shape):
        return parse
    decode_shape = msgspec.json.Decoder(shape).decode

    def parse_shape(value: bytes | None) -> Any:
        try:
            if value is not None and (value.isascii() or value.decode()):
                return decode_shape(value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass  # what it is instead is for the normaliser to say, or for the other parser
        return parse(value)

    return parse_shape


def _unjudged(contract: Contract) -> pa.Schema:
    """The contract's types, with room for a null in every field."""
    return pa.schema([(field.name, field.type) for field in arrow_schema(contract)])


def _joined(parts: Sequence[Decoded], contract: Contract) -> Decoded:
    schema = _unjudged(contract)
    batches = [each.rows.select(schema.names).cast(schema) for each in parts]
    return Decoded(
        rows=pa.concat_batches(batches),
        where=np.concatenate([each.where for each in parts]),
        rejects={at: reason for each in parts for at, reason in each.rejects.items()},
    )
