"""The agents' confs on real servers, with topics and folders of the tests' own."""

from __future__ import annotations

import json
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import Producer

from penstock.core.settings import Hdfs, Kafka
from penstock.services.spool import put
from penstock.sinks.hdfs import hour_folders, read_lines
from penstock.sinks.webhdfs import WebHdfs
from tests.flume_agent import Start, messages, until

pytestmark = pytest.mark.integration

ALL_TIMES = (-5_680_281_600_000, 4_102_444_800_000)
NOON = 1_763_812_800_000


def copied(hdfs: Hdfs, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read_lines(hdfs, f"/{name}", *ALL_TIMES)]


def produce(kafka: Kafka, topic: str, records: list[Any], **settings: Any) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, **settings})
    for number, record in enumerate(records):
        value = json.dumps(record, separators=(",", ":")) if not isinstance(record, bytes | None) else record
        producer.produce(topic, value, partition=number % 3)
    assert producer.flush(30) == 0


RESPONSE = """{"annotations": {"source": "Census"},
 "data": [
   {"Nation": "Île", "Year": 2013, "Population": 316128839.0},
   {"Nation": "Île", "Year": 2014,
    "Population": 318857056.0}
 ]}
"""
ROWS = [
    '{"Nation":"Île","Year":2013,"Population":316128839.0}',
    '{"Nation":"Île","Year":2014,"Population":318857056.0}',
]


def values(kafka: Kafka, topic: str) -> list[str]:
    return [(message.value or b"").decode() for message in messages(kafka, topic)]


def test_a_spooled_response_reaches_the_topic_row_by_row_and_in_order(
    start: Start, kafka_settings: Kafka, unique: str, tmp_path: Path
) -> None:
    agent = start("pop-spool")
    response = tmp_path / "response.json"
    response.write_text(RESPONSE, encoding="utf-8")
    for _ in range(3):
        put(agent.folder, "population", response)
    until(lambda: len(messages(kafka_settings, unique)) == 6, "all rows on the topic")
    assert values(kafka_settings, unique) == 3 * ROWS
    assert {message.partition for message in messages(kafka_settings, unique)} == {0}
    until(lambda: not list(agent.spool.glob("*.json")), "the removal of the files")


def test_a_file_of_a_name_that_was_there_before_is_read_as_well(
    start: Start, kafka_settings: Kafka, unique: str, tmp_path: Path
) -> None:
    agent = start("pop-spool")
    for number in range(3):
        (agent.spool / ".rows").write_text(json.dumps({"number": number}), encoding="utf-8")
        (agent.spool / ".rows").rename(agent.spool / "rows.json")
        until(lambda: not (agent.spool / "rows.json").exists(), "the removal of the file")
    assert values(kafka_settings, unique) == [f'{{"number": {n}}}'.replace(" ", "") for n in range(3)]


def test_what_is_no_json_reaches_the_topic_and_does_not_stop_the_agent(
    start: Start, kafka_settings: Kafka, unique: str
) -> None:
    agent = start("pop-spool")
    for name, content in (("1.html", "<html>busy</html>"), ("2", ""), ("3.json", RESPONSE[:-20]), ("4.json", RESPONSE)):
        (agent.spool / f".{name}").write_text(content, encoding="utf-8")
        (agent.spool / f".{name}").rename(agent.spool / name)
        until(lambda name=name: not (agent.spool / name).exists(), "the removal of the file")  # type: ignore[misc]
    found = values(kafka_settings, unique)
    assert found[:3] == ['"<html>busy</html>"', '""', ROWS[0]]
    assert json.loads(found[3]).startswith(',\n   {"Nation": "Île", "Year": 2014')
    assert found[4:] == ROWS


def test_records_are_copied_by_the_hour_that_they_are_about(
    start: Start, kafka_settings: Kafka, hdfs_settings: Hdfs, unique: str
) -> None:
    records = [{"transaction_id": number, "time": NOON + 600_000 * number, "name": "Zoë"} for number in range(100)]
    produce(kafka_settings, unique, records)
    start("cars-hdfs")
    until(lambda: len(copied(hdfs_settings, unique)) >= len(records), "the copy")
    found = copied(hdfs_settings, unique)
    assert sorted(found, key=lambda record: record["time"]) == records
    for hour in range(17):
        of_hour = list(read_lines(hdfs_settings, f"/{unique}", NOON + 3_600_000 * hour, NOON + 3_600_000 * hour))
        assert {json.loads(line)["transaction_id"] // 6 for line in of_hour} == {hour}


def test_rows_of_the_spool_folder_are_copied_by_their_year(
    start: Start, kafka_settings: Kafka, hdfs_settings: Hdfs, unique: str
) -> None:
    rows = [{"ID Year": 2019, "Year": "2019"}, {"Year": 2020}, {"time": 1609459200000, "ID_Year": 2021}, {"n": 1}]
    produce(kafka_settings, unique, rows)
    start("pop-hdfs")
    until(lambda: len(copied(hdfs_settings, unique)) >= len(rows), "the copy")
    with WebHdfs(hdfs_settings) as client:
        hours = [hour.removeprefix(f"/{unique}/") for hour in hour_folders(client, f"/{unique}")]
    assert hours[:3] == ["2019-01-01/00", "2020-01-01/00", "2021-01-01/00"]
    assert hours[3].startswith(time.strftime("%Y-", time.gmtime()))  # without a year: when it arrived


def test_an_aborted_transaction_is_not_copied(
    start: Start, kafka_settings: Kafka, hdfs_settings: Hdfs, unique: str
) -> None:
    producer = Producer({"bootstrap.servers": kafka_settings.bootstrap_servers, "transactional.id": unique})
    producer.init_transactions(30)
    for number, end in enumerate(
        (producer.commit_transaction, producer.abort_transaction, producer.commit_transaction)
    ):
        producer.begin_transaction()
        producer.produce(unique, json.dumps({"transaction_id": number, "time": NOON}), partition=0)
        producer.flush(30)
        end(30)
    start("cars-hdfs")
    until(lambda: len(copied(hdfs_settings, unique)) >= 2, "the copy")
    assert sorted(record["transaction_id"] for record in copied(hdfs_settings, unique)) == [0, 2]


def test_an_empty_or_odd_record_is_passed_and_spoils_no_line(
    start: Start, kafka_settings: Kafka, hdfs_settings: Hdfs, unique: str
) -> None:
    odd = [b'{"transaction_id":\n1,\r\n"time":%d}' % NOON, None, b"", b'{"transaction_id":2,"time":%d}' % NOON]
    produce(kafka_settings, unique, odd)
    start("cars-hdfs")
    until(lambda: len(copied(hdfs_settings, unique)) >= 2, "the copy")
    assert sorted(record["transaction_id"] for record in copied(hdfs_settings, unique)) == [1, 2]


def test_files_are_closed_once_they_are_idle(
    start: Start, kafka_settings: Kafka, hdfs_settings: Hdfs, unique: str
) -> None:
    produce(kafka_settings, unique, [{"transaction_id": 1, "time": NOON}])
    start("cars-hdfs")
    folder = f"/{unique}/{time.strftime('%Y-%m-%d/%H', time.gmtime(NOON / 1000))}"
    with WebHdfs(hdfs_settings) as client:
        until(lambda: [file for file in client.entries(folder) if file.name.endswith(".jsonl")], "the final name")
        (file,) = client.entries(folder)
        assert not client.being_written(file.path)
    assert file.name.startswith("cars-")


def test_an_agent_that_is_stopped_leaves_no_file_in_progress(
    start: Start, kafka_settings: Kafka, hdfs_settings: Hdfs, unique: str
) -> None:
    produce(kafka_settings, unique, [{"transaction_id": n, "time": NOON + 3_600_000 * n} for n in range(5)])
    agent = start("cars-hdfs")
    until(lambda: len(copied(hdfs_settings, unique)) >= 5, "the copy")
    agent.stop()
    with WebHdfs(hdfs_settings) as client:
        files = [file.name for hour in hour_folders(client, f"/{unique}") for file in client.entries(hour)]
    assert len(files) == 5
    assert not [name for name in files if name.endswith(".tmp")]


def test_counters_are_served_to_this_machine_alone(start: Start) -> None:
    agent = start("pop-spool")
    until(lambda: "SOURCE.responses" in agent.counters(), "the first counters")
    assert "CHANNEL.kafka" in agent.counters()
    outside = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET and not address.address.startswith("127.")
    ]
    for address in outside:
        with pytest.raises(OSError, match=r"refused|timed out"), socket.create_connection((address, agent.port), 2):
            pass


def test_an_agent_whose_metrics_port_is_taken_ends_and_says_so(start: Start) -> None:
    agent = start("pop-spool")
    agent.stop()
    with socket.create_server(("127.0.0.1", agent.port)):
        agent.start()
        assert agent.ended() == 1
    assert f"The metrics cannot be served on 127.0.0.1:{agent.port}: Address already in use. End what" in agent.log


def test_the_memory_of_a_spool_agent_does_not_grow_with_its_file(
    start: Start, kafka_settings: Kafka, unique: str, tmp_path: Path
) -> None:
    row = json.dumps({"a": "x" * 10_000}, separators=(",", ":"))
    large = tmp_path / "large"
    large.write_text('{"data": [' + ",".join([row] * 30_000) + "]}", encoding="utf-8")  # 300 MB, heap 192 MB
    agent = start("pop-spool")
    shutil.move(large, agent.spool / "large.json")
    until(lambda: agent.count("EventAcceptedCount") >= 30_000, "the last row")
    assert "OutOfMemoryError" not in agent.log
