"""Spark's properties for this instance, and the class archive that halves the start of a small job.

A JVM that finds its classes parsed in an archive (JDK 17's application class-data sharing) starts Spark in about half
the time. The archive fits one class path only, so it is made once for each combination of wheel, jars and JVM, by
running a small job of the same shape, and kept in the per-user cache.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from penstock.core.errors import Fatal
from penstock.core.settings import PROJECT
from penstock.stack.artifacts import java_home
from penstock.stack.context import Context
from penstock.stack.servers import SPARK_JARS, airflow_environment
from penstock.stack.templates import render_folder

_TRAINING = PROJECT / "spark_jobs" / "class_archive.py"


def prepare(context: Context, say: Callable[[str], None]) -> None:
    """Write the properties, and make the class archive where this user has none for this class path."""
    jars = sorted(SPARK_JARS.path(context.layout.cache).glob("*.jar"))
    if not jars:
        raise Fatal(f"{SPARK_JARS.path(context.layout.cache)} has no jars: delete it and run again")
    archive = _archive(context, jars)
    local = context.layout.var / "spark"
    local.mkdir(parents=True, exist_ok=True)
    conf = context.layout.conf("spark")
    values = {"jars": jars, "conf": conf, "local_dir": local, "cds_archive": archive if archive.exists() else None}
    render_folder("spark", conf, values)
    if not archive.exists():
        say("making the class archive, once")
        _train(context, archive, conf / "spark-defaults.conf")
        render_folder("spark", conf, values | {"cds_archive": archive})


def _archive(context: Context, jars: list[Path]) -> Path:
    import pyspark

    wheel = Path(pyspark.__file__).parent
    release = (java_home() / "release").read_bytes() if (java_home() / "release").exists() else b""
    identity = "\n".join([str(wheel), pyspark.__version__, *map(str, jars)]).encode() + release
    return context.layout.cache / "class-archives" / f"spark-{hashlib.sha256(identity).hexdigest()[:12]}.jsa"


def _train(context: Context, archive: Path, properties: Path) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    staging = archive.with_name(f".{archive.name}.{os.getpid()}")
    environment: Mapping[str, str] = {**context.environment(), **airflow_environment(context)}
    option = f"spark.driver.extraJavaOptions=-XX:ArchiveClassesAtExit={staging}"
    command = ["spark-submit", "--master", "local[1]", "--properties-file", str(properties), "--conf", option]
    log = context.layout.log("spark-training")
    with log.open("w") as output:
        done = subprocess.run(
            [*command, str(_TRAINING)], env=environment, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode or not staging.exists():
        raise Fatal(f"Spark could not run its first small job (exit code {done.returncode}): see {log}")
    staging.rename(archive)
