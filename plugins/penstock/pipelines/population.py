"""The population by nation and year: Data USA -> Kafka -> Spark -> InfluxDB, and by Flume to HDFS."""

from __future__ import annotations

from datetime import timedelta

from penstock.core import settings
from penstock.core.contract import Contract
from penstock.core.pipeline import InfluxMeasurement, Pipeline, RawCopy, Wire
from penstock.sources.datausa import DataUsa

POPULATION = Pipeline(
    name="population",
    contract=Contract.load(settings.INCLUDE / "avro" / "pop.avsc"),
    source=DataUsa(settings.datausa_url()),
    topic=settings.names().population_topic,
    sinks=(InfluxMeasurement(settings.names().population_measurement),),
    freshness=timedelta(days=2, hours=6),  # a run lands after its day is over, which then began 1 to 2 days ago
    schedule="0 0 * * *",
    wire=Wire.JSON,
    shared=True,
    normaliser="penstock.sources.datausa:normalise",
    raw_copy=RawCopy(settings.names().population_folder, "flume-pop-hdfs"),
    landed_by=settings.landed_by("POPULATION"),
    tags=("population",),
)
