"""Web events for tests of their consumer: what is produced, and an independent count of what lies on the topic."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Self, TypeAlias

from confluent_kafka import Consumer, Producer, TopicPartition

Totals: TypeAlias = dict[tuple[int, str, str], tuple[int, float]]
"""{(minute in ms since the epoch, category, bucket): (events, revenue)}."""

MINUTE_MS = 60_000
LATENESS_MS = 120_000
MEDIUM_FROM, HIGH_FROM = 20.0, 100.0


def web_event(time_ms: int, draw: random.Random) -> dict[str, Any]:
    """One event of the contract."""
    return {
        "event_id": str(uuid.UUID(int=draw.getrandbits(128))),
        "time": time_ms,
        "event_type": draw.choice(["view", "add_to_cart", "remove_from_cart", "purchase"]),
        "user_id": draw.randrange(10_000),
        "product_id": draw.randrange(100),
        "product": "A thing, worth its price",
        "category": draw.choice(["toys", "books", "garden", "food, fresh"]),
        "price": draw.randrange(1, 20_000) / 100,
    }


class Visitors:
    """Write events at `rate` a second in a thread, in a time of their own that runs `speed` times as fast.

    It begins `hours` ago. Some events come out of order, some far too late, and some are repeated.
    """

    def __init__(
        self, servers: str, topic: str, rate: int = 1_000, speed: float = 20.0, hours: float = 1.0, seed: int = 1
    ) -> None:
        self._producer = Producer({"bootstrap.servers": servers, "linger.ms": 20, "compression.type": "lz4"})
        self._topic, self._rate, self._speed = topic, rate, speed
        self._draw = random.Random(seed)
        self._clock = time.time() * 1000 - hours * 3_600_000
        self._recent: list[bytes] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        assert self._producer.flush(60) == 0

    def _work(self) -> None:
        began, sent = time.monotonic(), 0
        while not self._stopping.wait(0.05):
            due = int((time.monotonic() - began) * self._rate)
            for _ in range(due - sent):
                self._send()
            sent = due

    def _send(self) -> None:
        self._clock += 1000 * self._speed / self._rate
        if self._recent and self._draw.random() < 0.05:
            value = self._draw.choice(self._recent)
        else:
            behind = self._draw.choice([5_000, 60_000, 100_000] + [600_000] * (self._draw.random() < 0.02))
            event = web_event(round(self._clock - self._draw.random() * behind), self._draw)
            value = json.dumps(event).encode()
            self._recent = [*self._recent[-2_000:], value]
        while True:
            try:
                self._producer.produce(self._topic, value, key=json.loads(value)["event_id"])
            except BufferError:  # the broker is away
                self._producer.poll(0.5)
            else:
                self._producer.poll(0)
                return


def events_on(servers: str, topic: str) -> dict[int, list[dict[str, Any]]]:
    """{partition: its events in the order of their offsets}, read by a client of its own."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "tests-witness", "enable.auto.commit": False})
    found: dict[int, list[dict[str, Any]]] = {}
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        for partition in partitions:
            begin, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
            consumer.assign([TopicPartition(topic, partition, begin)])
            found[partition] = []
            at = begin
            while at < end:
                for message in consumer.consume(1_000, 1.0):
                    assert message.error() is None, message.error()
                    found[partition].append(json.loads(message.value() or b""))
                    at = (message.offset() or 0) + 1
    finally:
        consumer.close()
    return found


def plain_count(events: Iterable[Mapping[str, Any]], lateness: int = LATENESS_MS) -> tuple[Totals, int]:
    """One partition's counts by event id, and how many of its events are late."""
    seen: set[str] = set()
    cells: dict[tuple[int, str, str], list[float]] = defaultdict(lambda: [0, 0.0])
    late, newest = 0, None
    for each in events:
        if each["event_id"] in seen:
            continue
        seen.add(each["event_id"])
        minute = each["time"] // MINUTE_MS * MINUTE_MS
        if newest is not None and minute + MINUTE_MS <= newest - lateness:
            late += 1
            continue
        newest = each["time"] if newest is None else max(newest, each["time"])
        bucket = "low" if each["price"] < MEDIUM_FROM else "medium" if each["price"] < HIGH_FROM else "high"
        cell = cells[minute, each["category"], bucket]
        cell[0] += 1
        cell[1] += each["price"] if each["event_type"] == "purchase" else 0.0
    return {key: (int(count), revenue) for key, (count, revenue) in cells.items()}, late


def summed(parts: Iterable[Totals]) -> Totals:
    """The counts of several partitions as one, their revenues in whole cents."""
    found: Totals = {}
    for part in parts:
        for key, (events, revenue) in part.items():
            before = found.get(key, (0, 0.0))
            found[key] = before[0] + events, before[1] + revenue
    return {key: (events, round(revenue, 2)) for key, (events, revenue) in found.items()}


def expected(servers: str, topic: str) -> Totals:
    """What the consumers must come to, all events of the topic given."""
    return summed(plain_count(events)[0] for events in events_on(servers, topic).values())
