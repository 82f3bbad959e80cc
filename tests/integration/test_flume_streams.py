"""The agents of the wiki changes and the web events on real servers."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from apps.minutes import from_text, minute_of, to_text
from penstock.core.settings import Hdfs, Kafka
from penstock.services.backlog import Unread
from penstock.sinks.hdfs import hour_folders, read_lines
from penstock.sinks.webhdfs import WebHdfs
from tests.flume_agent import Agent, Start, messages, until
from tests.web_events import web_events

pytestmark = pytest.mark.integration

NOON = 1_763_812_800_000
HOUR = 3_600_000
ALL_TIMES = (NOON - 100 * HOUR, 4_102_444_800_000)


def change(number: int, dt: str = "2026-08-04T15:24:29.813Z", **more: Any) -> bytes:
    event = {"$schema": "/mediawiki/recentchange/1.0.0", "meta": {"id": f"id-{number}", "dt": dt}, "id": 5, **more}
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def spool(agent: Agent, name: str, lines: list[bytes]) -> Path:
    (agent.spool / f".{name}").write_bytes(b"".join(line + b"\n" for line in lines))
    return (agent.spool / f".{name}").rename(agent.spool / name)


def produce(kafka: Kafka, topic: str, values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for number, value in enumerate(values):
        producer.produce(topic, value, partition=number % 3)
    assert producer.flush(30) == 0


ODD = {
    b"id-0": change(0, title="𝄞 Ünï 漢字 \U0001f9ea", comment='"meta":{"id":"no"}'),
    b"id-1": change(1, comment="x" * 300_000),
    b"id-2": change(2, comment="漢𝄞" * 50_000),
    b"id-3": change(3)[:-1] + b',"title":"\xff\xfe","end":"\\u0000"}',
    b"id-4": change(4) + b"\r",
    b"id-5": change(5)[:-1] + b',"cut',
    "id-𝄞".encode(): change(6).replace(b"id-6", "id-𝄞".encode()),
}


def test_spooled_changes_reach_the_topic_byte_by_byte_with_their_ids_as_keys(
    start: Start, kafka_settings: Kafka, unique: str
) -> None:
    agent = start("wiki-spool")
    without_id = [b"no JSON", b'{"meta":{"id":5}}', b""]
    file = spool(agent, "changes-1.jsonl", [*ODD.values(), *without_id])
    until(lambda: not file.exists(), "the removal of the file")
    found = messages(kafka_settings, unique)
    assert {each.key: each.value for each in found if each.key is not None} == ODD
    assert sorted(each.value or b"" for each in found if each.key is None) == sorted(without_id)
    assert len(found) == len(ODD) + len(without_id)


def test_repetitions_of_a_change_are_in_one_partition(start: Start, kafka_settings: Kafka, unique: str) -> None:
    agent = start("wiki-spool")
    for part in range(3):
        spool(agent, f"changes-{part}.jsonl", [change(number) for number in range(200)])
    until(lambda: len(messages(kafka_settings, unique)) == 600, "all changes on the topic")
    partitions: dict[bytes | None, set[int]] = {}
    for message in messages(kafka_settings, unique):
        partitions.setdefault(message.key, set()).add(message.partition)
    assert len(partitions) == 200
    assert {len(each) for each in partitions.values()} == {1}
    assert len(set.union(*partitions.values())) == 3


def test_many_long_lines_fit_into_the_agent_s_memory(start: Start, kafka_settings: Kafka, unique: str) -> None:
    agent = start("wiki-spool")
    spool(agent, "changes.jsonl", [change(number, comment="漢" * 100_000) for number in range(1000)])
    until(lambda: agent.count("EventAcceptedCount") >= 1000, "the last line")
    assert "OutOfMemoryError" not in agent.log


def test_changes_are_copied_by_the_hour_in_which_they_were_made(
    start: Start, kafka_settings: Kafka, hdfs_settings: Hdfs, unique: str
) -> None:
    times = ["2026-08-04T14:59:59.999Z", "2026-08-04T15:00:00Z", "2026-08-04T15:30:00+00:00", "2019-05-01T23:00:00Z"]
    changes = [change(number, dt) for number, dt in enumerate(times)]
    timeless = [b"no JSON", b'{"meta":{"id":"id-9"}}', b'{"comment":"\\"dt\\":\\"2001-01-01T00:00:00Z\\""}']
    produce(kafka_settings, unique, [*changes, *timeless])
    start("wiki-hdfs")
    until(lambda: len(copied(hdfs_settings, unique)) >= 7, "the copy")
    by_hour = copied_by_hour(hdfs_settings, unique)
    now = [hour for hour in by_hour if hour not in ("2019-05-01/23", "2026-08-04/14", "2026-08-04/15")]
    assert by_hour["2019-05-01/23"] == [changes[3]]
    assert by_hour["2026-08-04/14"] == [changes[0]]
    assert sorted(by_hour["2026-08-04/15"]) == sorted(changes[1:3])
    assert sorted(line for hour in now for line in by_hour[hour]) == sorted(timeless)  # when they arrived


def test_odd_changes_are_copied_byte_by_byte(
    start: Start, kafka_settings: Kafka, hdfs_settings: Hdfs, unique: str
) -> None:
    lines = [line.replace(b"\r", b"") for line in ODD.values()]
    produce(kafka_settings, unique, lines)
    start("wiki-hdfs")
    until(lambda: len(copied(hdfs_settings, unique)) >= len(lines), "the copy")
    assert sorted(copied(hdfs_settings, unique)) == sorted(lines)


def test_web_events_are_copied_by_the_hour_in_which_they_happened(
    start: Start, kafka_settings: Kafka, hdfs_settings: Hdfs, unique: str
) -> None:
    events = [b'{"event_id":"%d","time":%d,"product":"\\"time\\":1"}' % (n, NOON + HOUR * n) for n in range(3)]
    produce(kafka_settings, unique, events)
    start("events-hdfs")
    until(lambda: len(copied(hdfs_settings, unique)) >= 3, "the copy")
    hours = [time.strftime("%Y-%m-%d/%H", time.gmtime(NOON / 1000 + 3600 * hour)) for hour in range(3)]
    assert copied_by_hour(hdfs_settings, unique) == {hour: [event] for hour, event in zip(hours, events, strict=True)}


def copied(hdfs: Hdfs, name: str) -> list[bytes]:
    return [line for lines in copied_by_hour(hdfs, name).values() for line in lines]


def copied_by_hour(hdfs: Hdfs, name: str) -> dict[str, list[bytes]]:
    with WebHdfs(hdfs) as client:
        hours = [hour.removeprefix(f"/{name}/") for hour in hour_folders(client, f"/{name}")]
    starts = {hour: from_text(f"{hour.replace('/', 'T')}:00:00Z") for hour in hours}
    return {hour: list(read_lines(hdfs, f"/{name}", at, at)) for hour, at in starts.items()}


def test_log_lines_reach_the_topic_while_their_file_is_written(
    start: Start, kafka_settings: Kafka, unique: str
) -> None:
    agent = start("events-tail")
    first, second = b'{"event_id":"a"}', '{"product":"𝄞","event_id":"b"}'.encode()
    with (agent.web_logs / "events-1.log").open("ab", buffering=0) as file:
        file.write(first + b"\n" + second[:20])
        until(lambda: messages(kafka_settings, unique), "the first line")
        file.write(second[20:] + b"\n")
        until(lambda: len(messages(kafka_settings, unique)) == 2, "the second line")
    assert {each.key: each.value for each in messages(kafka_settings, unique)} == {b"a": first, b"b": second}


def test_each_event_reaches_the_topic_though_files_are_deleted_and_the_agent_is_killed(
    start: Start, kafka_settings: Kafka, unique: str
) -> None:
    agent = start("events-tail")
    bounds = {"WEB_LOG_FILE_BYTES": 200_000, "WEB_LOGS_BYTES": 1_000_000}
    with web_events(agent, PRODUCE_RATE_PER_SEC=2000, **bounds) as producer:
        for _ in range(2):
            producer.outlive_its_files()
            agent.kill()
            until(lambda: producer.health() == 503, "a full folder")
            assert sum(file.stat().st_size for file in agent.web_logs.glob("events-*.log")) <= 1_000_000
            agent.start()
            until(lambda: producer.health() == 200, "room")
        created = producer.end()
    unread = Unread(lambda: agent.web_logs, lambda: agent.positions)
    until(lambda: unread.waiting() == 0, "the last line")
    found = messages(kafka_settings, unique)
    events = {event["event_id"]: event for event in (json.loads(each.value or b"") for each in found)}
    assert all(json.loads(each.value or b"")["event_id"].encode() == each.key for each in found)
    assert Counter(to_text(minute_of(event["time"])) for event in events.values()) == created
