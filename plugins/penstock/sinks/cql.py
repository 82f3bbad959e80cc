"""Rows in the bytes of Cassandra's native protocol, encoded column by column instead of value by value.

https://github.com/apache/cassandra/blob/trunk/doc/native_protocol_v5.spec: a BATCH holds queries, each of them a
prepared statement's id and its values; a value is an int32 of its length and its bytes, and length -2 leaves a column
unset. The driver binds and serialises each value with Python calls, which costs more than the server's own work.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from cassandra import ProtocolVersion
from cassandra.protocol import BatchMessage, ProtocolHandler
from cassandra.query import BatchStatement, BatchType

from penstock.core.contract import Kind
from penstock.sinks.columns import Mask

_WIRE = {
    Kind.BOOLEAN: "u1",
    Kind.INT: ">i4",
    Kind.LONG: ">i8",
    Kind.FLOAT: ">f4",
    Kind.DOUBLE: ">f8",
    Kind.TIMESTAMP: ">i8",
    Kind.DATE: ">u4",
}

DATE_OF_EPOCH = 1 << 31
"""A CQL date counts days from here, unsigned."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LENGTH = struct.Struct(">i")
_SHORT = struct.Struct(">H")
_UNSET = -2
_PREPARED = b"\x01"
_BATCH_HEAD = struct.Struct(">BBhBiBH")  # version, flags, stream, opcode, length; type of batch, number of queries
_BATCH_BODY_HEAD = 3
_TIMESTAMP_FLAG = 0x20


def write_timestamp(as_of: datetime) -> int:
    """`as_of` as the microseconds since the epoch that CQL takes for the time of a write."""
    return (as_of - _EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True)
class EncodedRows:
    """Queries of a BATCH, one after the other: row i is the bytes from `offsets[i]` to `offsets[i + 1]`."""

    data: memoryview
    offsets: npt.NDArray[np.int64]

    def slice(self, begin: int, end: int) -> memoryview:
        """The bytes of the rows [begin, end), without a copy."""
        return self.data[self.offsets[begin] : self.offsets[end]]

    def cuts(self, begin: int, end: int, rows: int, size: int) -> Iterator[tuple[int, int]]:
        """[begin, end) in pieces of at most `rows` rows and `size` bytes; a longer row is a piece of its own."""
        while begin < end:
            last = min(begin + rows, end)
            if self.offsets[last] - self.offsets[begin] > size:
                fitting = int(np.searchsorted(self.offsets, self.offsets[begin] + size, side="right")) - 1
                last = max(begin + 1, fitting)
            yield begin, last
            begin = last


def encode_rows(statement_id: bytes, columns: Sequence[pa.Array], kinds: Sequence[Kind]) -> EncodedRows:
    """Encode rows of physical values for the prepared statement whose bind markers are `columns`, in their order."""
    head = _PREPARED + _SHORT.pack(len(statement_id)) + statement_id + _SHORT.pack(len(columns))
    rows = len(columns[0])
    parts: list[pa.Array] = []
    block = _Block(rows, head)
    for column, kind in zip(columns, kinds, strict=True):
        if kind is Kind.STRING:
            fixed = _fixed_width(column)
            if fixed is not None:
                block.add(fixed, None)
                continue
            block.add_lengths(column)
            parts += [block.encoded(), pc.fill_null(column.cast(pa.large_binary()), b"")]
            block = _Block(rows, b"")
        else:
            block.add(_values(column, kind), _null_mask(column))
    parts.append(block.encoded())
    joined = parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, pa.scalar(b"", pa.large_binary()))
    _, offsets, data = joined.buffers()
    return EncodedRows(memoryview(data), np.frombuffer(offsets, np.int64, rows + 1))


class _Block:
    """Values of fixed width beside each other: one row of a byte matrix for each row."""

    def __init__(self, rows: int, head: bytes) -> None:
        self._rows = rows
        self._template = bytearray(head)
        self._columns: list[tuple[int, npt.NDArray[Any], Mask | None]] = []

    def add(self, values: npt.NDArray[Any], null: Mask | None) -> None:
        self._template += _LENGTH.pack(values.itemsize) + bytes(values.itemsize)
        self._columns.append((len(self._template) - values.itemsize, values, null))

    def add_lengths(self, strings: pa.Array) -> None:
        """Only the lengths of a column whose bytes follow the block."""
        lengths = pc.fill_null(pc.binary_length(strings), _UNSET).to_numpy().astype(">i4")
        self._template += bytes(lengths.itemsize)
        self._columns.append((len(self._template) - lengths.itemsize, lengths, None))

    def encoded(self) -> pa.Array:
        """The block as one binary value a row."""
        width = len(self._template)
        matrix = np.empty((self._rows, width), np.uint8)
        matrix[:] = np.frombuffer(self._template, np.uint8)
        widths = np.full(self._rows, width, np.int64)
        kept: npt.NDArray[np.bool_] | None = None
        for at, values, null in self._columns:
            end = at + values.itemsize
            matrix[:, at:end].view(values.dtype)[:, 0] = values
            if null is not None:
                kept = np.ones(matrix.shape, np.bool_) if kept is None else kept
                kept[null, at:end] = False
                matrix[null, at - _LENGTH.size : at] = np.frombuffer(_LENGTH.pack(_UNSET), np.uint8)
                widths[null] -= values.itemsize
        data = matrix.reshape(-1) if kept is None else matrix[kept]
        offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(widths)))
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
        return pa.LargeBinaryArray.from_buffers(pa.large_binary(), self._rows, buffers)


def _values(column: pa.Array, kind: Kind) -> npt.NDArray[Any]:
    filled = pc.fill_null(column, False if kind is Kind.BOOLEAN else 0) if column.null_count else column
    values: npt.NDArray[Any] = filled.to_numpy(zero_copy_only=False)
    if kind is Kind.DATE:
        values = values.astype(np.int64) + DATE_OF_EPOCH
    return values.astype(_WIRE[kind])


def _null_mask(column: pa.Array) -> Mask | None:
    return column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None


def _fixed_width(strings: pa.Array) -> npt.NDArray[np.void] | None:
    """Strings of one length as numpy values, or None where they differ in it, are empty or absent."""
    if strings.null_count or not len(strings):
        return None
    _, offset_buffer, data = strings.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32)[strings.offset : strings.offset + len(strings) + 1]
    width = int(offsets[1] - offsets[0])
    if not width or (np.diff(offsets) != width).any():
        return None
    return np.frombuffer(data, f"V{width}", len(strings), int(offsets[0]))


@dataclass(frozen=True)
class _Queries:
    """What takes the place of the driver's list of queries. Its length is their number, as the list's would be."""

    body: memoryview
    count: int
    timestamp: int

    def __len__(self) -> int:
        return self.count


class EncodedBatch(BatchStatement):  # type: ignore[misc]
    """An unlogged batch of encoded rows of one partition; `timestamp` is the write timestamp in microseconds.

    It must be executed by a session whose `client_protocol_handler` is EncodedBatchProtocol.
    """

    def __init__(self, body: memoryview, count: int, timestamp: int, routing_key: Sequence[bytes]) -> None:
        super().__init__(BatchType.UNLOGGED)
        self._statements_and_parameters = _Queries(body, count, timestamp)
        self.routing_key = routing_key[0] if len(routing_key) == 1 else list(routing_key)
        self.is_idempotent = True


class EncodedBatchProtocol(ProtocolHandler):  # type: ignore[misc]
    """The driver's protocol handler, which also sends an EncodedBatch, as it is."""

    @classmethod
    def encode_message(cls, msg: Any, stream_id: int, protocol_version: int, *args: Any, **kwargs: Any) -> bytes:
        """The frame of one message; signature and meaning are the driver's."""
        if isinstance(msg, BatchMessage) and isinstance(msg.queries, _Queries):
            return _batch_frame(msg, msg.queries, stream_id, protocol_version)
        frame: bytes = super().encode_message(msg, stream_id, protocol_version, *args, **kwargs)
        return frame


def _batch_frame(msg: BatchMessage, queries: _Queries, stream_id: int, protocol_version: int) -> bytes:
    flags = "i" if ProtocolVersion.uses_int_query_flags(protocol_version) else "B"
    tail = struct.pack(f">H{flags}q", msg.consistency_level, _TIMESTAMP_FLAG, queries.timestamp)
    length = _BATCH_BODY_HEAD + len(queries.body) + len(tail)
    head = _BATCH_HEAD.pack(protocol_version, 0, stream_id, msg.opcode, length, msg.batch_type.value, queries.count)
    return b"".join((head, queries.body, tail))


def routing_key(row: memoryview, statement_id: bytes, components: int) -> tuple[bytes, ...]:
    """The values of an encoded row's first `components` columns, which must be the partition key's."""
    at = len(_PREPARED) + 2 * _SHORT.size + len(statement_id)
    values = []
    for _ in range(components):
        (length,) = _LENGTH.unpack_from(row, at)
        at += _LENGTH.size
        values.append(bytes(row[at : at + length]))
        at += length
    return tuple(values)
