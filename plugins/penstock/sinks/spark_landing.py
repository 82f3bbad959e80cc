"""A landing as a Spark job: read offset ranges from Kafka, decode in the JVM, write from Python workers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import reduce
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - its usual name
from pyspark.sql.avro.functions import from_avro

from penstock.core import settings
from penstock.core.contract import Contract
from penstock.core.counts import Landed, OffsetRange
from penstock.core.errors import Fatal, PenstockError, Retry
from penstock.core.pipeline import Wire
from penstock.sinks.catalogue import Address
from penstock.sinks.lander import Lander
from penstock.sinks.landing import Request, Tally, account, reads
from penstock.sinks.prepare import Prepared, Writers

_ONE_TASK = 20_000
"""Up to so many records, another Python worker takes longer to start than it saves."""

_MAGIC = b"\x00"
_ID_BYTES = 4

METADATA = ("partition", "offset", "timestamp", "headers")
"""What Lander needs of each record beside `record`."""

_ERRORS = {each.__name__: each for each in (Retry, Fatal)}


def land(
    spark: SparkSession, request: Request, prepared: Prepared, kafka: settings.Kafka, where: tuple[Address, ...]
) -> list[Landed]:
    """Land all batches of the request, in one Spark job, and return their counts.

    Raises Retry where a server stays away, Fatal where records are missing or something refuses.
    """
    records = _records(spark, request, prepared.writers, kafka)
    if request.records <= _ONE_TASK:
        records = records.coalesce(1)
    outcomes = landed(records, Lander(request, kafka, where, prepared.contested))
    names = [each.name for each in fields(Tally)]
    return account(request.batches, ((each.batch, Tally(*(each[name] for name in names))) for each in outcomes))


def landed(records: DataFrame, lander: Lander) -> list[Row]:
    """What each task of the lander answers. Raises the error that ended one."""
    try:
        outcomes = records.select(*METADATA, "record").mapInArrow(lander, lander.shares.DDL).collect()
    except (PySparkException, Py4JJavaError) as error:
        if known := kafka_error(str(error), lander.request, lander.kafka):
            raise known from error
        raise
    for each in outcomes:
        if each.error_kind:
            raise _ERRORS.get(each.error_kind, PenstockError)(each.error)
    return outcomes


def _records(spark: SparkSession, request: Request, writers: Writers, kafka: settings.Kafka) -> DataFrame:
    """Partition, offset, timestamp, headers and record of everything in the ranges."""
    frames = [_read(spark, request, ranges, kafka) for ranges in reads(request.batches)]
    if not frames:
        raise Fatal(f"no batch of this landing has offsets on {request.topic}: there is nothing to land")
    record = F.col("value") if request.wire is Wire.JSON else _decoded(request.contract, writers)
    return reduce(DataFrame.unionAll, frames).select(*METADATA, record.alias("record"))


def committed_records(request: Request, kafka: settings.Kafka) -> dict[str, str]:
    """What Spark's Kafka source is told to read committed records with their headers, or to fail in time."""
    milliseconds = str(int(request.patience * 1000))
    return {
        "kafka.bootstrap.servers": kafka.bootstrap_servers,
        "kafka.isolation.level": "read_committed",
        "kafka.default.api.timeout.ms": milliseconds,
        "kafka.request.timeout.ms": milliseconds,
        "kafkaConsumer.pollTimeoutMs": milliseconds,
        "fetchOffset.numRetries": "1",
        "includeHeaders": "true",
    }


def _read(spark: SparkSession, request: Request, ranges: Iterable[OffsetRange], kafka: settings.Kafka) -> DataFrame:
    topic = request.topic
    return (
        spark.read.format("kafka")
        .options(**committed_records(request, kafka))
        .option("assign", json.dumps({topic: [each.partition for each in ranges]}))
        .option("startingOffsets", json.dumps({topic: {str(each.partition): each.start for each in ranges}}))
        .option("endingOffsets", json.dumps({topic: {str(each.partition): each.end for each in ranges}}))
        .load()
    )


def _decoded(contract: Contract, writers: Writers) -> Column:
    """The record in `value`: null for an unknown framing, a struct of nulls for a body that does not decode."""
    options = {"mode": "PERMISSIVE", "avroSchema": json.dumps(_physical(contract.schema))}
    width = len(_MAGIC) + _ID_BYTES
    framing, body = F.substring("value", 1, width), F.expr(f"substring(value, {width + 1})")
    decoded = F.lit(None)
    for schema_id, schema in writers.items():
        frame = F.lit(bytearray(_MAGIC + schema_id.to_bytes(_ID_BYTES, "big")))
        decoded = F.when(framing == frame, from_avro(body, json.dumps(schema), options)).otherwise(decoded)
    return decoded


def _physical(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without logical types: times stay the numbers they are, all the way into the sink."""

    def plain(avro_type: Any) -> Any:
        if isinstance(avro_type, list):
            return [plain(each) for each in avro_type]
        return avro_type["type"] if isinstance(avro_type, dict) and "logicalType" in avro_type else avro_type

    return {**schema, "fields": [{**each, "type": plain(each["type"])} for each in schema["fields"]]}


def kafka_error(said: str, request: Request, kafka: settings.Kafka) -> PenstockError | None:
    """What an error of Spark's Kafka source means, which is told by the names in its stack trace alone."""
    where = f"Kafka at {kafka.bootstrap_servers}"
    if "data may have been lost" in said or "OffsetOutOfRangeException" in said:
        return Fatal(f"records to be landed are no longer on {request.topic} ({where}): produce the batches again")
    if "UnknownTopicOrPartitionException" in said or "Partitions specified for Kafka start offsets" in said:
        return Fatal(f"{where} has no topic {request.topic} with these partitions: create it with `make topic`")
    if "org.apache.kafka.common.errors.TimeoutException" in said or "java.util.concurrent.TimeoutException" in said:
        return Retry(f"{where} did not answer within {request.patience:g} s: is the broker running?")
    return None
