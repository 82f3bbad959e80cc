"""Moving rejected records to the dead letters, and listing them, against the real broker."""

import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Producer

from penstock.core.batch import Batch, Interval
from penstock.core.contract import Contract
from penstock.core.errors import Fatal, Retry
from penstock.core.settings import INCLUDE, PROJECT, Kafka
from penstock.kafka import reader
from penstock.kafka.dead_letters import Origin, Rejected, forward, read
from penstock.kafka.produce import produce
from penstock.kafka.topics import Topic, ensure

pytestmark = pytest.mark.integration

CONTRACT = Contract.load(INCLUDE / "avro" / "dailymetrics.avsc")
AS_OF = datetime(2026, 11, 22, 8, 0, 0, 1, tzinfo=UTC)
DAY = datetime(2026, 1, 1, tzinfo=UTC)
BATCH = Batch("daily", Interval(DAY, DAY + timedelta(days=1)))


@pytest.fixture
def topic(kafka_settings, unique):
    ensure(kafka_settings.bootstrap_servers, [Topic(unique, 2), Topic(f"{unique}.dlq", 1)])
    return unique


@pytest.fixture
def messages(kafka_settings, topic):
    """Three thousand records of a batch, as they lie on the topic."""
    produced = produce(
        BATCH,
        CONTRACT,
        topic=topic,
        dead_letter_topic=f"{topic}.dlq",
        records=(
            {"latitude": number % 90, "longitude": 1.0, "time": number, "grid_latitude": 1.0, "grid_longitude": 1.0}
            for number in range(3000)
        ),
        kafka=kafka_settings,
        schema_id=1,
        as_of=AS_OF,
        deadline=time.monotonic() + 60,
    )
    return list(reader.read(kafka_settings, topic, produced.ranges))


def rejected(message, reason="wrong"):
    return Rejected(message.topic, message.partition, message.offset, reason)


def moved(kafka, topic, rejects):
    return forward(kafka, f"{topic}.dlq", rejects, deadline=time.monotonic() + 60)


def test_rejected_records_are_copied_byte_for_byte_with_their_origin(kafka_settings, topic, messages):
    chosen = [messages[5], messages[6], messages[1400], messages[2999]]
    rejects = [rejected(message, f"reason {number}") for number, message in enumerate(chosen)]
    assert moved(kafka_settings, topic, rejects) == 4

    letters = {letter.reason: letter for letter in read(kafka_settings, f"{topic}.dlq")}
    assert len(letters) == 4
    for number, message in enumerate(chosen):
        letter = letters[f"reason {number}"]
        assert letter.value == message.value
        assert letter.origin == Origin(topic, message.partition, message.offset)
        assert (letter.batch_id, letter.as_of) == (BATCH.id, AS_OF)


def test_nothing_rejected_is_nothing_sent():
    assert forward(Kafka("127.0.0.1:1", ""), "any", [], deadline=0) == 0


def test_a_repeated_landing_writes_letters_of_the_same_id(kafka_settings, topic, messages):
    rejects = [rejected(message) for message in messages[:10]]
    moved(kafka_settings, topic, rejects)
    moved(kafka_settings, topic, rejects)
    letters = list(read(kafka_settings, f"{topic}.dlq"))
    assert len(letters) == 20
    assert len({letter.id for letter in letters}) == 10


def test_a_record_of_another_program_is_kept_without_a_batch(kafka_settings, topic):
    producer = Producer({"bootstrap.servers": kafka_settings.bootstrap_servers})
    producer.produce(topic, b"\xff\xfe not Avro", partition=0)
    producer.flush()
    assert moved(kafka_settings, topic, [Rejected(topic, 0, 0, "no Avro")]) == 1
    (letter,) = read(kafka_settings, f"{topic}.dlq")
    assert (letter.value, letter.batch_id, letter.as_of) == (b"\xff\xfe not Avro", None, None)


def test_only_one_batchs_letters_are_listed(kafka_settings, topic, messages):
    moved(kafka_settings, topic, [rejected(messages[0])])
    assert len(list(read(kafka_settings, f"{topic}.dlq", BATCH.id))) == 1
    assert list(read(kafka_settings, f"{topic}.dlq", "another")) == []


def test_a_record_that_is_gone_is_fatal_not_forgotten(kafka_settings, topic, messages):
    with pytest.raises(Fatal, match="does not hold offset 1000000"):
        moved(kafka_settings, topic, [rejected(messages[0]), Rejected(topic, 0, 1_000_000, "beyond")])


def test_an_offset_without_a_record_is_fatal_not_forgotten(kafka_settings, topic, messages):
    last = max(message.offset for message in messages if message.partition == 0)
    with pytest.raises(
        Fatal, match=f"1 rejected records are not on their topic any more, the first {topic}-0@{last + 1}"
    ):
        moved(kafka_settings, topic, [rejected(messages[0]), Rejected(topic, 0, last + 1, "the commit's marker")])


def test_a_missing_dead_letter_topic_is_an_error(kafka_settings, topic, messages, unique):
    with pytest.raises(Fatal, match=f"no such topic while looking up the topic {unique}-none"):
        forward(kafka_settings, f"{unique}-none", [rejected(messages[0])], deadline=time.monotonic() + 60)


def test_a_broker_that_is_away_is_retried():
    with pytest.raises(Retry, match=r"127\.0\.0\.1:1"):
        forward(Kafka("127.0.0.1:1", ""), "any", [Rejected("t", 0, 0, "r")], deadline=time.monotonic() + 2)


def test_it_works_in_a_process_that_has_neither_airflow_nor_spark(kafka_settings, topic, messages):
    message = messages[0]
    script = textwrap.dedent(
        f"""
        import sys, time
        sys.modules["airflow"] = sys.modules["pyspark"] = None
        sys.path.insert(0, {str(PROJECT / "plugins")!r})
        from penstock.core.settings import Kafka
        from penstock.kafka.dead_letters import Rejected, forward
        kafka = Kafka({kafka_settings.bootstrap_servers!r}, "")
        rejects = [Rejected({topic!r}, {message.partition}, {message.offset}, "wrong")]
        print(forward(kafka, {topic + ".dlq"!r}, rejects, deadline=time.monotonic() + 60))
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
