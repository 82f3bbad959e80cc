"""A contract's fields as Arrow columns of physical values: types, validation and derived buckets, column by column."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.core.contract import Bucket, Contract, Field, Kind
from penstock.core.errors import Fatal

Mask = npt.NDArray[np.bool_]

_PHYSICAL: dict[Kind, pa.DataType] = {
    Kind.BOOLEAN: pa.bool_(),
    Kind.INT: pa.int32(),
    Kind.LONG: pa.int64(),
    Kind.FLOAT: pa.float32(),
    Kind.DOUBLE: pa.float64(),
    Kind.STRING: pa.string(),
    Kind.TIMESTAMP: pa.int64(),
    Kind.DATE: pa.int32(),
}

_NUMPY_TIME = {Kind.TIMESTAMP: "datetime64[ms]", Kind.DATE: "datetime64[D]"}
NUMPY_BUCKET = {"month": "datetime64[M]"}


def arrow_schema(contract: Contract) -> pa.Schema:
    """The contract's fields as physical values: a timestamp is an int64 of ms, a date an int32 of days."""
    return pa.schema([pa.field(each.name, _PHYSICAL[each.kind], each.nullable) for each in contract.fields])


def physical_rows(rows: pa.RecordBatch, contract: Contract) -> pa.RecordBatch:
    """`rows` with exactly the contract's columns and physical types; a column that is missing is all null.

    Raises Fatal, naming the column, for one that the contract does not have, or whose type does not fit it.
    """
    if unknown := sorted(set(rows.schema.names) - contract.by_name.keys()):
        raise Fatal(f"the rows have columns that {contract.name} does not: {', '.join(unknown)}")
    columns = [_physical(rows, each) for each in contract.fields]
    return pa.RecordBatch.from_arrays(columns, schema=arrow_schema(contract))


def _physical(rows: pa.RecordBatch, field: Field) -> pa.Array:
    wanted = _PHYSICAL[field.kind]
    if field.name not in rows.schema.names:
        return pa.nulls(rows.num_rows, wanted)
    column = rows.column(field.name)
    if column.type == wanted:
        return column
    try:
        if field.kind is Kind.TIMESTAMP and pa.types.is_timestamp(column.type):
            return column.cast(pa.timestamp("ms", column.type.tz)).cast(wanted)
        if pa.types.is_string(column.type) != (field.kind is Kind.STRING):
            raise Fatal(f"column {field.name} is of type {column.type}, which is no {field.kind}")
        return column.cast(wanted)
    except pa.ArrowException as error:
        raise Fatal(
            f"column {field.name} is of type {column.type}, which does not fit {field.kind}: {error}"
        ) from error


def taken(rows: pa.RecordBatch, chosen: npt.NDArray[np.int64]) -> pa.RecordBatch:
    """Some of the rows, by their ascending indices."""
    return rows if len(chosen) == rows.num_rows else rows.take(pa.array(chosen))


def violations(rows: pa.RecordBatch, contract: Contract) -> dict[int, str]:
    """{row: why it breaks the contract} for physical rows, in the contract's own words.

    Whole columns find the suspects; only those are then judged one by one.
    """
    suspects = np.zeros(rows.num_rows, dtype=np.bool_)
    for field, column in zip(contract.fields, rows.columns, strict=True):
        found = _suspects(field, column)
        if found is not None:
            suspects |= found
    judged = ((int(row), contract.violation(rows.slice(row, 1).to_pylist()[0])) for row in np.flatnonzero(suspects))
    return {row: reason for row, reason in judged if reason}


def _suspects(field: Field, column: pa.Array) -> Mask | None:
    null = None if column.null_count == 0 else column.is_null().to_numpy(zero_copy_only=False)
    broken = null if null is not None and not field.nullable else None
    if pa.types.is_floating(column.type) or field.minimum is not None or field.maximum is not None:
        values = column if null is None else pc.fill_null(column, 0)
        outside = _outside(field, values.to_numpy(zero_copy_only=False))
        if outside.any():
            outside = outside if null is None else outside & ~null
            broken = outside if broken is None else broken | outside
    return broken


def _outside(field: Field, values: npt.NDArray[Any]) -> Mask:
    outside: Mask = ~np.isfinite(values)
    if field.minimum is not None:
        outside |= values < field.minimum
    if field.maximum is not None:
        outside |= values > field.maximum
    return outside


def bucket_labels(bucket: Bucket, times: pa.Array, kind: Kind) -> pa.Array:
    """The bucket of each event time as text, "2026-11" for a month; `times` are physical values without nulls."""
    stamps = times.to_numpy().astype(_NUMPY_TIME[kind])
    distinct, codes = np.unique(stamps.astype(NUMPY_BUCKET[bucket.by]), return_inverse=True)
    return pa.array(np.datetime_as_string(distinct), pa.string()).take(pa.array(codes))
