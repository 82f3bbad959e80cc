"""A Spark job of a landing's shape that lands nothing: what it loads goes into the class archive."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql.avro.functions import from_avro
from pyspark.sql.functions import col, expr

from penstock.core.settings import Kafka
from penstock.pipelines import WEATHER_HOURLY as PIPELINE


def main() -> None:
    """Read an empty range of a topic, decode it, and hand it to Python."""
    spark = SparkSession.builder.appName("class-archive").getOrCreate()
    nothing = json.dumps({PIPELINE.topic: {"0": 0}})
    records = (
        spark.read.format("kafka")
        .option("kafka.bootstrap.servers", Kafka.from_env().bootstrap_servers)
        .option("kafka.isolation.level", "read_committed")
        .option("includeHeaders", "true")
        .option("assign", json.dumps({PIPELINE.topic: [0]}))
        .option("startingOffsets", nothing)
        .option("endingOffsets", nothing)
        .load()
    )
    some = spark.range(100).selectExpr("cast(id as string) as text", "cast(null as binary) as value")
    body = from_avro(expr("substring(value, 6)"), PIPELINE.contract.canonical, {"mode": "PERMISSIVE"})
    for frame in (records.select("value"), some.select("value")):
        decoded = frame.select(body.alias("row")).select(col("row.*"))
        decoded.mapInArrow(_counted, "rows bigint").collect()
    spark.stop()


def _counted(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield pa.RecordBatch.from_pydict({"rows": [batch.num_rows]})


if __name__ == "__main__":
    main()
