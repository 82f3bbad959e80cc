"""Spark's Python daemon, `spark.python.daemon.module`, with an import path that starts workers faster.

Spark puts its own pyspark.zip first, and Python compiles each module of a zip anew at every import. Behind the
installed packages, it is only used where pyspark is not installed.
"""

from __future__ import annotations

import sys
from pathlib import Path


def prefer_installed_packages() -> None:
    """Move Spark's own zips to the end of the import path."""
    sys.path.sort(key=_is_of_spark)


def _is_of_spark(entry: str) -> bool:
    return entry.endswith(".zip") and Path(entry).name.startswith(("pyspark", "py4j"))


if __name__ == "__main__":
    prefer_installed_packages()
    from pyspark.daemon import manager

    manager()
