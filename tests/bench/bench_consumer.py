"""The price consumer draining a topic, against a loop that only decodes the same records.

Alone: `python -m tests.bench.bench_consumer [EVENTS]`, with the addresses in the environment.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, Producer

from penstock.core.settings import Influx, Kafka
from tests.bench.lines import Line
from tests.price_consumers import Consumers, Process, consumers
from tests.price_events import web_event

if TYPE_CHECKING:
    from penstock.stack.context import Context

_EVENTS = 300_000
_HOURS = 0.5
_GOAL = 30_000
_ROUNDS = 2


def run(context: Context, scale: float) -> list[Line]:
    """Measure on the running stack; `scale` makes the load smaller."""
    return measure(context.environment(), round(_EVENTS * scale))


def measure(environment: Mapping[str, str], events: int) -> list[Line]:
    """The better of two rounds each, as the machine is shared."""
    kafka, influx = Kafka.from_env(environment), Influx.from_env(environment)
    ours, bare = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(_ROUNDS):
            name = f"bench{uuid.uuid4().hex[:8]}"
            with consumers(kafka.bootstrap_servers, influx, name, Path(folder)) as found:
                found.environment = {**os.environ, **environment}
                _fill(kafka.bootstrap_servers, name, events)
                bare.append(_only_decoding(kafka.bootstrap_servers, name, events))
                ours.append(_draining(found, events))
    return [
        {
            "name": f"price consumer drains {events:,} events",
            "value": max(ours),
            "unit": "events/s",
            "baseline": "a loop that only decodes the JSON",
            "baseline_value": max(bare),
            "ratio": max(ours) / max(bare),
            "goal": f"at least {_GOAL:,} events/s",
            "met": max(ours) >= _GOAL,
        }
    ]


def _fill(servers: str, topic: str, events: int) -> None:
    producer = Producer({"bootstrap.servers": servers, "compression.type": "lz4", "linger.ms": 50})
    draw, began = random.Random(1), time.time() - _HOURS * 3600
    for number in range(events):
        event = web_event(round((began + _HOURS * 3600 * number / events) * 1000), draw)
        while True:
            try:
                producer.produce(topic, json.dumps(event), key=event["event_id"])
                break
            except BufferError:
                producer.poll(0.1)
        if not number % 1_000:
            producer.poll(0)
    assert producer.flush(60) == 0


def _only_decoding(servers: str, topic: str, events: int) -> float:
    """Events a second, from the first one on."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": f"{topic}-bare", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    seen, began = 0, 0.0
    try:
        while seen < events:
            for message in consumer.consume(5_000, 1.0):
                assert message.error() is None, message.error()
                began = began or time.perf_counter()
                json.loads(message.value() or b"")
                seen += 1
        return events / (time.perf_counter() - began)
    finally:
        consumer.close()


def _draining(found: Consumers, events: int) -> float:
    """Events a second between the first look that finds some counted and the first that finds all."""
    (process,) = found.start()
    while not (first := _counted(process)):
        assert process.child.poll() is None, found.log.read_text()
        time.sleep(0.01)
    began = time.perf_counter()
    while (last := _counted(process)) < events:
        assert process.child.poll() is None, found.log.read_text()
        time.sleep(0.01)
    rate = (last - first) / (time.perf_counter() - began)
    assert process.end() == 0, found.log.read_text()
    stored = sum(count for count, _ in found.stored().values())
    assert stored == events, f"{stored} of {events} are stored"
    return rate


def _counted(process: Process) -> float:
    return process.metrics().get(("price_consumer_events_total", "counted"), 0)


if __name__ == "__main__":
    asked = int(sys.argv[1]) if len(sys.argv) > 1 else _EVENTS
    for line in measure(os.environ, asked):
        print(json.dumps(line))
