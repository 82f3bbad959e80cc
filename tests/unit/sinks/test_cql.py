"""Rows encoded column by column are, byte for byte, what the driver makes of the same values one by one."""

import struct
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from cassandra import ConsistencyLevel
from cassandra.cqltypes import (
    BooleanType,
    DateType,
    DoubleType,
    FloatType,
    Int32Type,
    LongType,
    SimpleDateType,
    UTF8Type,
)
from cassandra.protocol import BatchMessage, ColumnMetadata, ProtocolHandler, QueryMessage
from cassandra.query import UNSET_VALUE, BatchStatement, BatchType, PreparedStatement
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.contract import Kind
from penstock.sinks.cql import (
    DATE_OF_EPOCH,
    EncodedBatch,
    EncodedBatchProtocol,
    encode_rows,
    routing_key,
    write_timestamp,
)

STATEMENT_ID = bytes(range(16))
TIMESTAMP = 1_764_547_201_123_456
STREAM = 77

CQL_TYPES = {
    Kind.BOOLEAN: BooleanType,
    Kind.INT: Int32Type,
    Kind.LONG: LongType,
    Kind.FLOAT: FloatType,
    Kind.DOUBLE: DoubleType,
    Kind.STRING: UTF8Type,
    Kind.TIMESTAMP: DateType,
    Kind.DATE: SimpleDateType,
}

ARROW_TYPES = {
    Kind.BOOLEAN: pa.bool_(),
    Kind.INT: pa.int32(),
    Kind.LONG: pa.int64(),
    Kind.FLOAT: pa.float32(),
    Kind.DOUBLE: pa.float64(),
    Kind.STRING: pa.string(),
    Kind.TIMESTAMP: pa.int64(),
    Kind.DATE: pa.int32(),
}

LONGS = st.integers(-(2**63), 2**63 - 1)
VALUES = {
    Kind.BOOLEAN: st.booleans(),
    Kind.INT: st.integers(-(2**31), 2**31 - 1),
    Kind.LONG: LONGS,
    Kind.FLOAT: st.floats(width=32, allow_nan=False),
    Kind.DOUBLE: st.floats(allow_nan=False),
    Kind.STRING: st.text(max_size=12) | st.just("2026-11"),
    Kind.TIMESTAMP: LONGS,
    Kind.DATE: st.integers(-(2**31), 2**31 - 1),
}


def driver_frame(kinds, rows, version):
    """The frame that the driver itself makes of `rows`."""
    columns = [ColumnMetadata("k", "t", f"c{at}", CQL_TYPES[kind]) for at, kind in enumerate(kinds)]
    prepared = PreparedStatement(columns, STATEMENT_ID, None, "INSERT", "k", version, None, None)
    batch = BatchStatement(BatchType.UNLOGGED)
    for row in rows:
        batch.add(prepared, [driver_value(kind, value) for kind, value in zip(kinds, row, strict=True)])
    message = BatchMessage(
        batch.batch_type, batch._statements_and_parameters, ConsistencyLevel.LOCAL_QUORUM, None, TIMESTAMP
    )
    return ProtocolHandler.encode_message(message, STREAM, version, None, False)


def driver_value(kind, value):
    if value is None:
        return UNSET_VALUE
    return value + DATE_OF_EPOCH if kind is Kind.DATE else value


def our_frame(kinds, rows, version):
    encoded = encode_rows(STATEMENT_ID, arrays(kinds, rows), kinds)
    batch = EncodedBatch(encoded.slice(0, len(rows)), len(rows), TIMESTAMP, [b"key"])
    message = BatchMessage(batch.batch_type, batch._statements_and_parameters, ConsistencyLevel.LOCAL_QUORUM)
    return EncodedBatchProtocol.encode_message(message, STREAM, version, None, False)


def arrays(kinds, rows):
    return [pa.array([row[at] for row in rows], ARROW_TYPES[kind]) for at, kind in enumerate(kinds)]


@st.composite
def tables(draw):
    kinds = draw(st.lists(st.sampled_from(list(Kind)), min_size=1, max_size=9))
    row = st.tuples(*(st.none() | VALUES[kind] for kind in kinds))
    return kinds, draw(st.lists(row, min_size=1, max_size=7))


@given(tables(), st.sampled_from([4, 5]))
def test_rows_have_the_bytes_the_driver_gives_them(table, version):
    kinds, rows = table
    assert our_frame(kinds, rows, version) == driver_frame(kinds, rows, version)


@given(tables(), st.data())
def test_any_slice_of_the_rows_is_a_batch_of_its_own(table, data):
    kinds, rows = table
    begin = data.draw(st.integers(0, len(rows) - 1))
    end = data.draw(st.integers(begin + 1, len(rows)))
    whole = encode_rows(STATEMENT_ID, arrays(kinds, rows), kinds)
    part = encode_rows(STATEMENT_ID, arrays(kinds, rows[begin:end]), kinds)
    assert bytes(whole.slice(begin, end)) == bytes(part.slice(0, end - begin))


@pytest.mark.parametrize("kind", list(Kind))
def test_a_sliced_column_gives_the_bytes_of_its_own_rows(kind):
    rows = [(value,) for value in ([True, None, False] if kind is Kind.BOOLEAN else ["1", None, "22"])]
    if kind not in {Kind.BOOLEAN, Kind.STRING}:
        rows = [(1,), (None,), (2,)]
    column = arrays([kind], rows)[0]
    sliced = encode_rows(STATEMENT_ID, [column.slice(1, 2)], [kind])
    assert bytes(sliced.data[: sliced.offsets[-1]]) == bytes(
        encode_rows(STATEMENT_ID, arrays([kind], rows[1:]), [kind]).slice(0, 2)
    )


def test_all_columns_null_leaves_only_lengths():
    encoded = encode_rows(
        STATEMENT_ID, [pa.nulls(2, pa.float64()), pa.nulls(2, pa.string())], [Kind.DOUBLE, Kind.STRING]
    )
    assert bytes(encoded.slice(0, 1)).endswith(struct.pack(">Hii", 2, -2, -2))


def test_other_messages_are_left_to_the_driver():
    message = QueryMessage("SELECT now() FROM system.local", ConsistencyLevel.ONE)
    ours = EncodedBatchProtocol.encode_message(message, STREAM, 5, None, allow_beta_protocol_version=False)
    assert ours == ProtocolHandler.encode_message(message, STREAM, 5, None, allow_beta_protocol_version=False)


def test_the_routing_key_holds_the_leading_columns():
    kinds = [Kind.DOUBLE, Kind.STRING, Kind.INT]
    encoded = encode_rows(STATEMENT_ID, arrays(kinds, [(52.5, "2026-11", 3)]), kinds)
    assert routing_key(encoded.slice(0, 1), STATEMENT_ID, 2) == (struct.pack(">d", 52.5), b"2026-11")
    assert EncodedBatch(encoded.slice(0, 1), 1, 0, [b"a", b"bc"]).routing_key == b"\0\1a\0\0\2bc\0"
    assert EncodedBatch(encoded.slice(0, 1), 1, 0, [b"alone"]).routing_key == b"alone"


@given(st.lists(st.text(max_size=30), min_size=1, max_size=40), st.integers(1, 10), st.integers(1, 400))
def test_cuts_keep_order_rows_and_limits(texts, most_rows, most_bytes):
    encoded = encode_rows(STATEMENT_ID, [pa.array(texts)], [Kind.STRING])
    cuts = list(encoded.cuts(0, len(texts), most_rows, most_bytes))
    assert [row for begin, end in cuts for row in range(begin, end)] == list(range(len(texts)))
    assert all(end - begin <= most_rows for begin, end in cuts)
    assert all(end - begin == 1 or len(encoded.slice(begin, end)) <= most_bytes for begin, end in cuts)


def test_the_write_timestamp_keeps_the_microseconds():
    assert write_timestamp(datetime(2025, 12, 1, 0, 0, 1, 123456, UTC)) == TIMESTAMP
    assert write_timestamp(datetime(1970, 1, 1, tzinfo=UTC) - timedelta(microseconds=1)) == -1
