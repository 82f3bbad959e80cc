"""What the shop sells: the same products at every start."""

from __future__ import annotations

import math
from typing import NamedTuple

from faker import Faker

_SEED = 20_261_122
_PRODUCTS_OF_A_CATEGORY = 30
_SPREAD = 0.6
"""The standard deviation of the logarithm of prices within a category."""

_CATEGORIES: dict[str, tuple[float, tuple[str, ...]]] = {
    "Audio": (79.0, ("Headphones", "Earbuds", "Speaker", "Microphone", "Soundbar")),
    "Baby": (24.0, ("Blanket", "Bottle", "Rattle", "Sleeping Bag", "Carrier")),
    "Beauty": (19.0, ("Serum", "Lipstick", "Shampoo", "Hand Cream", "Perfume")),
    "Books": (16.0, ("Novel", "Cookbook", "Atlas", "Biography", "Field Guide")),
    "Clothing": (39.0, ("Shirt", "Jacket", "Jeans", "Scarf", "Sweater")),
    "Computers": (449.0, ("Laptop", "Monitor", "Keyboard", "Tablet", "Printer")),
    "Furniture": (219.0, ("Desk", "Armchair", "Bookcase", "Sofa", "Bed Frame")),
    "Garden": (49.0, ("Lawn Mower", "Watering Can", "Planter", "Hose", "Parasol")),
    "Groceries": (6.0, ("Coffee", "Olive Oil", "Chocolate", "Granola", "Green Tea")),
    "Kitchen": (44.0, ("Frying Pan", "Kettle", "Knife Set", "Blender", "Toaster")),
    "Sports": (59.0, ("Running Shoes", "Yoga Mat", "Dumbbell", "Bicycle Helmet", "Tent")),
    "Toys": (22.0, ("Puzzle", "Building Set", "Board Game", "Teddy Bear", "Kite")),
}
"""{category: (median price in USD, what its products are)}."""


class Product(NamedTuple):
    """`price` is in USD."""

    id: int
    name: str
    category: str
    price: float


def make_catalogue() -> list[Product]:
    """All products, with ids from 1 on."""
    fake = Faker("en_US")
    fake.seed_instance(_SEED)
    kinds = [
        (category, median, names[number % len(names)])
        for category, (median, names) in _CATEGORIES.items()
        for number in range(_PRODUCTS_OF_A_CATEGORY)
    ]
    return [
        Product(number, _name(fake, kind), category, _price(fake, median))
        for number, (category, median, kind) in enumerate(kinds, start=1)
    ]


def _name(fake: Faker, kind: str) -> str:
    return f"{fake.last_name()} {fake.safe_color_name().title()} {kind}"


def _price(fake: Faker, median: float) -> float:
    """A price that ends in 99 cents."""
    return math.floor(median * math.exp(fake.random.gauss(0, _SPREAD))) + 0.99
