"""What visitors of a shop do: producer -> log files -> Flume -> Kafka -> price buckets per minute; by Flume to HDFS."""

from __future__ import annotations

from datetime import timedelta

from penstock.core import settings
from penstock.core.contract import Contract
from penstock.core.pipeline import InfluxMeasurement, RawCopy
from penstock.core.stream import Aggregate, Stream

WEB_EVENTS = Stream(
    name="web_events",
    contract=Contract.load(settings.INCLUDE / "avro" / "events.avsc"),
    topic=settings.names().events_topic,
    collected_by="web_event_producer",
    counted_by="price-consumer",
    raw_copy=RawCopy(settings.names().events_folder, "flume-events-hdfs"),
    aggregate=Aggregate(
        Contract.load(settings.INCLUDE / "avro" / "price_buckets.avsc"),
        ("events",),
        InfluxMeasurement(settings.names().events_measurement),
    ),
    lateness=timedelta(minutes=2),
    freshness=timedelta(minutes=10),  # a minute is out 2 to 3 minutes after its end, a restart takes some more
    tags=("web-events",),
)
