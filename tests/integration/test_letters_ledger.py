"""The ledger's account of the dead letters, against the real broker and database."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Producer

from penstock.core.batch import Batch, Interval
from penstock.core.counts import OffsetRange, Produced
from penstock.core.errors import Fatal
from penstock.kafka.dead_letters import DeadLetter, LetterBox, Origin, read_at
from penstock.kafka.topics import Topic, ensure
from penstock.ledger.dead_letters import DeadLetters, LetterState, kind_of
from penstock.ledger.landings import Fates, LandedOffsets, StreamLandings
from penstock.ledger.store import Ledger, Run

pytestmark = pytest.mark.integration

START = datetime(2026, 11, 1, 6, tzinfo=UTC)
AS_OF = START + timedelta(hours=1, microseconds=7)
LATER = AS_OF + timedelta(hours=1)
BATCH = Batch("weather_hourly", Interval(START, START + timedelta(hours=1)))
HOT = "temperature_2m is 999.0, above its maximum of 70"


@pytest.fixture
def topic(kafka_settings, unique):
    """A dead-letter topic of two partitions."""
    ensure(kafka_settings.bootstrap_servers, [Topic(f"{unique}.dlq", 2)])
    return f"{unique}.dlq"


@pytest.fixture
def ledger_of_test(ledger_url):
    found = Ledger(ledger_url)
    found.migrate()
    return found


@pytest.fixture
def letters(ledger_url, ledger_of_test):
    return DeadLetters(ledger_url)


@pytest.fixture
def send(kafka_settings, topic):
    box = LetterBox(kafka_settings, topic)
    return lambda *sent: box.send(sent, timeout=30)


@pytest.fixture
def take_up(letters, kafka_settings, topic):
    return lambda: letters.take_up(kafka_settings, {topic: "weather_hourly"})


def of_batch(value, reason=HOT, as_of=AS_OF):
    return DeadLetter.of_record(value, reason, BATCH.id, as_of)


def landed(offset, value=b"{}", reason="latitude is missing"):
    return DeadLetter(reason, value, None, None, Origin("some", 1, offset))


def test_letters_are_taken_up_once_each_with_what_they_are(letters, take_up, send, topic):
    send(of_batch({"a": 1}), landed(17))
    assert take_up() == 2
    assert take_up() == 0

    ours, theirs = sorted(letters.rows(), key=lambda row: row.batch_id is None)
    assert (ours.batch_id, ours.as_of, ours.origin, ours.reason) == (BATCH.id, AS_OF, None, HOT)
    assert (theirs.batch_id, theirs.as_of, theirs.origin) == (None, None, Origin("some", 1, 17))
    assert {ours.data_set, theirs.data_set} == {"weather_hourly"}
    assert {ours.topic, theirs.topic} == {topic}
    assert datetime.now(UTC) - ours.written < timedelta(minutes=5)
    assert ours.to_json()["state"] == "open"


def test_a_letter_that_was_written_twice_is_one(letters, take_up, send):
    send(landed(17), landed(17))
    take_up()
    send(landed(17))
    take_up()
    assert len(letters.rows()) == 1


def test_another_record_at_the_same_place_of_a_topic_made_anew_is_another_letter(letters, take_up, send):
    send(landed(17, b"one"), landed(17, b"other"))
    take_up()
    assert len(letters.rows()) == 2


def test_two_at_once_take_up_each_letter_once(letters, take_up, send):
    send(*(landed(offset) for offset in range(1200)))
    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(lambda _: take_up(), range(2))) == 1200
    assert len(letters.rows(limit=None)) == 1200


def test_letters_are_found_by_state_reason_and_batch_and_counted_by_kind(letters, take_up, send):
    send(of_batch({"a": 1}), of_batch({"a": 2}, HOT.replace("999", "888")), landed(17))
    take_up()
    kind = "temperature_2m is …, above its maximum of …"
    assert letters.by_reason() == {("weather_hourly", kind): 2, ("weather_hourly", "latitude is missing"): 1}
    assert len(letters.rows(reason=kind)) == 2
    assert [row.reason for row in letters.rows(reason="888")] == [HOT.replace("999", "888")]
    assert len(letters.rows(batch_id=BATCH.id)) == 2
    assert len(letters.rows(limit=1)) == 1
    assert letters.rows(state=LetterState.DROPPED) == []
    assert letters.rows(data_set="population") == []
    assert letters.open_counts() == {"weather_hourly": 3}


def test_letters_are_looked_up_by_id_and_an_unknown_id_is_named(letters, take_up, send):
    send(landed(1), landed(2))
    take_up()
    first, second = letters.rows()
    assert letters.letters([second.id, first.id]) == [second, first]
    with pytest.raises(Fatal, match=r"no dead letter 4711: `penstock dlq list`"):
        letters.letters([first.id, 4711])


def test_a_letter_s_value_is_read_from_its_topic(letters, take_up, send, kafka_settings):
    sent = of_batch({"a": 1})
    send(landed(3), sent)
    take_up()
    (row,) = letters.rows(batch_id=BATCH.id)
    assert read_at(kafka_settings, row.topic, row.partition, row.offset) == sent
    with pytest.raises(Fatal, match=r"no dead letter at .*|does not hold offset"):
        read_at(kafka_settings, row.topic, row.partition, row.offset + 1_000, timeout=3)


def test_what_others_put_on_a_dead_letter_topic_is_listed_and_stops_nothing(letters, take_up, topic, kafka_settings):
    producer = Producer({"bootstrap.servers": kafka_settings.bootstrap_servers})
    producer.produce(topic, b"junk")
    producer.flush(30)
    assert take_up() == 1
    (row,) = letters.rows(reason="no header")
    assert row.batch_id is None
    assert read_at(kafka_settings, row.topic, row.partition, row.offset).value == b"junk"


def test_a_letter_of_an_attempt_that_a_newer_one_superseded_is_dropped(letters, take_up, send, ledger_of_test):
    send(of_batch({"a": 1}), of_batch({"a": 2}))
    take_up()
    assert letters.open_counts() == {"weather_hourly": 2}

    send(of_batch({"a": 2}, as_of=LATER))  # the source still has this one
    produced = Produced(BATCH.id, "hourlymetrics", 1, LATER, fetched=5, acked=5, rejected=1, ranges=())
    ledger_of_test.produced(BATCH, produced, Run("weather_hourly/manual", 2))
    take_up()
    (still_open,) = letters.rows()
    assert still_open.as_of == LATER
    (dropped,) = letters.rows(state=LetterState.DROPPED)
    assert dropped.resolved_by == "penstock"
    assert dropped.why == f"its batch was produced anew, as of {LATER:%Y-%m-%dT%H:%M:%SZ}"


def test_the_kind_of_a_reason_has_none_of_its_values():
    assert kind_of("country is 'O\\'Neil 7', not a double") == "country is …, not a double"
    assert kind_of("time is -12.5, below its minimum of 0") == "time is …, below its minimum of …"
    assert kind_of("temperature_2m is missing") == "temperature_2m is missing"


@pytest.mark.usefixtures("ledger_of_test")
def test_a_replay_that_a_stream_has_landed_is_not_among_its_attempt_s_own_records(ledger_url):
    landings = StreamLandings(ledger_url, "some", "a-topic-id")
    landings.note([LandedOffsets(0, BATCH.id, AS_OF, read=[(5, 10), (20, 21)], rejected=[(7, 8)])])
    landings.note([LandedOffsets(1, None, None, read=[(0, 3)], rejected=[(1, 2)])])
    ranges, claimed = (OffsetRange(0, 5, 10),), (OffsetRange(1, 0, 3),)
    produced = Produced(BATCH.id, "some", 1, AS_OF, fetched=8, acked=8, rejected=0, ranges=ranges, claimed=claimed)
    assert landings.fates(produced) == Fates(8, (OffsetRange(0, 7, 8), OffsetRange(1, 1, 2)))
    assert [landings.rejects(0, offset) for offset in (6, 7, 8, 20)] == [False, True, False, False]
