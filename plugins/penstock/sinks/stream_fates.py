"""What became of the records of a micro-batch, by the counters of Spark's operators.

They are read while the batch is not committed yet, so that they can be written down with its rows: Spark's own progress
report comes after the commit, and a driver that is killed between the two would never give it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pyspark.sql import SparkSession

from penstock.core.errors import Fatal
from penstock.core.stream import Fates

# (operator, its counter): what it counts
_COUNTERS = {
    ("MicroBatchScan", "numOutputRows"): "read",
    ("MapInArrow", "pythonNumRowsReceived"): "kept",
    ("StreamingDeduplicate", "numRowsDroppedByWatermark"): "late",
    ("StreamingDeduplicate", "numDroppedDuplicateRows"): "duplicates",
}


def fates_of_running_batch(spark: SparkSession) -> Fates:
    """To be asked once the batch's one job is over. `spark` is the session that its only query was started in.

    Raises Fatal where Spark's plans have changed.

    PySpark has no way to the plan of a running micro-batch, so that this asks the JVM.
    """
    (query,) = spark._jsparkSession.streams().active()  # noqa: SLF001 - see above
    sums: Counter[str] = Counter()
    seen: set[str] = set()
    for operator in _operators(query.streamingQuery().lastExecution().executedPlan()):
        name = operator.nodeName()
        metrics = operator.metrics()
        for (of, counter), meaning in _COUNTERS.items():
            if of == name:
                seen.add(of)
                sums[meaning] += metrics.apply(counter).value()
    if missing := {of for of, _ in _COUNTERS} - seen - {"MicroBatchScan"}:
        raise Fatal(f"Spark's plan has no {', '.join(sorted(missing))}: records cannot be accounted for")
    return Fates(sums["read"], sums["read"] - sums["kept"], sums["late"], sums["duplicates"])


def _operators(plan: Any) -> Iterator[Any]:
    yield plan
    children = plan.children()
    for at in range(children.size()):
        yield from _operators(children.apply(at))
