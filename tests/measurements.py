"""Points read by InfluxDB's own client and in its own language, not by the platform's code."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime
from typing import Any

from influxdb_client import InfluxDBClient

from penstock.core.settings import Influx

FOR_EVER = datetime.fromisoformat("1900-01-01T00:00:00+00:00"), datetime.fromisoformat("2200-01-01T00:00:00+00:00")


def points(where: Influx, measurement: str, start: datetime, end: datetime) -> list[dict[str, Any]]:
    """Each point of the measurement in [start, end) as {"_time": ..., tag: ..., field: ...}, in the order of time."""
    query = f"""
        from(bucket: "{where.bucket}")
          |> range(start: {start.isoformat()}, stop: {end.isoformat()})
          |> filter(fn: (r) => r._measurement == "{measurement}")
          |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
    """
    hidden = {"result", "table", "_start", "_stop", "_measurement"}
    with closing(InfluxDBClient(where.url, where.token, org=where.org, timeout=60_000)) as client:
        tables = client.query_api().query(query)
    found = [{name: v for name, v in row.values.items() if name not in hidden} for table in tables for row in table]
    return sorted(found, key=lambda point: str(point["_time"]))
