"""Weather of some cities, hourly and daily: Open-Meteo -> Kafka -> Spark -> Cassandra."""

from __future__ import annotations

from datetime import timedelta

from penstock.core import settings
from penstock.core.contract import Contract
from penstock.core.pipeline import CassandraTable, Pipeline
from penstock.pipelines.weather_defaults import DAILY, HOURLY, LATITUDES, LONGITUDES
from penstock.sources.open_meteo import OpenMeteo
from penstock.sources.open_meteo_request import Block

_SERVICE = settings.OpenMeteo.from_env()


def _source(block: Block, contract: str, variables: list[str]) -> OpenMeteo:
    return OpenMeteo(
        block=block,
        contract=Contract.load(settings.INCLUDE / "avro" / contract),
        settings=_SERVICE,
        defaults={"latitudes": LATITUDES, "longitudes": LONGITUDES, "variables": variables},
    )


_HOURLY = _source(Block.HOURLY, "hourlymetrics.avsc", HOURLY)
_DAILY = _source(Block.DAILY, "dailymetrics.avsc", DAILY)

WEATHER_HOURLY = Pipeline(
    name="weather_hourly",
    contract=_HOURLY.contract,
    source=_HOURLY,
    topic=settings.names().hourly_topic,
    sinks=(CassandraTable(settings.names().hourly_table),),
    freshness=timedelta(hours=4),  # an hour lands after it is over, so the newest is up to 2 hours old
    schedule="0 * * * *",
    tags=("weather",),
)

WEATHER_DAILY = Pipeline(
    name="weather_daily",
    contract=_DAILY.contract,
    source=_DAILY,
    topic=settings.names().daily_topic,
    sinks=(CassandraTable(settings.names().daily_table),),
    freshness=timedelta(days=2, hours=6),  # a day lands after it is over, so the newest began up to 2 days ago
    schedule="0 0 * * *",
    tags=("weather",),
)
