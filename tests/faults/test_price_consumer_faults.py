"""The price consumer while its servers are killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.core.settings import Influx, Kafka
from tests.conftest import Stack
from tests.price_consumers import Consumers, consumers
from tests.price_events import Visitors
from tests.services import eventually

pytestmark = pytest.mark.faults


@pytest.fixture
def shop(kafka_settings: Kafka, influx_settings: Influx, unique: str, tmp_path: Path) -> Iterator[Consumers]:
    with consumers(kafka_settings.bootstrap_servers, influx_settings, unique, tmp_path) as found:
        yield found


@pytest.mark.parametrize("server", ["kafka", "influxdb"])
def test_a_server_that_is_away_is_waited_for_and_no_count_is_lost_or_double(
    shop: Consumers, stack: Stack, server: str
) -> None:
    with Visitors(shop.servers, shop.name):
        first, second = shop.start(2)
        shop.share(first, second)
        stack.kill(server)
        stack.stop(server)
        try:
            eventually(lambda: first.status() == second.status() == 503)
        finally:
            stack.start(server)
        eventually(lambda: first.status() == second.status() == 200)
        shop.share(first, second)
    shop.come_to_the_right_counts()
    assert first.end() == second.end() == 0


def test_a_consumer_ends_in_time_while_kafka_is_away(shop: Consumers, stack: Stack) -> None:
    with Visitors(shop.servers, shop.name):
        first, second = shop.start(2)
        shop.share(first, second)
        stack.stop("kafka")
        try:
            eventually(lambda: first.status() == 503)
            assert first.end() == 0
        finally:
            stack.start("kafka")
        shop.share(second)
    shop.come_to_the_right_counts()
