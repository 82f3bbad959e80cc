"""A landing that never ends, as a Spark stream: each micro-batch goes through the code that lands batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - its usual name
from pyspark.sql.streaming.query import StreamingQuery

from penstock.core import settings
from penstock.core.errors import Fatal, PenstockError
from penstock.sinks.catalogue import Address
from penstock.sinks.lander import Lander
from penstock.sinks.landing import Request
from penstock.sinks.shares import StreamShares
from penstock.sinks.spark_landing import METADATA, committed_records, kafka_error, landed

OnMicroBatch = Callable[[DataFrame, int], None]
"""What is called with the records of a micro-batch and its number; an error ends the stream."""


@dataclass(frozen=True)
class StreamLanding:
    """The stream from the request's topic to its sink; of the request's batches it takes no notice.

    `file_system` is the address of that which has the job's checkpoint.
    Only one may run at a time, and no batch landing beside it: whoever runs it holds the measurement's lock.
    """

    spark: SparkSession
    request: Request
    kafka: settings.Kafka
    where: tuple[Address, ...]
    job: settings.StreamJob
    file_system: str

    def start(self, on_micro_batch: OnMicroBatch) -> StreamingQuery:
        """Begin where the checkpoint says, or at the topic's beginning."""
        records = (
            self.spark.readStream.format("kafka")
            .options(**committed_records(self.request, self.kafka))
            .option("subscribe", self.request.topic)
            .option("startingOffsets", "earliest")
            .option("failOnDataLoss", "true")
            .option("maxOffsetsPerTrigger", str(self.job.records_at_once))
            .load()
        )
        return (
            records.select(*METADATA, F.col("value").alias("record"))
            .writeStream.option("checkpointLocation", f"{self.file_system}{self.job.checkpoint}")
            .trigger(processingTime=f"{self.job.trigger_seconds} seconds")
            .foreachBatch(on_micro_batch)
            .start()
        )

    def land(self, records: DataFrame) -> list[Row]:
        """Land a micro-batch, and return StreamShares' account of it.

        By one task alone: of two records with one point, a second task could not know what the first is writing.
        """
        lander = Lander(self.request, self.kafka, self.where, endless=True, shares=StreamShares)
        return landed(records.coalesce(1), lander)

    def reason(self, failure: PySparkException | Py4JError) -> PenstockError | None:
        """What an error that ended the stream means, or None where it is not of Kafka."""
        known = kafka_error(str(failure), self.request, self.kafka)
        if isinstance(known, Fatal) and "no longer on" in str(known):
            return Fatal(
                f"records that this stream has not landed yet are no longer on {self.request.topic}: they expired, or "
                f"the topic was made anew; delete its checkpoint {self.job.checkpoint} to go on with what is there"
            )
        return known
