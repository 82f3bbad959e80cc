"""Wikimedia's recent changes: collector -> spool -> Flume -> Kafka -> Spark -> counts a minute; by Flume to HDFS."""

from __future__ import annotations

from datetime import timedelta

from penstock.core import settings
from penstock.core.contract import Contract
from penstock.core.pipeline import InfluxMeasurement, RawCopy
from penstock.core.stream import Aggregate, Stream

WIKI = Stream(
    name="wiki",
    contract=Contract.load(settings.INCLUDE / "avro" / "wiki_changes.avsc"),
    topic=settings.names().wiki_topic,
    collected_by="recentchange_collector",
    counted_by="wiki-edits-minute",
    raw_copy=RawCopy(settings.names().wiki_folder, "flume-wiki-hdfs"),
    aggregate=Aggregate(
        Contract.load(settings.INCLUDE / "avro" / "wiki_edits_minute.avsc"),
        ("edits", "categorizations", "log_entries", "others"),
        InfluxMeasurement(settings.names().wiki_measurement),
        settings.names().wiki_aggregate_folder,
    ),
    lateness=timedelta(seconds=settings.wiki_lateness()),
    freshness=timedelta(minutes=10),  # somebody edits every second; a restart with its back-off takes up to 5 minutes
    normaliser="penstock.sources.recentchange:normalise",
    tags=("wiki",),
)
