"""What visitors do: mostly they look, and popular products are looked at most."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate

import msgspec

from apps.web_event_producer.catalogue import Product

_VISITORS = 50_000

_SHARES = {"view": 0.80, "add_to_cart": 0.12, "remove_from_cart": 0.03, "purchase": 0.05}
"""{event type: its share of all events}."""


class WebEvent(msgspec.Struct, frozen=True, gc=False):
    """An event of the contract include/avro/events.avsc. `time` is in ms since the epoch, `price` in USD."""

    event_id: str
    time: int
    event_type: str
    user_id: int
    product_id: int
    product: str
    category: str
    price: float


class Visitors:
    """Makes up events of a catalogue's products."""

    def __init__(self, catalogue: Sequence[Product]) -> None:
        self._random = random.Random()
        self._catalogue = catalogue
        self._types = list(_SHARES)
        self._type_weights = list(accumulate(_SHARES.values()))
        ranks = self._random.sample(range(1, len(catalogue) + 1), len(catalogue))
        self._product_weights = list(accumulate(1 / rank for rank in ranks))

    def events(self, times: Sequence[int]) -> list[WebEvent]:
        """One event for each time, in ms since the epoch."""
        choices, chance, count = self._random.choices, self._random.random, len(times)
        types = choices(self._types, cum_weights=self._type_weights, k=count)
        products = choices(self._catalogue, cum_weights=self._product_weights, k=count)
        return [
            WebEvent(
                self._new_id(time),
                time,
                event_type,
                1 + int(_VISITORS * chance() ** 2),
                product.id,
                product.name,
                product.category,
                product.price,
            )
            for time, event_type, product in zip(times, types, products, strict=True)
        ]

    def _new_id(self, time: int) -> str:
        """A UUID of version 7: the time, then 74 random bits (RFC 9562, section 5.7)."""
        bits = self._random.getrandbits(74)
        number = time << 80 | 7 << 76 | bits >> 62 << 64 | 2 << 62 | bits & (1 << 62) - 1
        text = f"{number:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
