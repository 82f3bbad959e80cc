"""A Spark job that reads a batch from Kafka and parses its JSON into Spark's noop sink; it prints the seconds."""

from __future__ import annotations

import json
import os
import sys
import time

from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812 - its usual name


def main() -> None:
    """Read what the one argument says: a batch as `Produced.to_json` gives it, with `schema` in Spark's DDL."""
    batch = json.loads(sys.argv[1])
    spark = SparkSession.builder.appName("noop").getOrCreate()
    topic, ranges = batch["topic"], batch["ranges"]
    began = time.perf_counter()
    records = (
        spark.read.format("kafka")
        .option("kafka.bootstrap.servers", os.environ["KAFKA_BOOTSTRAP_SERVERS"])
        .option("kafka.isolation.level", "read_committed")
        .option("includeHeaders", "true")
        .option("assign", json.dumps({topic: [each["partition"] for each in ranges]}))
        .option("startingOffsets", json.dumps({topic: {str(each["partition"]): each["start"] for each in ranges}}))
        .option("endingOffsets", json.dumps({topic: {str(each["partition"]): each["end"] for each in ranges}}))
        .load()
    )
    parsed = records.select(F.from_json(F.col("value").cast("string"), batch["schema"]).alias("record"), "headers")
    parsed.select("record.*", "headers").write.format("noop").mode("overwrite").save()
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main()
