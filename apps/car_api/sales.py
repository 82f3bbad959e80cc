"""The ledger of sales: one at every second second while the branches are open, and each computed from its moment alone.

They are open for the first 5 minutes of every quarter of an hour, counted from the epoch. A sale's id is the number of
its 2-second tick since the epoch, so ids grow with time and those of one opening have no gaps. Nothing is stored:
whoever asks for a sale, in whatever process and however often, gets the same one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from penstock.core.record import Record

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TICK = timedelta(seconds=2)
CYCLE = timedelta(minutes=15)
OPEN = timedelta(minutes=5)

_TICKS_PER_CYCLE = CYCLE // TICK
_TICKS_PER_OPENING = OPEN // TICK
_MS_PER_TICK = TICK // timedelta(milliseconds=1)

_BUYERS = 50_000
_MOST_YEARS_OLD = 12
_KEPT_VALUE = 0.87
"""The share of its value that a car keeps in a year."""


class Model(NamedTuple):
    """A car, and its price in USD when new."""

    brand: str
    name: str
    price: int


class Branch(NamedTuple):
    """Where cars are sold."""

    country: str
    city: str


MODELS = (
    Model("Audi", "A4", 44_000),
    Model("Audi", "Q5", 49_000),
    Model("BMW", "320i", 46_000),
    Model("BMW", "X3", 51_000),
    Model("Ford", "Focus", 27_000),
    Model("Ford", "Kuga", 33_000),
    Model("Honda", "Civic", 26_000),
    Model("Honda", "Jazz", 22_000),
    Model("Hyundai", "Ioniq 5", 43_000),
    Model("Hyundai", "Tucson", 31_000),
    Model("Renault", "Clio", 19_000),
    Model("Renault", "Mégane", 28_000),
    Model("Škoda", "Octavia", 29_000),
    Model("Tesla", "Model 3", 42_000),
    Model("Tesla", "Model Y", 48_000),
    Model("Toyota", "Corolla", 25_000),
    Model("Toyota", "RAV4", 34_000),
    Model("Volkswagen", "Golf", 30_000),
    Model("Volkswagen", "ID.4", 42_000),
    Model("Volvo", "XC40", 41_000),
)

BRANCHES = (
    Branch("Brazil", "São Paulo"),
    Branch("France", "Lyon"),
    Branch("France", "Paris"),
    Branch("Germany", "Berlin"),
    Branch("Germany", "München"),
    Branch("Japan", "Osaka"),
    Branch("Spain", "Madrid"),
    Branch("Türkiye", "İzmir"),
    Branch("United Kingdom", "Leeds"),
    Branch("United States", "Austin"),
)

COLORS = ("black", "blue", "green", "grey", "red", "silver", "white")

_FIRST_NAMES = (
    "Ada", "Aino", "Amir", "Ana", "Björn", "Chloé", "Diego", "Elif", "Emma", "Fatima", "Grace", "Hana", "Ivan", "Jamal",
    "João", "Kenji", "Lea", "Liam", "Lucía", "Mei", "Mohamed", "Nina", "Noah", "Olga", "Priya", "Sofia", "Tomás",
    "Yuki",
)  # fmt: skip
_LAST_NAMES = (
    "Andersson", "Becker", "Brown", "Cohen", "da Silva", "Demir", "Dubois", "Evans", "Fernández", "García", "Haddad",
    "Ito", "Jensen", "Kaya", "Khan", "Kowalski", "Lee", "Martin", "Müller", "Nguyen", "Novák", "O'Brien", "Okafor",
    "Patel", "Rossi", "Santos", "Schmidt", "Suzuki", "Tanaka", "Virtanen", "Williams", "Yilmaz",
)  # fmt: skip


@dataclass(frozen=True)
class Sales:
    """The sales of the ticks [first, end)."""

    first: int
    end: int

    @classmethod
    def between(cls, start: datetime, end: datetime) -> Sales:
        """Those whose moment lies in [start, end)."""
        return cls(first_tick(start), first_tick(end))

    def __len__(self) -> int:
        return max(0, _sales_before(self.end) - _sales_before(self.first))

    def ids(self, limit: int | None = None) -> Iterator[int]:
        """Their ids in order, at most `limit` of them."""
        before = _sales_before(self.first)
        count = len(self) if limit is None else min(limit, len(self))
        return map(_nth, range(before, before + count))


def first_tick(moment: datetime) -> int:
    """The first tick that is not before `moment`."""
    return -((EPOCH - moment) // TICK)


def next_tick(now: datetime) -> int:
    """The first tick that is still to come: all before it have happened."""
    return (now - EPOCH) // TICK + 1


def moment_of(tick: int) -> datetime:
    """When the tick is."""
    return EPOCH + TICK * tick


def next_sale(tick: int) -> int:
    """The id of the first sale that is not before `tick`."""
    return _nth(_sales_before(tick))


def is_sale(tick: int) -> bool:
    """Whether there is a sale at the tick."""
    return tick % _TICKS_PER_CYCLE < _TICKS_PER_OPENING


def _sales_before(tick: int) -> int:
    cycles, into_cycle = divmod(tick, _TICKS_PER_CYCLE)
    return cycles * _TICKS_PER_OPENING + min(into_cycle, _TICKS_PER_OPENING)


def _nth(number: int) -> int:
    """The id of the sale that has `number` before it."""
    cycles, into_opening = divmod(number, _TICKS_PER_OPENING)
    return cycles * _TICKS_PER_CYCLE + into_opening


def sale(tick: int) -> Record:
    """The sale at a tick, a record of the contract of `car-transactions-logs`."""
    draw = _Draw(f"sale {tick}")
    buyer = draw.below(_BUYERS)
    model = MODELS[draw.below(len(MODELS))]
    branch = BRANCHES[draw.below(len(BRANCHES))]
    years_old = min(draw.below(_MOST_YEARS_OLD), draw.below(_MOST_YEARS_OLD))  # newer cars are sold more often
    haggled = 0.94 + draw.below(1_201) / 10_000
    return {
        "transaction_id": tick,
        "time": tick * _MS_PER_TICK,
        "buyer_id": buyer + 1,
        "buyer_name": _buyer_name(buyer),
        "car_brand": model.brand,
        "car_model": model.name,
        "year": moment_of(tick).year - years_old,
        "color": COLORS[draw.below(len(COLORS))],
        "country": branch.country,
        "branch": branch.city,
        "transaction_price": round(model.price * _KEPT_VALUE**years_old * haggled, 2),
    }


def _buyer_name(buyer: int) -> str:
    draw = _Draw(f"buyer {buyer}")
    return f"{_FIRST_NAMES[draw.below(len(_FIRST_NAMES))]} {_LAST_NAMES[draw.below(len(_LAST_NAMES))]}"


class _Draw:
    """Numbers that look drawn by lot and are the same for the same seed in every process and version of Python."""

    def __init__(self, seed: str) -> None:
        self._rest = int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=16).digest(), "big")

    def below(self, limit: int) -> int:
        """The next number, from 0 to `limit` - 1."""
        self._rest, number = divmod(self._rest, limit)
        return number
