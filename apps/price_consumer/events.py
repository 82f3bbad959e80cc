"""Web events as they lie on the topic, and the bucket that a price is in."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec

from penstock.core.errors import Reject

BUCKETS = ("low", "medium", "high")

_PURCHASE = "purchase"
_INT64 = msgspec.Meta(ge=-(2**63), le=2**63 - 1)
_EARLIEST_MS = -9_223_372_036_854  # InfluxDB's range of times begins there
_LONGEST_CATEGORY = 256


class Event(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One event of the contract include/avro/events.avsc; `time` is in ms since the epoch, `price` in USD."""

    event_id: str
    time: Annotated[int, _INT64]
    event_type: str
    user_id: Annotated[int, _INT64]
    product_id: Annotated[int, _INT64]
    product: str
    category: str
    price: Annotated[float, msgspec.Meta(ge=0)]

    @property
    def is_purchase(self) -> bool:
        """Whether its price was paid."""
        return self.event_type == _PURCHASE


_decoder = msgspec.json.Decoder(Event)


def decode(value: bytes | None, written: int, ahead: int) -> Event:
    """The event in a record that came at `written`, in ms since the epoch.

    Raises Reject where it breaks the contract, cannot be a point in InfluxDB, or is more than `ahead` ms ahead of the
    record: a clock that is wrong would close the minutes of everybody else.
    """
    if value is None:
        raise Reject("the record has no value")
    try:
        event = _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Reject(f"it breaks the contract of events: {error}") from None
    if event.time > written + ahead:
        raise Reject(f"its time is {(event.time - written) / 1000:,.0f} s ahead of when the record came: a wrong clock")
    if event.time < _EARLIEST_MS:
        raise Reject("its time is before 1677-09-21, which InfluxDB cannot keep")
    if not event.category.isprintable() or event.category.endswith("\\"):
        raise Reject("its category holds a control character or ends with a backslash, which InfluxDB cannot keep")
    if len(event.category) > _LONGEST_CATEGORY:
        raise Reject(f"its category has {len(event.category):,} characters, more than {_LONGEST_CATEGORY}")
    return event


class PriceLimits(NamedTuple):
    """low < medium_from <= medium < high_from <= high, in USD."""

    medium_from: float
    high_from: float

    def bucket(self, price: float) -> int:
        """The place of the price's bucket in BUCKETS."""
        return 0 if price < self.medium_from else 1 if price < self.high_from else 2
