"""The InfluxDB sink against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from influxdb_client import InfluxDBClient

from penstock.core.contract import Contract
from penstock.core.record import Record, Value
from penstock.core.settings import INCLUDE, Influx
from penstock.sinks.influxdb import InfluxSink
from tests.conformance import CONTRACT, SinkConformance, record

pytestmark = pytest.mark.integration

CARS = Contract.load(INCLUDE / "avro" / "car-transactions-logs.avsc")
POPULATION = Contract.load(INCLUDE / "avro" / "pop.avsc")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


@pytest.fixture(scope="module")
def reader(influx_settings: Influx) -> Iterator[InfluxDBClient]:
    """The vendor's own client, which asks in Flux."""
    with InfluxDBClient(influx_settings.url, influx_settings.token, org=influx_settings.org, timeout=60_000) as client:
        yield client


class Measurement:
    """A measurement for one test."""

    def __init__(self, settings: Influx, reader: InfluxDBClient, name: str) -> None:
        self.settings, self.reader, self.name = settings, reader, name

    def open(self, contract: Contract = CONTRACT, **options: Any) -> InfluxSink:
        return InfluxSink(self.settings, self.name, contract, **options)

    def flux(self, steps: str) -> list[dict[str, Any]]:
        query = (
            f"from(bucket: {json.dumps(self.settings.bucket)}) |> range(start: 1700-01-01T00:00:00Z, "
            f"stop: 2250-01-01T00:00:00Z) |> filter(fn: (r) => r._measurement == {json.dumps(self.name)}) {steps}"
        )
        return [found.values for found in self.reader.query_api().query_stream(query)]

    def stored(self) -> list[dict[str, Any]]:
        """The points, each with its tags and fields."""
        return self.flux('|> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")')

    def rows(self) -> list[Record]:
        return [self._physical(point) for point in self.stored()]

    def _physical(self, point: dict[str, Any]) -> Record:
        values = point | {"time": (point["_time"] - EPOCH) // MILLISECOND}
        return {field.name: values.get(field.name) for field in CONTRACT.fields}

    def partition(self, record: Record) -> tuple[Value, ...]:
        return record["station"], record["sensor"]

    def refused(self) -> Record:
        """Tags of more than 64 KiB."""
        return record(sensor="x" * 70_000)

    def write(self, *lines: str) -> None:
        """Lines of another writer."""
        where = self.settings
        requests.post(
            f"{where.url}/api/v2/write",
            params={"org": where.org, "bucket": where.bucket},
            headers={"Authorization": f"Token {where.token}"},
            data="\n".join(lines).encode(),
            timeout=30,
        ).raise_for_status()


@pytest.fixture
def table(influx_settings: Influx, reader: InfluxDBClient, unique: str) -> Iterator[Measurement]:
    yield Measurement(influx_settings, reader, unique)
    predicate = f'_measurement="{unique}"'
    reader.delete_api().delete("1700-01-01T00:00:00Z", "2250-01-01T00:00:00Z", predicate, bucket=influx_settings.bucket)


class TestConformance(SinkConformance):
    """The suite that every sink passes."""
