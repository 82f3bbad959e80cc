"""`make bench`: measures, prints a table, and writes build/bench.json.

Every figure stands beside a baseline of the same run, because the machines are shared. `BENCH_ONLY=produce,land` picks
some, `BENCH_SCALE=0.1` makes them smaller.
"""

from __future__ import annotations

import json
import logging
import os
import sys

from rich.console import Console
from rich.table import Table

from penstock.core.settings import PROJECT
from penstock.stack import lifecycle
from penstock.stack.context import Context
from penstock.stack.report import report
from tests.bench import (
    bench_collector,
    bench_consumer,
    bench_flume,
    bench_influx,
    bench_land,
    bench_land_influx,
    bench_land_stream,
    bench_latency,
    bench_produce,
    bench_runs,
    bench_stream,
    bench_supervision,
)
from tests.streams import HELD

BENCHES = {
    "produce": bench_produce.run,
    "land": bench_land.run,
    "influx": bench_influx.run,
    "land-influx": bench_land_influx.run,
    "land-stream": bench_land_stream.run,
    "flume": bench_flume.run,
    "collector": bench_collector.run,
    "consumer": bench_consumer.run,
    "stream": bench_stream.run,
    "latency": bench_latency.run,
    "runs": bench_runs.run,
    "supervision": bench_supervision.run,
}


def main() -> int:
    logging.getLogger("cassandra").setLevel(logging.ERROR)  # its warnings would bury the table
    chosen = [name for name in os.environ.get("BENCH_ONLY", "").split(",") if name] or list(BENCHES)
    scale = float(os.environ.get("BENCH_SCALE", "1"))
    var = PROJECT / "build" / "bench-stack"
    os.environ |= {"PENSTOCK_VAR": str(var), "PENSTOCK_ENV_FILE": f"{var}.env", "PENSTOCK_PORTS": "free"}
    # Twice the live feed's rate.
    os.environ |= {"PENSTOCK_HOLD": ",".join(HELD), "REPLAY_CHANGES_PER_SEC": "100"}
    context = Context.load(create=True).with_replay(True)
    with report() as told:
        lifecycle.up(context, told)
    try:
        os.environ |= context.environment()
        lines = []
        for name in chosen:
            measured = BENCHES[name](context, scale)
            show(measured)
            lines += measured
    finally:
        lifecycle.down(context)
    (PROJECT / "build" / "bench.json").write_text(json.dumps(lines, indent=1))
    return 0


def show(lines: list[dict[str, object]]) -> None:
    """Print the lines as a table."""
    columns = ("name", "value", "unit", "baseline", "baseline_value", "ratio", "goal", "met")
    table = Table(*columns)
    for line in lines:
        cells = (line.get(column) for column in columns)
        table.add_row(*(f"{cell:,.2f}" if isinstance(cell, float) else str(cell) for cell in cells))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


if __name__ == "__main__":
    sys.exit(main())
