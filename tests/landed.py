"""Lands some records of every data set as the platform does: its sources against the replay, its sinks and counters."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pyarrow as pa

from apps.car_api import sales
from apps.price_consumer.consumer import count_rows
from apps.price_consumer.counting import PartitionCounts
from apps.price_consumer.events import Event, PriceLimits
from apps.replay_api.changes import Feed
from penstock.core import settings
from penstock.core.batch import Interval
from penstock.core.contract import Contract
from penstock.core.record import Record, Unusable
from penstock.kafka.progress import Progress
from penstock.pipelines import CARS, POPULATION, WEATHER_DAILY, WEATHER_HOURLY, WEB_EVENTS, WIKI
from penstock.sinks.cassandra import CassandraSink
from penstock.sinks.columns import arrow_schema
from penstock.sinks.influxdb import InfluxSink
from penstock.sinks.influxdb_counts import CountsWriter
from penstock.sources.datausa import DataUsa
from penstock.sources.open_meteo import OpenMeteo
from penstock.sources.recentchange import normalise
from tests.price_events import LATENESS_MS, MINUTE_MS, web_event

_PATIENCE = 10.0
_PARTITIONS = 3
_EVENTS_PER_SECOND = 2
_CHANGES_PER_SECOND = 5


def land(
    influx: settings.Influx, cassandra: settings.Cassandra, names: settings.Names, replay: str, now: datetime
) -> None:
    """Land some hours of each data set up to `now`; `replay` is the base of the replay API."""
    land_influx(influx, names, replay, now)
    land_weather(cassandra, names, replay, now)


def land_influx(influx: settings.Influx, names: settings.Names, replay: str, now: datetime) -> None:
    """What lands in InfluxDB."""
    _land_points(influx, names.cars_measurement, CARS.contract, _cars(now), now)
    _land_points(influx, names.population_measurement, POPULATION.contract, _population(replay, now), now)
    _land_points(influx, names.wiki_measurement, WIKI.aggregate.contract, _wiki_minutes(now), now)
    _land_web_events(influx, names.events_measurement, now)


def _land_points(
    influx: settings.Influx, measurement: str, contract: Contract, records: Iterable[Record], now: datetime
) -> None:
    rows = pa.RecordBatch.from_pylist(list(records), schema=arrow_schema(contract))
    with closing(InfluxSink(influx, measurement, contract, patience=_PATIENCE)) as sink:
        written = sink.write(rows, now)
    assert (written.landed, written.rejects) == (rows.num_rows, ())


def _cars(now: datetime) -> Iterable[Record]:
    return map(sales.sale, sales.Sales.between(now - timedelta(hours=3), now).ids())


def _population(replay: str, now: datetime) -> Iterable[Record]:
    source = DataUsa(f"{replay}/datausa/tesseract/data.jsonrecords?drilldowns=Year,Nation&measures=Population")
    for record in source.fetch(Interval(now - timedelta(days=1), now), {}):
        assert not isinstance(record, Unusable)
        yield record


def _wiki_minutes(now: datetime) -> Iterable[Record]:
    """The counts of the replay's changes, made in one pass: the stream's Spark job has tests of its own."""
    columns = {"edit": "edits", "new": "edits", "categorize": "categorizations", "log": "log_entries"}
    feed = Feed(_CHANGES_PER_SECOND)
    first, end = (feed.first(round(each.timestamp() * 1000)) for each in (now - timedelta(minutes=10), now))
    found: Counter[tuple[str, int, str]] = Counter()
    for number in range(first, end):
        data = next(line for line in feed.frame(number).splitlines() if line.startswith(b"data: "))
        event = msgspec.json.decode(data.removeprefix(b"data: "))
        if event["meta"].get("domain") == "canary":
            continue
        change = normalise(event)
        found[change["wiki"], change["time"] // MINUTE_MS * MINUTE_MS, columns.get(change["type"], "others")] += 1
    empty = dict.fromkeys(WIKI.aggregate.counts, 0)
    for wiki, minute in sorted({key[:2] for key in found}):
        counts = {column: found[wiki, minute, column] for column in empty}
        yield {"wiki": wiki, "minute": minute, **counts}


def _land_web_events(influx: settings.Influx, measurement: str, now: datetime) -> None:
    draw = random.Random(1)
    limits = PriceLimits(20.0, 100.0)
    counted = [PartitionCounts(Progress(0, 0), limits, LATENESS_MS) for _ in range(_PARTITIONS)]
    start = round((now - timedelta(minutes=10)).timestamp() * 1000)
    for number in range(600 * _EVENTS_PER_SECOND):
        event = Event(**web_event(start + number * 1000 // _EVENTS_PER_SECOND, draw))
        counted[number % _PARTITIONS].take(number // _PARTITIONS, event)
    with closing(CountsWriter(influx, measurement, WEB_EVENTS.aggregate.contract, patience=_PATIENCE)) as writer:
        for partition, counts in enumerate(counted):
            writer.write(count_rows(partition, counts, PartitionCounts.closed))
            writer.write(count_rows(partition, counts, PartitionCounts.changed))


def land_weather(cassandra: settings.Cassandra, names: settings.Names, replay: str, now: datetime) -> None:
    """What lands in Cassandra: the days before the one of `now`, all of which the replay has."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    interval = Interval(midnight - timedelta(days=3), midnight)
    for pipeline, table in ((WEATHER_HOURLY, names.hourly_table), (WEATHER_DAILY, names.daily_table)):
        assert isinstance(pipeline.source, OpenMeteo)
        own = {"base_url": f"{replay}/v1/dwd-icon", "archive_url": f"{replay}/archive/v1/archive"}
        limits = dict.fromkeys(("per_minute", "per_hour", "per_day"), 0)
        source = replace(pipeline.source, settings=replace(pipeline.source.settings, **own, **limits))
        records = list(source.fetch(interval, source.resolve({})))
        rows = pa.RecordBatch.from_pylist(records, schema=arrow_schema(pipeline.contract))
        with closing(CassandraSink(cassandra, table, pipeline.contract)) as sink:
            sink.setup()
            written = sink.write(rows, now)
        assert (written.landed, written.rejects) == (len(records), ())
