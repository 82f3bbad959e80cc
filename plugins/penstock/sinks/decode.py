"""From what Spark hands over of a record to the rows of its contract, by the wire format of the topic."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pyarrow as pa

from penstock.core.contract import Contract
from penstock.core.pipeline import Wire
from penstock.sinks import json_rows
from penstock.sinks.columns import Mask, taken
from penstock.sinks.json_rows import Decoded
from penstock.sinks.landing import Request
from penstock.sinks.shares import Share


class Decode(Protocol):
    """Decodes the column `record` of a window, which has the records of one share alone."""

    def __call__(self, window: pa.RecordBatch, share: Share) -> Decoded:
        """Rows that decode, though they may break the contract, and what is wrong with the others."""
        ...


def decoder(request: Request) -> Decode:
    """The decoder of the request's wire format. Raises Fatal where its normaliser does not exist."""
    return _Json(request) if request.wire is Wire.JSON else _Avro(request.contract)


class _Json:
    """`record` is the message's value, and the work is done here."""

    def __init__(self, request: Request) -> None:
        self._contract = request.contract
        self._normalise = json_rows.normaliser(request.normaliser)

    def __call__(self, window: pa.RecordBatch, share: Share) -> Decoded:
        normalise = self._normalise if share.by_others else None
        return json_rows.decode(window.column("record"), self._contract, normalise)


class _Avro:
    """`record` is the struct that Spark decoded.

    It is null where its framing names no known schema, a struct of nulls where its body does not decode.
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract

    def __call__(self, window: pa.RecordBatch, share: Share) -> Decoded:
        records = window.column("record")
        rows = pa.RecordBatch.from_arrays(records.flatten(), names=[each.name for each in records.type])
        unframed = records.is_null().to_numpy(zero_copy_only=False)
        undecoded = rows.column(self._contract.key[0]).is_null().to_numpy(zero_copy_only=False) & ~unframed
        broken = dict.fromkeys(_true(unframed), "the value does not begin with the id of a schema of its batch")
        broken |= dict.fromkeys(_true(undecoded), f"the value does not decode by schema {share.schema_id}")
        where = np.flatnonzero(~(unframed | undecoded))
        return Decoded(taken(rows, where), where, broken)


def _true(mask: Mask) -> list[int]:
    rows: list[int] = np.flatnonzero(mask).tolist()
    return rows
