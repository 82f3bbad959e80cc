"""Counts Wikimedia's changes by wiki and minute, for ever: `python spark_jobs/wiki_edits_minute.py`.

Addresses, names and secrets come from the environment. It ends with exit code 0 within 30 s of a SIGTERM; the lines on
stderr say why it ended otherwise, and the next start goes on where it stopped.
"""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import TYPE_CHECKING

from penstock.core.errors import PenstockError
from penstock.core.process import end_with_parent
from penstock.core.settings import StreamJob
from penstock.core.stream import MicroBatch
from penstock.observe import lineage as hops
from penstock.observe.lineage_events import Processing, Run, spark_run
from penstock.pipelines.wiki import WIKI
from penstock.services.stream_driver import Servers, Stop, run

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def main() -> int:
    """Count until SIGTERM. Returns 0, or 1 after saying why not."""
    end_with_parent()
    stop = Stop()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("penstock").setLevel(logging.INFO)
    try:
        with spark_run(partial(hops.counts, WIKI, job=WIKI.counted_by), Processing.STREAMING) as lineage:
            job, written = StreamJob.of("wiki", "wiki_edits_minute"), partial(_count, lineage)
            run(WIKI, job, Servers.from_env(), counts, stop, written=written)
    except PenstockError as error:
        logging.error("%s: %s", type(error).__name__, error)  # noqa: TRY400, LOG015 - its sentence says all
        return 1
    return 0


def _count(lineage: Run, batch: MicroBatch) -> None:
    lineage.count(batch.fates.read, (batch.rows - batch.refused, batch.rows, batch.fates.rejected))


def counts(changes: DataFrame) -> DataFrame:
    """The minute counts of wiki_edits_minute.avsc, of changes with their minute in `window`."""
    from pyspark.sql import functions as F  # noqa: N812 - its usual name

    kind = F.col("type")
    minutes = changes.groupBy("window", "wiki").agg(
        F.count_if(kind.isin("edit", "new")).alias("edits"),
        F.count_if(kind == "categorize").alias("categorizations"),
        F.count_if(kind == "log").alias("log_entries"),
        F.count_if(~kind.isin("edit", "new", "categorize", "log")).alias("others"),
    )
    return minutes.select(F.col("window.start").alias("minute"), *minutes.columns[1:])


if __name__ == "__main__":
    sys.exit(main())
