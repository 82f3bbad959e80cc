"""Counts that grow, as points of a measurement: each write replaces what was there."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pyarrow as pa

from penstock.core import settings
from penstock.core.contract import Contract
from penstock.core.errors import Fatal
from penstock.core.record import Record
from penstock.sinks.columns import arrow_schema
from penstock.sinks.influxdb_http import InfluxHttp
from penstock.sinks.line_protocol import LineProtocol, point_times

_REQUEST_LINES = 10_000


class CountsWriter:
    """Writes aggregates of `contract`, whose key is its tags and its event time.

    The caller sees to it that only one writes a key, and that what it writes last is right. `patience` is how long
    InfluxDB may be away within a call, in seconds.
    """

    def __init__(self, where: settings.Influx, measurement: str, contract: Contract, *, patience: float) -> None:
        self._measurement = measurement
        self._schema = arrow_schema(contract)
        self._contract = contract
        self._protocol = LineProtocol(measurement, contract)
        self._http = InfluxHttp(where, patience=patience)

    def write(self, rows: Sequence[Record]) -> None:
        """Write `rows`, physical ones. Raises Retry where InfluxDB stays away, Fatal where it refuses them."""
        for begin in range(0, len(rows), _REQUEST_LINES):
            self._write(rows[begin : begin + _REQUEST_LINES])

    def _write(self, rows: Sequence[Record]) -> None:
        batch = pa.RecordBatch.from_pylist(list(rows), schema=self._schema)
        lines = self._protocol.lines(batch, point_times(batch, self._contract)[0], time.time_ns() // 1000)
        refusal = self._http.write("".join(lines.to_pylist()).encode())
        if refusal is not None:
            raise Fatal(f"InfluxDB refuses counts of {self._measurement}: {refusal}")

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()
