"""What a landing does about Spark, as far as it needs none."""

import sys

import pytest

from penstock.core.counts import OffsetRange, Produced
from penstock.core.errors import Fatal, Retry
from penstock.core.settings import Kafka
from penstock.sinks.landing import Request
from penstock.sinks.spark_daemon import prefer_installed_packages
from penstock.sinks.spark_landing import _physical, kafka_error
from tests.conformance import AS_OF, CONTRACT

BATCH = Produced("hourly:1", "readings", 7, AS_OF, 1, 1, 0, (OffsetRange(0, 0, 1),))
REQUEST = Request(CONTRACT, "readings", "readings.dlq", ("readings",), (BATCH,))
KAFKA = Kafka("broker:9092", "http://registry")


def test_sparks_zips_come_after_the_installed_packages(monkeypatch):
    pyspark, py4j = "/spark/python/lib/pyspark.zip", "/spark/python/lib/py4j-0.10.9.9-src.zip"
    monkeypatch.setattr(sys, "path", ["/job", pyspark, py4j, "/job/more.zip", "/venv"])
    prefer_installed_packages()
    assert sys.path == ["/job", "/job/more.zip", "/venv", pyspark, py4j]


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        ("KafkaIllegalStateException: Some data may have been lost because", Fatal, "no longer on readings"),
        ("Caused by: ...consumer.OffsetOutOfRangeException: {0=5}", Fatal, "no longer on readings"),
        ("Caused by: ...errors.UnknownTopicOrPartitionException: This server", Fatal, "has no topic readings"),
        ("Caused by: org.apache.kafka.common.errors.TimeoutException: Timed out", Retry, "broker:9092 did not answer"),
    ],
)
def test_errors_of_the_kafka_source_become_one_sentence(said, kind, message):
    error = kafka_error(f"An error occurred.\n{said}\n\tat Frame.call", REQUEST, KAFKA)
    assert type(error) is kind
    assert message in str(error)


def test_other_errors_of_spark_are_not_explained_away():
    assert kafka_error("java.lang.OutOfMemoryError: Java heap space", REQUEST, KAFKA) is None


def test_times_are_read_as_the_numbers_they_are():
    types = {field["name"]: field["type"] for field in _physical(CONTRACT.schema)["fields"]}
    assert (types["time"], types["day"], types["ratio"]) == ("long", ["null", "int"], ["null", "float"])
    assert CONTRACT.schema["fields"][2]["type"]["logicalType"] == "timestamp-millis"
