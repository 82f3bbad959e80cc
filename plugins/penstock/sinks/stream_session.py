"""A Spark session for a stream: the Python program is the parent, and Spark's JVM its child.

So supervisord knows the program that decides, and the JVM ends with it, because it reads the end of a pipe. It is in a
session of its own: a SIGTERM to the program's group must not end it in the middle of a micro-batch.
"""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Mapping

from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

from penstock.core import settings

log = logging.getLogger(__name__)

_STATE = "spark.sql.streaming.stateStore"

_CONF: Mapping[str, str] = {
    f"{_STATE}.providerClass": "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider",
    # A micro-batch then saves what it has changed, and now and then everything.
    f"{_STATE}.rocksdb.changelogCheckpointing.enabled": "true",
    f"{_STATE}.rocksdb.boundedMemoryUsage": "true",
    f"{_STATE}.rocksdb.maxMemoryUsageMB": "256",
    # It would look up each key once more, for a metric that nobody reads.
    f"{_STATE}.rocksdb.trackTotalNumberOfRows": "false",
    # A partition that is behind holds minutes open: see stream_source.py.
    "spark.sql.streaming.multipleWatermarkPolicy": "min",
    "spark.sql.session.timeZone": "UTC",
    # A closed block is reported within milliseconds; the default of 400 ms is waited for with each small file.
    "spark.hadoop.dfs.client.block.write.locateFollowingBlock.initial.delay.ms": "10",
    "spark.hadoop.dfs.client.use.datanode.hostname": "true",
    # In ms; a query that waits for what does not answer is then left to the end of the process.
    "spark.sql.streaming.stopTimeout": "5000",
    "spark.ui.showConsoleProgress": "false",
    # C2 takes nearly the processor time that the first half million records do, and saves nothing on the next ones.
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
}


def session(name: str, job: settings.StreamJob, hdfs: settings.Hdfs) -> SparkSession:
    """Start Spark for this process, which must not have a session yet."""
    properties = ["--properties-file", str(job.properties_file)] if job.properties_file else []
    os.environ["PYSPARK_SUBMIT_ARGS"] = shlex.join(["--master", job.master, *properties, "pyspark-shell"])
    os.environ["HADOOP_USER_NAME"] = hdfs.user
    conf = SparkConf().setAppName(name).setAll(list(_CONF.items()))
    conf.set("spark.hadoop.dfs.replication", str(job.replication))
    gateway = launch_gateway(conf, {"start_new_session": True})  # type: ignore[no-untyped-call]
    return SparkSession(SparkContext(conf=conf, gateway=gateway))


def stopped(spark: SparkSession) -> None:
    """Stop Spark, and with it its queries, if its JVM still lives."""
    try:
        for query in spark.streams.active:
            query.stop()
        spark.stop()
    except (Py4JError, PySparkException, OSError) as error:
        log.warning("Spark did not stop in order (%s): it ends with this process", type(error).__name__)
