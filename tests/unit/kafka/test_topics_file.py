from __future__ import annotations

from pathlib import Path

import pytest

from penstock.core.errors import Fatal
from penstock.core.settings import Names
from penstock.kafka.topics import EVENT_TIMED, Topic
from penstock.kafka.topics_file import declared
from penstock.pipelines import PIPELINES, STREAMS

GOOD = """
defaults: {replication: "${COPIES:-1}", min_insync: 1, retention_gib: 1}
topics:
  - name: ${ITS_TOPIC:-sales}
    partitions: 2
    timestamps: append
    retention_days: 7
    dead_letters: {partitions: 1, timestamps: event, retention_days: forever}
"""


def read(tmp_path: Path, text: str, **environment: str) -> list[Topic]:
    path = tmp_path / "topics.yaml"
    path.write_text(text)
    return declared(path, environment)


def platform(**environment: str) -> dict[str, Topic]:
    return {topic.name: topic for topic in declared(environment=environment)}


def test_the_file_and_the_code_name_the_same_topics() -> None:
    from_code = {topic for each in PIPELINES.values() for topic in (each.topic, each.dead_letter_topic)}
    from_code |= {topic for each in STREAMS.values() for topic in (each.topic, each.dead_letter_topic)}
    assert {topic.name for topic in declared()} == from_code


def test_the_file_renames_topics_by_the_variables_that_the_code_reads() -> None:
    variables = (
        "HOURLY_DATA_TOPIC",
        "DAILY_DATA_TOPIC",
        "POPULATION_TOPIC",
        "CARS_TOPIC",
        "WIKI_TOPIC",
        "EVENTS_TOPIC",
    )
    renamed = {name: f"my-{name.lower()}" for name in variables}
    names = Names.from_env(renamed)
    topics = {name for key, name in vars(names).items() if key.endswith("_topic")}
    assert set(platform(**renamed)) == topics | {f"{name}.dlq" for name in topics}


def test_topics_of_event_times_keep_records_by_size_only() -> None:
    for name in ("hourlymetrics", "dailymetrics", "pop", "car-transactions-logs", "events.dlq"):
        assert EVENT_TIMED.items() <= platform()[name].config.items(), name


@pytest.mark.parametrize(("name", "partitions"), [("wiki_changes", 3), ("events", 4)])
def test_streams_are_stamped_by_the_broker_and_kept_for_a_week(name: str, partitions: int) -> None:
    topic = platform()[name]
    assert topic.partitions == partitions
    assert topic.config["message.timestamp.type"] == "LogAppendTime"
    assert topic.config["retention.ms"] == str(7 * 24 * 3_600_000)
    assert int(topic.config["retention.bytes"]) >= 1 << 30


def test_replication_and_acknowledgement_come_from_the_environment() -> None:
    assert {topic.replication for topic in declared(environment={})} == {1}
    cluster = declared(environment={"KAFKA_REPLICATION": "3", "KAFKA_MIN_INSYNC": "2"})
    assert {(topic.replication, topic.config["min.insync.replicas"]) for topic in cluster} == {(3, "2")}


def test_an_entry_is_a_topic_and_its_dead_letters(tmp_path: Path) -> None:
    topic, letters = read(tmp_path, GOOD)
    assert (topic.name, topic.partitions, topic.replication) == ("sales", 2, 1)
    assert (letters.name, letters.partitions) == ("sales.dlq", 1)
    assert [each.name for each in read(tmp_path, GOOD, ITS_TOPIC="shop")] == ["shop", "shop.dlq"]


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("partitions: 2", "partitions: 0", r"sales: partitions is 0; give a whole number from 1"),
        ("partitions: 2", "partitions: two", r"sales: partitions is 'two'"),
        ("partitions: 2", "partitions: true", r"sales: partitions is True"),
        ("    partitions: 2\n", "", r"sales: partitions is None"),
        ("partitions: 2", "partitons: 2", r"sales: nobody knows partitons; there are .*partitions"),
        ("retention_days: 7", "retention_days: 1.5", r"retention_days is 1.5; give a whole number from 1, or forever"),
        ("timestamps: append", "timestamps: event", r"sales: retention_days is 7, but .* give forever"),
        ("timestamps: append", "timestamps: now", r"sales: timestamps is 'now'; give event or append"),
        ("min_insync: 1", "min_insync: 2", r"sales: min_insync is 2, more than its replication of 1"),
        ("${ITS_TOPIC:-sales}", "two words", r"a topic is called 'two words'"),
        ("dead_letters: {", "letters: {", r"sales has no dead_letters"),
        ("topics:", "subjects:", r"has no list of topics"),
        ("defaults: {", "defaults: {name: x, ", r"defaults: nobody knows name"),
        ("topics:", "topics: [", r"is no YAML"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path, was: str, becomes: str, said: str) -> None:
    with pytest.raises(Fatal, match=said) as raised:
        read(tmp_path, GOOD.replace(was, becomes))
    assert "\n" not in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_two_topics_of_one_name_are_refused(tmp_path: Path) -> None:
    entry = GOOD.partition("topics:\n")[2]
    with pytest.raises(Fatal, match=r"more than one topic sales, sales\.dlq"):
        read(tmp_path, GOOD + entry)


def test_a_replication_that_is_no_number_is_named(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="replication is 'three'"):
        read(tmp_path, GOOD, COPIES="three")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match=r"none\.yaml cannot be read"):
        declared(tmp_path / "none.yaml")


def test_a_topic_that_a_data_set_uses_and_the_file_does_not_name_has_the_defaults() -> None:
    known, listed = platform(), len(declared())
    found = declared(used=["pop", "tides", "tides"])
    assert [each.name for each in found[listed:]] == ["tides", "tides.dlq"]
    assert {each.config["retention.ms"] for each in found[listed:]} == {"-1"}
    assert found[listed].config == known["pop"].config
    assert found[listed].partitions == 3


def test_a_file_whose_defaults_are_not_enough_for_such_a_topic_says_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "topics.yaml"
    path.write_text(GOOD)
    with pytest.raises(Fatal, match=r"topics\.yaml: tides: retention_days is None|tides: partitions is None"):
        declared(path, {}, used=["tides"])
