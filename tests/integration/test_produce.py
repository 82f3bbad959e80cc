"""What one attempt to produce a batch promises, against the real broker."""

import json
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from io import BytesIO

import fastavro
import pytest
from confluent_kafka import Consumer, TopicPartition

from penstock.core.batch import Batch, Interval
from penstock.core.contract import Contract
from penstock.core.counts import OffsetRange
from penstock.core.errors import Fatal, Retry
from penstock.core.settings import INCLUDE, PROJECT, Kafka
from penstock.kafka import dead_letters, headers, reader
from penstock.kafka.produce import produce
from penstock.kafka.topics import Topic, ensure

pytestmark = pytest.mark.integration

CONTRACT = Contract.load(INCLUDE / "avro" / "hourlymetrics.avsc")
SCHEMA_ID = 7
FIRST_HOUR = 1_767_225_600_000
SECONDS = 60.0


def reading(number, **changes):
    return {
        "latitude": 40.0 + number % 20,
        "longitude": 13.41,
        "time": FIRST_HOUR + 3_600_000 * number,
        "grid_latitude": 52.5,
        "grid_longitude": 13.4,
        "temperature_2m": number / 10,
        "relative_humidity_2m": number % 101,
        **changes,
    }


def readings(count):
    return (reading(number) for number in range(count))


class Case:
    """A topic of its own, with what is needed to produce a batch to it."""

    def __init__(self, kafka: Kafka, name: str) -> None:
        self.kafka = kafka
        self.topic = name
        self.dead_letter_topic = f"{name}.dlq"
        day = datetime(2026, 1, 1, tzinfo=UTC)
        self.batch = Batch(f"hourly_{name}", Interval(day, day + timedelta(days=1)))
        ensure(kafka.bootstrap_servers, [Topic(self.topic, 3), Topic(self.dead_letter_topic, 1)])

    def produce(self, records, *, seconds=SECONDS, **changes):
        given = {
            "topic": self.topic,
            "dead_letter_topic": self.dead_letter_topic,
            "kafka": self.kafka,
            "schema_id": SCHEMA_ID,
            "as_of": datetime.now(UTC),
            "deadline": time.monotonic() + seconds,
        }
        return produce(self.batch, CONTRACT, records=records, **(given | changes))

    def visible(self):
        """All that a reader of committed records sees on the topic."""
        return list(reader.read(self.kafka, self.topic, reader.extent(self.kafka, self.topic)))

    def dead_letters(self):
        return list(dead_letters.read(self.kafka, self.dead_letter_topic))

    def wait_for_uncommitted(self, count):
        """Return once `count` records lie on the topic, committed or not."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.kafka.bootstrap_servers,
                "group.id": self.topic,
                "isolation.level": "read_uncommitted",
            }
        )
        consumer.assign([TopicPartition(self.topic, partition, 0) for partition in range(3)])
        until, seen = time.monotonic() + SECONDS, 0
        while seen < count and time.monotonic() < until:
            seen += sum(message.error() is None for message in consumer.consume(1000, 0.2))
        consumer.close()
        assert seen >= count


@pytest.fixture
def case(kafka_settings, unique):
    return Case(kafka_settings, unique)


def decoded(message):
    assert message.value[0] == 0
    assert int.from_bytes(message.value[1:5]) == SCHEMA_ID
    schema = {**CONTRACT.schema, "fields": [dict(each) for each in CONTRACT.schema["fields"]]}
    schema["fields"][2]["type"] = "long"  # the physical value, not a datetime
    return fastavro.schemaless_reader(BytesIO(message.value[5:]), schema)


def test_a_batch_is_on_its_topic_with_key_time_and_headers(case):
    as_of = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    produced = case.produce(readings(1000), as_of=as_of)
    assert (produced.fetched, produced.acked, produced.rejected) == (1000, 1000, 0)

    messages = list(reader.read(case.kafka, case.topic, produced.ranges, case.batch.id))
    assert len(messages) == 1000
    for message in messages:
        record = decoded(message)
        assert message.timestamp == record["time"]
        assert json.loads(message.key) == {"latitude": record["latitude"], "longitude": record["longitude"]}
        assert message.headers == {"batch_id": case.batch.id.encode(), "as_of": b"2026-01-02T03:04:05.000678+00:00"}
        assert headers.time(message.headers) == as_of
    numbers = sorted(round(decoded(message)["temperature_2m"] * 10) for message in messages)
    assert numbers == list(range(1000))


def test_one_key_is_in_one_partition(case):
    case.produce(readings(200))
    partitions = Counter((message.key, message.partition) for message in case.visible())
    assert len(partitions) == 20


def test_a_batch_without_records_has_no_ranges(case):
    produced = case.produce([])
    assert (produced.fetched, produced.acked, produced.ranges) == (0, 0, ())


def test_ranges_tell_a_batch_from_what_was_there_before(case):
    case.produce(readings(50))
    produced = case.produce(readings(30))
    assert sum(each.end - each.start for each in produced.ranges) == 30
    assert len(list(reader.read(case.kafka, case.topic, produced.ranges))) == 30


def test_records_that_break_the_contract_go_to_the_dead_letters_and_the_rest_lands(case):
    records = list(readings(300))
    records[10]["latitude"] = 95.0
    records[20]["rain"] = "wet"
    del records[299]["time"]
    produced = case.produce(records)
    assert (produced.fetched, produced.acked, produced.rejected) == (300, 300, 3)
    assert len(case.visible()) == 297

    letters = case.dead_letters()
    assert {letter.reason: json.loads(letter.value) for letter in letters} == {
        "latitude is 95.0, above its maximum of 90": records[10],
        "rain is 'wet', not a double": records[20],
        "time is missing": records[299],
    }
    assert {(letter.batch_id, letter.as_of, letter.origin) for letter in letters} == {
        (case.batch.id, produced.as_of, None)
    }


def test_a_batch_of_nothing_but_bad_records_is_produced(case):
    produced = case.produce([{"nonsense": number} for number in range(20)])
    assert (produced.fetched, produced.acked, produced.rejected, produced.ranges) == (20, 20, 20, ())
    assert len(case.dead_letters()) == 20


def test_a_record_too_large_for_a_message_goes_to_the_dead_letters(case):
    produced = case.produce(readings(40), config={"message.max.bytes": "1000"})
    assert produced.rejected == 0
    huge = reading(1, temperature_2m="x" * 2_000_000)
    produced = case.produce([huge, *readings(40)])
    assert (produced.acked, produced.rejected) == (41, 1)
    (letter,) = case.dead_letters()
    assert len(letter.value) < 1_000_000
    assert "the value is cut" in letter.reason


def test_an_attempt_whose_source_fails_is_invisible_and_its_error_is_the_sources(case):
    class SourceFailed(Exception):
        pass

    def records():
        yield {"nonsense": 1.0}
        yield from readings(2000)
        case.wait_for_uncommitted(1000)
        raise SourceFailed

    with pytest.raises(SourceFailed):
        case.produce(records())
    assert case.visible() == []
    assert case.dead_letters() == []

    produced = case.produce(readings(100))
    assert len(case.visible()) == 100
    assert len(list(reader.read(case.kafka, case.topic, produced.ranges))) == 100


def test_a_zombie_is_fenced_and_leaves_nothing(case):
    successor = {}

    def records():
        yield from readings(2000)
        case.wait_for_uncommitted(1000)
        successor["produced"] = case.produce(readings(500))
        yield from readings(1000)

    with pytest.raises(Fatal, match="another attempt of this batch took over"):
        case.produce(records())
    assert {headers.time(message.headers) for message in case.visible()} == {successor["produced"].as_of}
    assert len(case.visible()) == 500


def test_a_zombie_is_fenced_at_its_commit_too(case):
    def records():
        yield from readings(512)
        case.wait_for_uncommitted(512)
        case.produce(readings(500))

    with pytest.raises(Fatal, match="another attempt of this batch took over"):
        case.produce(records())
    assert len(case.visible()) == 500


def test_a_retry_after_kill_9_leaves_one_copy(case):
    script = textwrap.dedent(
        f"""
        import sys
        sys.path[:0] = [{str(PROJECT / "plugins")!r}, {str(PROJECT)!r}]
        from penstock.core.settings import Kafka
        from tests.integration.test_produce import Case, readings

        def records():
            yield from readings(3000)
            sys.stdin.read()

        Case(Kafka({case.kafka.bootstrap_servers!r}, ""), {case.topic!r}).produce(records())
        """
    )
    killed = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
    case.wait_for_uncommitted(2000)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert case.visible() == []

    produced = case.produce(readings(3000))
    assert len(case.visible()) == 3000
    assert {headers.time(message.headers) for message in case.visible()} == {produced.as_of}


def test_a_missing_topic_is_named_with_the_remedy(case, unique):
    with pytest.raises(Fatal, match=f"topic {unique}-other: create it with"):
        case.produce(readings(1), topic=f"{unique}-other")
    with pytest.raises(Fatal, match=f"topic {unique}-other: create it with"):
        case.produce(readings(1), dead_letter_topic=f"{unique}-other")


@pytest.mark.parametrize("year", [1940, 1969, 2040])
def test_times_long_past_and_in_the_future_are_kept(case, year):
    time_ms = int(datetime(year, 6, 1, tzinfo=UTC).timestamp()) * 1000
    case.produce([reading(1, time=time_ms)])
    assert [message.timestamp for message in case.visible()] == [time_ms]


def test_a_topic_that_refuses_a_forecasts_times_is_fatal_with_the_remedy(case, unique):
    ensure(case.kafka.bootstrap_servers, [Topic(f"{unique}-plain", 1, config={})])
    with pytest.raises(Fatal, match=r"message\.timestamp\.after\.max\.ms"):
        case.produce([reading(1, time=2_200_000_000_000)], topic=f"{unique}-plain")


def test_a_source_slower_than_the_deadline_is_given_up_and_leaves_nothing(case):
    def records():
        yield from readings(2000)
        time.sleep(3)
        yield from readings(2000)

    with pytest.raises(Retry, match="the deadline passed"):
        case.produce(records(), seconds=2.5)
    assert case.visible() == []


def test_a_deadline_beyond_the_brokers_longest_transaction_is_refused(case):
    with pytest.raises(Fatal, match=r"transaction\.max\.timeout\.ms"):
        case.produce(readings(1), seconds=1_000_000)


def test_a_broker_that_is_not_there_is_retried_by_its_address(case):
    nowhere = Kafka("127.0.0.1:1", "")
    with pytest.raises(Retry, match=r"127\.0\.0\.1:1"):
        case.produce(readings(1), kafka=nowhere, seconds=2)


def test_wrong_settings_of_the_producer_are_named(case):
    with pytest.raises(Fatal, match="compression"):
        case.produce(readings(1), config={"compression.type": "best"})


def test_a_setting_cannot_weaken_the_promise(case):
    produced = case.produce(readings(10), config={"acks": "0", "enable.idempotence": "false"})
    assert produced.acked == 10
    assert len(case.visible()) == 10


def test_a_broker_away_for_a_while_is_waited_for(case, stack):
    def records():
        yield from readings(5000)
        case.wait_for_uncommitted(1)
        stack.stop("kafka")
        restart.start()
        yield from readings(5000)

    restart = threading.Timer(3.0, stack.start, ["kafka"])
    produced = case.produce(records(), seconds=120, config={"queue.buffering.max.messages": "1000"})
    restart.join()
    assert produced.acked == 10_000
    assert len(list(reader.read(case.kafka, case.topic, produced.ranges, case.batch.id))) == 10_000
    assert len(case.visible()) == 10_000


def test_a_broker_away_past_the_deadline_is_retried_and_nothing_is_visible(case, stack):
    def records():
        yield from readings(5000)
        case.wait_for_uncommitted(1)
        stack.stop("kafka")
        yield from readings(5000)

    try:
        with pytest.raises(Retry, match=f"Kafka at {case.kafka.bootstrap_servers}"):
            case.produce(records(), seconds=15)
    finally:
        stack.start("kafka")
    assert case.visible() == []
    produced = case.produce(readings(10_000))
    assert produced.acked == 10_000
    assert len(case.visible()) == 10_000


def test_reading_stops_at_the_end_of_a_range_that_ends_in_aborted_records(case):
    case.produce(readings(10))

    def failing():
        yield from readings(2000)
        case.wait_for_uncommitted(1500)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        case.produce(failing())
    everything = reader.extent(case.kafka, case.topic)
    assert sum(each.end - each.start for each in everything) > 1000
    assert len(list(reader.read(case.kafka, case.topic, everything))) == 10


def test_reading_behind_an_unfinished_transaction_is_retried(case):
    first = case.produce(readings(20))

    def records():
        yield from readings(2000)
        case.wait_for_uncommitted(1500)
        for each in first.ranges:
            beyond = OffsetRange(each.partition, each.start, each.end + 10)
            with pytest.raises(Retry, match="unfinished transaction"):
                list(reader.read(case.kafka, case.topic, [beyond], timeout=1))

    case.produce(records())


def test_offsets_that_are_gone_are_fatal(case):
    produced = case.produce(readings(20))
    gone = OffsetRange(produced.ranges[0].partition, 10_000, 10_010)
    with pytest.raises(Fatal, match="does not hold offset 10000"):
        list(reader.read(case.kafka, case.topic, [gone], timeout=10))


def test_only_one_batchs_records_are_read(case):
    produced = case.produce(readings(20))
    assert list(reader.read(case.kafka, case.topic, produced.ranges, "another")) == []
