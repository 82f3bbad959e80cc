"""wiki_edits_minute on real servers: what it counts, what it leaves out and why, and what it refuses to do."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime, timedelta

import pytest
from confluent_kafka.admin import AdminClient

from penstock.kafka.dead_letters import read as read_dead_letters
from penstock.kafka.lag import Lag
from penstock.kafka.topics import Topic, ensure
from penstock.sinks.webhdfs import WebHdfs
from tests.stream_job import Changes, Job, until

pytestmark = pytest.mark.integration

GROUP = "wiki-edits-minute"


def closed_until(job: Job) -> datetime:
    with closing(job.ledger()) as ledger:
        newest = ledger.latest("wiki")
    assert newest is not None
    return newest.watermark


def test_each_change_is_counted_once_in_its_minute_and_every_other_record_is_accounted_for(
    job: Job, changes: Changes
) -> None:
    changes.send(8_000)
    job.start()
    changes.send(4_000)
    until(lambda: job.read_all(changes))
    late = changes.at - timedelta(minutes=15)
    until(lambda: closed_until(job) > late + timedelta(minutes=1))
    for _ in range(3):
        change = changes._change(late, {"wiki": "latewiki"})
        changes.put(change)
        del changes.expected[change["meta"]["id"]]
    changes.close_minutes()
    job.assert_counted(changes)

    with closing(job.ledger()) as ledger:
        totals = ledger.totals("wiki")
    assert totals is not None
    assert totals.fates.read == changes.sent
    assert totals.fates.rejected == changes.broken == 120
    assert totals.fates.duplicates == 240
    assert totals.fates.late == 3
    assert totals.open == 3  # those that closed the others
    letters = {letter.id: letter.reason for letter in read_dead_letters(job.kafka, f"{job.name}.dlq")}
    assert len(letters) == changes.broken
    assert set(letters.values()) == {"wiki is missing"}
    assert until(lambda: Lag(job.kafka).of(GROUP, job.name) == 0)


def test_a_stopped_driver_ends_in_order_and_the_next_one_goes_on(job: Job, changes: Changes) -> None:
    changes.send(3_000)
    job.start()
    until(lambda: job.read_all(changes))
    assert job.stop() == 0
    changes.send(3_000)
    job.start()
    changes.close_minutes()
    job.assert_counted(changes)


def test_a_second_driver_of_the_checkpoint_is_refused(job: Job, changes: Changes) -> None:
    changes.send(100)
    job.start()
    until(lambda: job.read_all(changes))
    second = Job(job.name, job.environment, job.log.with_name("second.log"))
    assert second.start().wait(120) == 1
    assert "another driver counts with the checkpoint" in second.said()
    assert job.process is not None
    assert job.process.poll() is None


def test_counts_without_their_checkpoint_are_not_counted_again(job: Job, changes: Changes) -> None:
    changes.send(2_000)
    changes.close_minutes()
    job.start()
    job.assert_counted(changes)
    assert job.stop() == 0
    with WebHdfs(job.hdfs) as client:
        client.delete(job.checkpoint.folder, recursive=True)
    assert job.start().wait(120) == 1
    assert "is gone: what is on the topic would be counted again" in job.said()

    with WebHdfs(job.hdfs) as client:
        client.delete(job.folder, recursive=True)
    job.start()  # counting anew is possible, and gives the same
    until(lambda: job.has_closed(changes))
    assert job.parquet() == changes.minutes
    assert job.influxdb() == changes.minutes


def test_what_ends_a_worker_is_told_in_its_own_sentence(job: Job, changes: Changes) -> None:
    admin = AdminClient({"bootstrap.servers": job.kafka.bootstrap_servers})
    admin.delete_topics([f"{job.name}.dlq"])[f"{job.name}.dlq"].result(30)
    changes.send(100)
    assert job.start().wait(300) == 1
    last = job.said().splitlines()[-1]
    assert "Fatal: " in last
    assert f"has no such topic while looking up the topic {job.name}.dlq" in last


def test_partitions_that_are_worked_off_out_of_step_make_nothing_late(job: Job, changes: Changes) -> None:
    """One partition is hours ahead of the others all the time, as far as the driver can see."""
    job.environment["WIKI_RECORDS_AT_ONCE"] = "300"
    for partition in range(3):
        at = changes.at
        for _ in range(1_000):
            at += timedelta(seconds=(1, 5, 20)[partition])
            changes.put(changes._change(at, {}), partition)
    changes.at += timedelta(hours=8)
    changes.close_minutes()
    job.start()
    job.assert_counted(changes)
    with closing(job.ledger()) as ledger:
        assert ledger.totals("wiki").fates.late == 0  # type: ignore[union-attr]


def test_a_topic_that_is_widened_is_read_whole_after_a_restart(job: Job, changes: Changes) -> None:
    changes.send(1_000)
    job.start()
    until(lambda: job.read_all(changes))
    ensure(job.kafka.bootstrap_servers, [Topic(job.name, 5)])
    changes.connect()
    changes.send(1_000)
    assert job.process is not None
    assert job.process.wait(120) == 1
    assert "has 5 partitions now" in job.said()
    job.start()
    changes.send(1_000)
    changes.close_minutes(partitions=5)
    job.assert_counted(changes)
