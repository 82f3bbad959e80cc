"""What the broker's errors mean for the caller, and how long it is waited for."""

import time

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from penstock.core.errors import Fatal, Retry
from penstock.kafka.client import Connection, explain

ADDRESS = "broker.example:9092"
SECRET = "s3cret"


def connection(seconds=10.0, **config):
    return Connection(ADDRESS, {"sasl.password": SECRET, **config}, time.monotonic() + seconds)


def nothing(_seconds):
    return 0


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (KafkaError._FENCED, Fatal, "another attempt of this batch took over"),
        (KafkaError.INVALID_PRODUCER_EPOCH, Fatal, "another attempt of this batch took over"),
        (KafkaError._AUTHENTICATION, Fatal, "check user, password"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, Fatal, "does not allow this user writing to t"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, Fatal, "penstock provision"),
        (KafkaError.MSG_SIZE_TOO_LARGE, Fatal, "max.message.bytes"),
        (KafkaError.INVALID_TIMESTAMP, Fatal, "message.timestamp.after.max.ms"),
        (KafkaError.INVALID_TRANSACTION_TIMEOUT, Fatal, "transaction.max.timeout.ms"),
        (KafkaError._MSG_TIMED_OUT, Retry, "is it running"),
        (KafkaError._TRANSPORT, Retry, "is it running"),
        (KafkaError.NOT_LEADER_FOR_PARTITION, Retry, "Not leader"),
        (KafkaError.NOT_ENOUGH_REPLICAS, Retry, "replicas"),
        (KafkaError.TOPIC_EXCEPTION, Fatal, "topic"),
    ],
)
def test_an_error_is_explained_in_one_sentence(code, kind, said):
    explained = explain(KafkaError(code), ADDRESS, "writing to t")
    assert type(explained) is kind
    assert said in str(explained)
    assert "\n" not in str(explained)


def test_credentials_that_are_refused_end_the_wait_at_once():
    client = connection()
    settings = client.open(dict)

    def refused(_seconds):
        settings["error_cb"](KafkaError(KafkaError._AUTHENTICATION))
        return 1

    def away(_seconds):
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    with pytest.raises(Fatal, match="refuses the connection") as error:
        client.wait("starting", away, refused)
    assert SECRET not in str(error.value)


def test_a_broker_that_is_away_is_asked_again_until_it_answers():
    answers = [KafkaException(KafkaError(KafkaError._TRANSPORT)), KafkaException(KafkaError(KafkaError._TIMED_OUT)), 7]

    def ask(_seconds):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert connection().wait("asking", ask, nothing) == 7


def test_waiting_ends_at_the_deadline_by_the_brokers_address():
    client = connection()

    def away(_seconds):
        client.deadline = time.monotonic()
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    with pytest.raises(Retry, match=f"Kafka at {ADDRESS} did not answer before the deadline, while asking"):
        client.wait("asking", away, nothing)


def test_a_broker_that_answers_is_not_blamed_for_the_deadline():
    client = connection()
    client.wait("asking", lambda _: 1, nothing)
    client.deadline = time.monotonic()
    with pytest.raises(Retry, match="the deadline passed while writing"):
        client.serve("writing", nothing)


def test_an_outage_is_logged_once(caplog):
    client = connection()
    settings = client.open(dict)
    for _ in range(3):
        settings["error_cb"](KafkaError(KafkaError._ALL_BROKERS_DOWN))
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_settings_that_librdkafka_refuses_are_fatal_and_keep_the_password():
    with pytest.raises(Fatal, match="compression") as error:
        connection(**{"compression.type": "best"}).open(Producer)
    assert SECRET not in str(error.value)


def test_no_single_wait_is_longer_than_the_deadline_allows():
    asked = []
    client = connection(seconds=100)
    client.wait("asking", asked.append, nothing)
    client.deadline = time.monotonic() + 0.9
    client.wait("asking", asked.append, nothing)
    assert asked[0] == 1.0
    assert asked[1] <= 0.9


def test_a_fatal_error_that_a_callback_raises_is_explained():
    def poll(_seconds):
        raise KafkaException(KafkaError(KafkaError._FENCED))

    with pytest.raises(Fatal, match="took over"):
        connection().serve("writing", poll)


def test_a_callers_settings_overrule_defaults_but_not_what_is_required():
    settings = connection(acks="0", **{"linger.ms": "1"}).open(dict, {"linger.ms": 20, "a": 1}, {"acks": "all"})
    assert (settings["linger.ms"], settings["acks"], settings["a"]) == ("1", "all", 1)
    assert settings["bootstrap.servers"] == ADDRESS


def test_a_callers_address_overrules_the_default():
    assert connection(**{"bootstrap.servers": "other:1"}).address == "other:1"
