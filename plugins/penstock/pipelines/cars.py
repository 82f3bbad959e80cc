"""Car sales, as the car API keeps them and as others post them: Kafka -> Spark -> InfluxDB, and by Flume to HDFS."""

from __future__ import annotations

from datetime import timedelta

from penstock.core import settings
from penstock.core.contract import Contract
from penstock.core.pipeline import InfluxMeasurement, Pipeline, RawCopy, Wire
from penstock.sources.car_api import CarApi

CARS = Pipeline(
    name="car_transactions",
    contract=Contract.load(settings.INCLUDE / "avro" / "car-transactions-logs.avsc"),
    source=CarApi(settings.car_api_url()),
    topic=settings.names().cars_topic,
    sinks=(InfluxMeasurement(settings.names().cars_measurement),),
    freshness=timedelta(hours=1),  # every quarter of an hour has sales, and lands within the next
    schedule="*/15 * * * *",
    wire=Wire.JSON,
    shared=True,
    raw_copy=RawCopy(settings.names().cars_folder, "flume-cars-hdfs"),
    landed_by=settings.landed_by("CARS"),
    tags=("cars",),
)
