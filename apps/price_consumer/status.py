"""What the consumer tells of itself: its health and its metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator
from http import HTTPStatus

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from apps.price_consumer.consumer import PriceConsumer
from apps.status_server import Health

_STUCK_SECONDS = 60.0


def health(consumer: PriceConsumer) -> Health:
    """500 where it does not get on itself, 503 where Kafka or InfluxDB is away."""
    silent = time.monotonic() - consumer.turned
    if silent > _STUCK_SECONDS:
        return Health(HTTPStatus.INTERNAL_SERVER_ERROR, {"detail": f"it has not got on for {silent:.0f} s"})
    away = [each for each in (consumer.kafka_away, consumer.influx_away) if each]
    if away:
        return Health(HTTPStatus.SERVICE_UNAVAILABLE, {"detail": "; ".join(away)})
    return Health(HTTPStatus.OK, {"partitions": sorted(consumer.partitions)})


class Metrics(Collector):
    """Read from the consumer whenever they are asked for."""

    def __init__(self, consumer: PriceConsumer) -> None:
        self._consumer = consumer

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        consumer = self._consumer
        events = CounterMetricFamily("price_consumer_events", "Events read, by what became of them", labels=["outcome"])
        for outcome, count in list(consumer.outcomes.items()):
            events.add_metric([outcome], count)
        yield events
        yield CounterMetricFamily("price_consumer_commits", "Commits that the group took", value=consumer.commits)
        yield CounterMetricFamily(
            "price_consumer_refused_commits", "Commits that it did not take", value=consumer.refused_commits
        )
        yield from self._by_partition(consumer)
        for name, reason in (("kafka", consumer.kafka_away), ("influxdb", consumer.influx_away)):
            yield GaugeMetricFamily(f"price_consumer_{name}_up", f"Whether {name} answers", value=int(reason is None))

    def _by_partition(self, consumer: PriceConsumer) -> Iterator[Metric]:
        lag = GaugeMetricFamily("price_consumer_lag", "Records not taken yet", labels=["partition"])
        position = GaugeMetricFamily("price_consumer_position", "Offset of the next record", labels=["partition"])
        late = GaugeMetricFamily(
            "price_consumer_late_events", "Events so far that came after their minute was closed", labels=["partition"]
        )
        newest = GaugeMetricFamily(
            "price_consumer_newest_event_seconds", "Newest event time, since the epoch", labels=["partition"]
        )
        for partition, counts in consumer.partitions.items():
            labels = [str(partition)]
            lag.add_metric(labels, consumer.lag.get(partition, 0))
            position.add_metric(labels, counts.position)
            late.add_metric(labels, counts.late)
            if counts.newest is not None:
                newest.add_metric(labels, counts.newest / 1000)
        yield from (lag, position, late, newest)
