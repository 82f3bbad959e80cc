"""Agents that are killed and servers that go away while an agent works: the copy has each record at least once."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from apps.minutes import minute_of, to_text
from penstock.core.settings import Hdfs, Kafka
from penstock.kafka.reader import extent
from penstock.kafka.topics import Topic, ensure
from penstock.services.backlog import Unread
from penstock.sinks.hdfs import hour_folders, read_lines
from penstock.sinks.raw_copies import recover
from penstock.sinks.webhdfs import Entry, WebHdfs
from tests.flume_agent import Agent, flume_java, hdfs_folder, messages, platform_conf, until
from tests.web_events import web_events

pytestmark = [pytest.mark.integration, pytest.mark.faults]

NOON = 1_763_812_800_000
STEP_MS = 500
ALL_TIMES = (NOON, NOON + 86_400_000)
RATE = 1_000


class Feed(threading.Thread):
    """Writes records with ascending numbers to a topic until it is told to end, and counts what Kafka has taken."""

    def __init__(self, kafka: Kafka, topic: str) -> None:
        super().__init__(daemon=True)
        patient = {"message.timeout.ms": 300_000, "enable.idempotence": True}
        self._producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, **patient})
        self._topic = topic
        self._ended = threading.Event()
        self.acked = 0

    def run(self) -> None:
        began, number = time.monotonic(), 0
        while not self._ended.is_set():
            while number < (time.monotonic() - began) * RATE:
                self._producer.produce(self._topic, record(number), partition=number % 3, callback=self._noted)
                number += 1
            self._producer.poll(0.05)
        self._producer.flush(300)

    def _noted(self, error: Any, _message: Any) -> None:
        assert error is None, error
        self.acked += 1

    def end(self) -> int:
        """Stop, and return how many records there are."""
        self._ended.set()
        self.join()
        return self.acked


def record(number: int) -> str:
    """A record that each of the agents can take: its time stands in it as a number and as a text."""
    at = NOON + STEP_MS * number
    meta = {"id": f"id-{number}", "dt": datetime.fromtimestamp(at / 1000, UTC).isoformat()}
    return json.dumps({"transaction_id": number, "time": at, "meta": meta, "name": "x" * 100}, separators=(",", ":"))


@pytest.fixture(params=["cars-hdfs"])
def agent(
    request: pytest.FixtureRequest, stack: Any, kafka_settings: Kafka, hdfs_settings: Hdfs, unique: str, tmp_path: Path
) -> Iterator[Agent]:
    """The agent of a raw copy, the cars' unless a test says another, on a topic and a folder of the test's own."""
    ensure(kafka_settings.bootstrap_servers, [Topic(unique, 3)])
    with hdfs_folder(hdfs_settings, f"/{unique}"):
        conf = platform_conf(request.param, unique)
        agent = Agent(request.param, conf, unique, kafka_settings, hdfs_settings, tmp_path, flume_java(stack.context))
        agent.start()
        yield agent
        agent.stop()


@pytest.fixture
def feed(kafka_settings: Kafka, agent: Agent) -> Iterator[Feed]:
    """A feed that is under way, and of which the agent has copied something."""
    feed = Feed(kafka_settings, agent.name)
    feed.start()
    until(lambda: agent.count("EventDrainSuccessCount") > 20, "the first batches")
    yield feed
    feed.end()


@pytest.fixture
def back(stack: Any) -> Iterator[Callable[[str], None]]:
    """back(server): start it again; at the end of the test it runs in any case."""
    with ExitStack() as stopped:
        for server in ("kafka", "hdfs-datanode"):
            stopped.callback(stack.start, server)
        yield stack.start


def numbers(hdfs: Hdfs, name: str) -> list[int]:
    return [json.loads(line)["transaction_id"] for line in read_lines(hdfs, f"/{name}", *ALL_TIMES)]


def files(hdfs: Hdfs, name: str) -> list[Entry]:
    with WebHdfs(hdfs) as client:
        return [file for hour in hour_folders(client, f"/{name}") for file in client.entries(hour)]


def assert_each_at_least_once(hdfs: Hdfs, agent: Agent, fed: int) -> None:
    until(lambda: _copied(hdfs, agent.name) >= fed, "the copy of every record")
    assert set(numbers(hdfs, agent.name)) == set(range(fed))


def _copied(hdfs: Hdfs, name: str) -> int:
    """Different records that can be read now: not all files can while a DataNode comes back."""
    from penstock.core.errors import Retry

    try:
        return len(set(numbers(hdfs, name)))
    except Retry:
        return 0


def _await_recovery(hdfs: Hdfs, name: str) -> int:
    """Maintenance finishes every file, within a few of its runs; returns how many it deleted, for they held no line."""
    deleted = 0

    def finished() -> bool:
        nonlocal deleted
        deleted += recover(hdfs, [f"/{name}"]).deleted
        return not [file for file in files(hdfs, name) if file.name.endswith(".tmp")]

    until(finished, "the recovery of all files")
    return deleted


EVERY_RAW_COPY = pytest.mark.parametrize("agent", ["cars-hdfs", "wiki-hdfs", "events-hdfs"], indirect=True)


@EVERY_RAW_COPY
def test_a_killed_agent_goes_on_where_it_was_and_its_files_are_finished(
    agent: Agent, feed: Feed, hdfs_settings: Hdfs
) -> None:
    agent.kill()
    left = {file.name for file in files(hdfs_settings, agent.name) if file.name.endswith(".tmp")}
    assert left, "the kill has hit no file in progress"
    copied, acked = _copied(hdfs_settings, agent.name), feed.acked
    assert copied < acked, "the kill has not hit mid-work"
    agent.start()
    assert recover(hdfs_settings, [f"/{agent.name}"]).finished == 0
    until(lambda: agent.count("EventDrainSuccessCount") > 20, "the next batches")
    fed = feed.end()
    assert_each_at_least_once(hdfs_settings, agent, fed)
    deleted = _await_recovery(hdfs_settings, agent.name)
    names = {file.name for file in files(hdfs_settings, agent.name)}
    assert len({name.removesuffix(".tmp") for name in left} - names) <= deleted
    assert set(numbers(hdfs_settings, agent.name)) == set(range(fed))


def test_files_of_an_agent_that_lives_are_never_touched(agent: Agent, feed: Feed, hdfs_settings: Hdfs) -> None:
    def in_progress() -> set[str]:
        return {file.name for file in files(hdfs_settings, agent.name) if file.name.endswith(".tmp")}

    before = in_progress()
    assert before
    for _ in range(20):
        recovery = recover(hdfs_settings, [f"/{agent.name}"])
        assert (recovery.finished, recovery.deleted, recovery.pending) == (0, 0, 0)
    assert recovery.in_use > 0
    fed = feed.end()
    assert_each_at_least_once(hdfs_settings, agent, fed)
    assert agent.count("EventWriteFail") == 0


@pytest.mark.parametrize("agent", ["cars-hdfs", "wiki-hdfs"], indirect=True)
def test_a_data_node_that_is_away_for_a_minute_costs_nothing(
    stack: Any, back: Callable[[str], None], agent: Agent, feed: Feed, hdfs_settings: Hdfs
) -> None:
    stack.kill("hdfs-datanode")
    stack.stop("hdfs-datanode")
    until(lambda: agent.count("EventWriteFail") > 0, "a write that fails")
    time.sleep(60)  # the length of the outage is what is tested
    back("hdfs-datanode")
    drained = agent.count("EventDrainSuccessCount")
    until(lambda: agent.count("EventDrainSuccessCount") > drained, "the first batch after the outage")
    assert_each_at_least_once(hdfs_settings, agent, feed.end())
    _await_recovery(hdfs_settings, agent.name)
    with WebHdfs(hdfs_settings) as client:
        assert not [file.name for file in files(hdfs_settings, agent.name) if client.being_written(file.path)]
    assert not [file.name for file in files(hdfs_settings, agent.name) if not file.length]


def test_a_broker_that_is_away_for_half_a_minute_costs_nothing(
    stack: Any, back: Callable[[str], None], agent: Agent, feed: Feed, hdfs_settings: Hdfs
) -> None:
    stack.kill("kafka")
    stack.stop("kafka")
    assert feed.acked > _copied(hdfs_settings, agent.name), "the kill has not hit mid-work"
    time.sleep(30)  # the length of the outage is what is tested
    back("kafka")
    assert_each_at_least_once(hdfs_settings, agent, feed.end())


@pytest.mark.parametrize("name", ["pop-spool", "wiki-spool"])
def test_a_spool_agent_that_is_killed_repeats_at_most(
    stack: Any, kafka_settings: Kafka, hdfs_settings: Hdfs, unique: str, tmp_path: Path, name: str
) -> None:
    ensure(kafka_settings.bootstrap_servers, [Topic(unique, 1)])
    conf = platform_conf(name, unique)
    agent = Agent(name, conf, unique, kafka_settings, hdfs_settings, tmp_path, flume_java(stack.context))
    rows = 100_000
    with (agent.spool / ".rows").open("w", encoding="utf-8") as file:
        file.writelines(record(number) + "\n" for number in range(rows))
    (agent.spool / ".rows").rename(agent.spool / "rows.json")
    agent.start()
    until(lambda: agent.count("EventAcceptedCount") > 0, "the first batch")
    agent.kill()
    (first,) = extent(kafka_settings, unique)
    assert 0 < first.end < rows, "the kill has not hit mid-file"
    agent.start()
    until(lambda: not (agent.spool / "rows.json").exists(), "the end of the file")
    agent.stop()
    found = [json.loads(each.value or b"")["transaction_id"] for each in messages(kafka_settings, unique)]
    assert set(found) == set(range(rows))
    repeated = len(found) - rows
    assert repeated < 5_000, "more than the batches that were under way came again"
    assert sorted(set(found), key={number: place for place, number in enumerate(found)}.__getitem__) == list(
        range(rows)
    )


def test_web_events_outlast_kills_of_the_producer_and_the_agent_and_a_broker_that_is_away(
    stack: Any,
    back: Callable[[str], None],
    kafka_settings: Kafka,
    hdfs_settings: Hdfs,
    unique: str,
    tmp_path: Path,
) -> None:
    ensure(kafka_settings.bootstrap_servers, [Topic(unique, 3)])
    conf = platform_conf("events-tail", unique)
    agent = Agent("events-tail", conf, unique, kafka_settings, hdfs_settings, tmp_path, flume_java(stack.context))
    agent.start()
    with web_events(agent, PRODUCE_RATE_PER_SEC=RATE) as producer:
        until(lambda: agent.count("EventAcceptedCount") > RATE, "the first batches")
        producer.kill()
    with web_events(agent, PRODUCE_RATE_PER_SEC=RATE) as producer:
        agent.kill()
        agent.start()
        until(lambda: agent.count("EventAcceptedCount") > RATE, "the next batches")
        stack.kill("kafka")
        stack.stop("kafka")
        time.sleep(30)  # the length of the outage is what is tested
        back("kafka")
        accepted = agent.count("EventAcceptedCount")
        until(lambda: agent.count("EventAcceptedCount") > accepted + 30 * RATE, "the end of the lag")
        created = producer.end()
    unread = Unread(lambda: agent.web_logs, lambda: agent.positions)
    until(lambda: unread.waiting() == 0, "the last line")
    agent.stop()
    events = [json.loads(each.value or b"") for each in messages(kafka_settings, unique)]
    times = {event["event_id"]: event["time"] for event in events}
    assert Counter(to_text(minute_of(at)) for at in times.values()) == created
