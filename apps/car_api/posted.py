"""What is posted to `/api/logs`: read from JSON or JSON lines, and held to the contract as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from apps.car_api.sales import EPOCH
from penstock.core.contract import Contract, Kind
from penstock.core.errors import Reject
from penstock.core.record import Record
from penstock.kafka.courier import LARGEST_VALUE
from penstock.kafka.encoder import Identity
from penstock.kafka.json_encoder import JsonEncoder

MOST_REASONS = 20
"""Records that a refusal names; it counts the others."""

_CHUNK = 1_000
"""Records that are encoded at once, so that other threads get their turn in between."""

_EXCERPT = 100
_REASON_LIMIT = 300
"""Characters of a reason, which may quote the value that was wrong."""

_NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_MS = timedelta(milliseconds=1)


class BadRecord(NamedTuple):
    """A record that breaks the contract: its place in what was posted, counted from 1, and why."""

    position: int
    reason: str


class Refusal(Exception):
    """Nothing of what was posted is taken; the message is one sentence."""

    def __init__(self, message: str, records: Sequence[BadRecord] = ()) -> None:
        super().__init__(message)
        self.records = records


class Messages(NamedTuple):
    """The values and keys under which records go to Kafka, in the order in which they were posted."""

    values: Sequence[bytes]
    keys: Sequence[bytes]


class Desk:
    """Takes posted bodies of one contract's records."""

    def __init__(self, contract: Contract) -> None:
        self._encoder = JsonEncoder(contract)
        self._identity = Identity(contract)
        self._times = [field.name for field in contract.fields if field.kind is Kind.TIMESTAMP]

    def take(self, body: bytes) -> Messages:
        """The messages of all records in `body`. Raises Refusal where it is malformed or a record breaks the contract.

        The body is one JSON object, a list of them, or one of them a line. A time may be a text in ISO 8601 with its
        UTC offset.
        """
        posted = _parsed(body)
        good: list[Any] = []
        values: list[bytes] = []
        bad: list[BadRecord] = []
        for first in range(0, len(posted), _CHUNK):
            chunk = [self._with_times(each) for each in posted[first : first + _CHUNK]]
            for position, (record, encoded) in enumerate(
                zip(chunk, self._encoded(chunk), strict=True), start=first + 1
            ):
                if isinstance(encoded, Reject):
                    bad.append(BadRecord(position, str(encoded)[:_REASON_LIMIT]))
                else:
                    good.append(record)
                    values.append(encoded)
        if bad:
            raise _refusal(bad, len(posted))
        return Messages(values, list(self._identity.keys(good)))

    def _encoded(self, chunk: Sequence[Record | Reject]) -> Iterator[bytes | Reject]:
        records = [each for each in chunk if not isinstance(each, Reject)]
        encoded = iter(self._encoder.encode_many(records) if records else [])
        for each in chunk:
            value = each if isinstance(each, Reject) else next(encoded)
            if isinstance(value, bytes) and len(value) > LARGEST_VALUE:
                value = Reject(f"its {len(value)} bytes are more than the {LARGEST_VALUE} that a message may have")
            yield value

    def _with_times(self, posted: Any) -> Record | Reject:
        """The record with its times in ms since the epoch; a time that cannot be read stays, for the contract."""
        if not isinstance(posted, dict):
            return Reject(f"it is no JSON object but {_shown(posted)}")
        for name in self._times:
            if isinstance(text := posted.get(name), str):
                try:
                    time = datetime.fromisoformat(text)
                    if time.tzinfo is None:
                        return Reject(f"{name} is {text!r}, without a UTC offset: write {text}Z")
                    posted[name] = (time - EPOCH) // _MS
                except (ValueError, OverflowError):
                    continue
        return posted


def _parsed(body: bytes) -> list[Any]:
    """The records in `body`, not yet checked. Raises Refusal where it is no JSON."""
    if not body.strip():
        raise Refusal("the body is empty: send a JSON object, a list of them, or one of them a line")
    try:
        posted = msgspec.json.decode(body)
    except _NO_JSON as error:
        return _lines(body, str(error))
    return posted if isinstance(posted, list) else [posted]


def _lines(body: bytes, whole: str) -> list[Any]:
    """The records in `body`, one a line. `whole` says why it is no JSON as a whole."""
    records = []
    for number, line in enumerate(body.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            records.append(msgspec.json.decode(line))
        except _NO_JSON as error:
            reason = f"line {number} is not JSON: {error}" if records else f"the body is not JSON: {whole}"
            raise Refusal(f"{reason}, so nothing was sent") from None
    return records


def _refusal(bad: Sequence[BadRecord], total: int) -> Refusal:
    named = list(islice(bad, MOST_REASONS))
    which = "; ".join(f"record {each.position}: {each.reason}" for each in named[:3])
    more = "" if len(bad) <= len(named[:3]) else f"; and {len(bad) - 3} more"
    verb = "breaks" if len(bad) == 1 else "break"
    return Refusal(f"{len(bad)} of {total} records {verb} the contract, so nothing was sent: {which}{more}", named)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}..."
