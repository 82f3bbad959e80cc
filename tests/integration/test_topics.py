"""Making topics as they are declared, on the real broker."""

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from penstock.core.errors import Fatal, Retry
from penstock.kafka.shared import topic_id
from penstock.kafka.topics import EVENT_TIMED, Topic, describe, ensure
from penstock.kafka.topics_file import declared

pytestmark = pytest.mark.integration


@pytest.fixture
def servers(kafka_settings):
    return kafka_settings.bootstrap_servers


def partitions(servers, name):
    (found,) = describe(servers, name)
    return len(found.ranges)


def setting(servers, name, key):
    admin = AdminClient({"bootstrap.servers": servers})
    resource = ConfigResource(ResourceType.TOPIC, name)
    return admin.describe_configs([resource])[resource].result()[key].value


def test_missing_topics_are_created_once(servers, unique):
    topics = [Topic(unique, 3), Topic(f"{unique}.dlq", 1)]
    assert ensure(servers, topics) == [f"created {unique} with 3 partitions", f"created {unique}.dlq with 1 partitions"]
    assert ensure(servers, topics) == []
    assert (partitions(servers, unique), partitions(servers, f"{unique}.dlq")) == (3, 1)


def test_a_topic_keeps_records_whatever_their_event_time(servers, unique):
    ensure(servers, [Topic(unique, 1)])
    assert {name: setting(servers, unique, name) for name in EVENT_TIMED} == EVENT_TIMED


def test_a_topic_made_anew_has_another_id(servers, kafka_settings, unique):
    ensure(servers, [Topic(unique, 1)])
    first = topic_id(kafka_settings, unique)
    assert topic_id(kafka_settings, unique) == first
    admin = AdminClient({"bootstrap.servers": servers})
    admin.delete_topics([unique], operation_timeout=30)[unique].result()
    ensure(servers, [Topic(unique, 1)])
    assert topic_id(kafka_settings, unique) != first


def test_a_topic_that_does_not_exist_has_no_id(kafka_settings, unique):
    with pytest.raises(Fatal, match=unique):
        topic_id(kafka_settings, unique)


def test_a_topic_is_widened_and_never_narrowed(servers, unique):
    ensure(servers, [Topic(unique, 2)])
    assert ensure(servers, [Topic(unique, 5)]) == [f"widened {unique} from 2 to 5 partitions"]
    assert ensure(servers, [Topic(unique, 2)]) == []
    assert partitions(servers, unique) == 5


def test_settings_are_applied_and_others_left_alone(servers, unique):
    ensure(servers, [Topic(unique, 1, config={"retention.ms": "1000", "cleanup.policy": "compact"})])
    assert ensure(servers, [Topic(unique, 1, config={"retention.ms": "2000"})]) == [
        f"set retention.ms=2000 on {unique}"
    ]
    assert ensure(servers, [Topic(unique, 1, config={"retention.ms": "2000"})]) == []
    assert setting(servers, unique, "cleanup.policy") == "compact"


def test_more_replicas_than_brokers_are_refused(servers, unique):
    with pytest.raises(Fatal, match=f"creating the topic {unique}.*[Rr]eplication"):
        ensure(servers, [Topic(unique, 1, replication=3)])


def test_a_setting_that_does_not_exist_is_refused_by_name(servers, unique):
    ensure(servers, [Topic(unique, 1)])
    with pytest.raises(Fatal, match=r"retention\.days"):
        ensure(servers, [Topic(unique, 1, config={"retention.days": "7"})])


def test_no_topics_need_no_broker():
    assert ensure("127.0.0.1:1", []) == []


def test_a_broker_that_is_away_is_retried_by_its_address():
    with pytest.raises(Retry, match=r"127\.0\.0\.1:1"):
        ensure("127.0.0.1:1", [Topic("any", 1)], timeout=1.0)


def test_all_topics_are_described_but_internal_ones(servers, unique):
    ensure(servers, [Topic(unique, 2)])
    described = {each.name: each for each in describe(servers)}
    assert str(described[unique]) == f"{unique}  2 partitions  0: 0..0, 1: 0..0"
    assert not any(name.startswith("__") for name in described)


def test_describing_a_topic_that_does_not_exist_is_fatal(servers, unique):
    with pytest.raises(Fatal, match=unique):
        describe(servers, unique)


def test_the_platforms_topics_are_applied_once(servers, unique):
    variables = ("HOURLY_DATA", "DAILY_DATA", "POPULATION", "CARS", "WIKI", "EVENTS")
    topics = declared(environment={f"{name}_TOPIC": f"{unique}-{name.lower()}" for name in variables})
    assert len(ensure(servers, topics)) == len(topics) == 12
    assert ensure(servers, topics) == []
    assert partitions(servers, f"{unique}-events") == 4
    assert setting(servers, f"{unique}-events", "message.timestamp.type") == "LogAppendTime"
