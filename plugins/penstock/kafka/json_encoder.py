"""JSON bytes from dicts: one object a record, of the contract's fields in its order, without those that are null."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.core.contract import Contract
from penstock.core.errors import Reject
from penstock.core.record import Record
from penstock.kafka.encoder import bounded_type


class JsonEncoder:
    """Encodes the records of one contract.

    msgspec checks a whole chunk against a type built from the contract. A chunk that is not entirely plain is halved
    until the odd records stand alone; those are judged by the contract itself.
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        fields = [
            (each.name, bounded_type(each), None) if each.nullable else (each.name, bounded_type(each))
            for each in contract.fields
        ]
        self._type = msgspec.defstruct(
            contract.name, fields, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
        )
        self._many = list[self._type]  # type: ignore[name-defined]
        self._encode = msgspec.json.Encoder().encode

    def encode(self, record: Record) -> bytes:
        """Return the object of `record`. Raises Reject with the reason where it breaks the contract."""
        if reason := self._contract.violation(record):
            raise Reject(reason)
        try:
            return self._encode(msgspec.convert(record, self._type))
        except UnicodeEncodeError as error:
            raise Reject(f"a text holds {error.object[error.start : error.end]!r}, which UTF-8 cannot carry") from error

    def encode_many(self, records: Sequence[Record]) -> list[bytes | Reject]:
        """`encode` for each of `records`, with the Reject in the place of a record that is refused."""
        if len(records) == 1:
            try:
                return [self.encode(records[0])]
            except Reject as reject:
                return [reject]
        try:
            return list(map(self._encode, msgspec.convert(records, self._many)))
        except (msgspec.ValidationError, UnicodeEncodeError):
            half = len(records) // 2
            return self.encode_many(records[:half]) + self.encode_many(records[half:])
