"""Lands batches of one topic in a pipeline's sinks: `land_batch.py --request FILE --report FILE`.

The request is what penstock.sinks.landing.Request reads. The report, {"batches": [counts, ...]}, is written when
everything has landed; otherwise `error.json` is, beside it, with `kind` and `message`. Addresses and secrets come from
the environment. A measurement of InfluxDB has one landing at a time: InfluxDB keeps no write timestamps, so the newer
of two values can only be told from the older by looking first.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from penstock.core.errors import PenstockError
from penstock.core.pipeline import InfluxMeasurement
from penstock.core.settings import Kafka, ledger_url
from penstock.observe.lineage import Hop, Places, landing
from penstock.observe.lineage_events import Processing, spark_run
from penstock.sinks.catalogue import addresses_of
from penstock.sinks.landing import Request, write_error, write_report
from penstock.sinks.spark_daemon import prefer_installed_packages

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from penstock.core.counts import Landed
    from penstock.sinks.catalogue import Address
    from penstock.sinks.prepare import Prepared

# Kafka must not be among the sources of Spark's first API: it turns each row into objects and back.
_SECOND_API = {"spark.sql.sources.useV1SourceList": "avro,csv,json,orc,parquet,text"}
# Up to so many records, compiling code for them takes longer than it saves.
_FEW = 200_000
_INTERPRETED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Land what is asked for. Returns 0, or 1 after saying why not."""
    parser = argparse.ArgumentParser(description="Land batches of one topic in a pipeline's sinks.")
    parser.add_argument("--request", type=Path, required=True)
    parser.add_argument("--report", type=Path, required=True)
    files = parser.parse_args(arguments)
    logging.getLogger("cassandra").setLevel(logging.CRITICAL)  # what it has to say comes as exceptions too
    try:
        _run(files.request, files.report)
    except PenstockError as error:
        write_error(files.report, error)
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201 - stderr is the task's log
        return 1
    return 0


def _run(request_file: Path, report: Path) -> None:
    request, kafka = Request.load(request_file), Kafka.from_env()
    prefer_installed_packages()
    with spark_run(partial(_hop, request), Processing.BATCH) as lineage:
        landed, seconds = _land(request, kafka)
        write_report(report, landed, seconds)
        read, *written = (sum(getattr(each, name) for each in landed) for name in ("read", "landed", "rejected"))
        lineage.count(read, written)


def _hop(request: Request, places: Places) -> Hop:
    job = f"land_{request.topic}"
    return landing(request.topic, request.dead_letter_topic, request.sinks, request.contract, places, job)


def _land(request: Request, kafka: Kafka) -> tuple[list[Landed], dict[str, float]]:
    """The counts of each batch, and how many seconds each part took."""
    where = addresses_of(request.sinks)
    with ExitStack() as held:
        with ThreadPoolExecutor(1) as beside:
            prepared = beside.submit(_prepare, request, kafka, where, held)
            spark = _session(request)
        from penstock.sinks.spark_landing import land

        found = prepared.result()
        ready = time.time()
        landed = land(spark, request, found, kafka, where)
    # spark-submit, which started this process, has become the JVM.
    seconds = {"starting": ready - psutil.Process(os.getppid()).create_time(), "landing": time.time() - ready}
    # The session is not stopped: it ends with this process, and a second sooner than by its own stop().
    return landed, seconds


def _session(request: Request) -> SparkSession:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName(f"land {request.topic}")
    options: dict[str, Any] = _SECOND_API | (_INTERPRETED if request.records <= _FEW else {})
    return builder.config(map=options).getOrCreate()


def _prepare(request: Request, kafka: Kafka, where: tuple[Address, ...], held: ExitStack) -> Prepared:
    from penstock.sinks.prepare import prepare

    for each in request.sinks:
        if isinstance(each, InfluxMeasurement):
            from penstock.ledger.locks import held_lock

            held.enter_context(held_lock(ledger_url(), f"landing in {each.name}", request.patience))
    return prepare(request, kafka, where)


if __name__ == "__main__":
    sys.exit(main())
