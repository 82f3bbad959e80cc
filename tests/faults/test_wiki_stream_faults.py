"""The driver of wiki_edits_minute, its JVM, its supervisord and HDFS die under load: no minute is wrong afterwards."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from penstock.kafka.dead_letters import read as read_dead_letters
from penstock.stack.layout import free_ports
from penstock.stack.supervisor import Program, Supervisor
from tests.stream_job import Changes, Job, load, until

pytestmark = [pytest.mark.integration, pytest.mark.faults]

A_SECOND = 300
PROGRAM = "wiki-edits-minute"


def batches(job: Job) -> int:
    """How many micro-batches were written."""
    with closing(job.ledger()) as ledger:
        totals = ledger.totals("wiki")
    return totals.batches if totals else 0


def has_ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def assert_every_record_has_its_fate(job: Job, changes: Changes) -> None:
    with closing(job.ledger()) as ledger:
        totals = ledger.totals("wiki")
    assert totals is not None
    assert totals.fates.read == changes.sent
    assert totals.fates.rejected == changes.broken
    assert totals.fates.late == 0
    assert totals.fates.read - totals.fates.rejected - totals.fates.duplicates == len(changes.expected)
    letters = {letter.id for letter in read_dead_letters(job.kafka, f"{job.name}.dlq")}
    assert len(letters) == changes.broken


def test_kills_of_driver_and_jvm_lose_and_double_nothing(job: Job, changes: Changes) -> None:
    """Also just after a file came, which is before the micro-batch is committed."""
    chance = random.Random(11)
    job.start()
    with load(changes, A_SECOND):
        for victim in ("jvm", "between", "driver", "between"):
            before, files = batches(job), set(job.files())
            if victim == "between":
                until(lambda files=files: set(job.files()) - files, every=0.02)
            else:
                until(lambda before=before: batches(job) > before)
                time.sleep(chance.uniform(0, 2))
            assert job.process is not None
            jvm = job.jvm()
            if victim == "jvm":
                jvm.kill()
                assert job.process.wait(60) == 1
            else:
                job.process.kill()
                job.process.wait()
            until(lambda jvm=jvm: has_ended(jvm), 60)
            job.start()
    changes.close_minutes()
    job.assert_counted(changes)
    assert_every_record_has_its_fate(job, changes)


def test_a_killed_supervisord_takes_its_driver_along_and_the_next_one_goes_on(
    job: Job, changes: Changes, tmp_path: Path
) -> None:
    program = Program(PROGRAM, tuple(job.command), job.environment, job.log, tmp_path, stop_seconds=40, restart=False)
    supervisor = Supervisor(tmp_path, free_ports(1)[0], "secret", tmp_path, instance=str(tmp_path))
    supervisor.write([program])
    try:
        supervisor.start()
        with load(changes, A_SECOND):
            supervisor.start_program(PROGRAM)
            until(lambda: batches(job) > 1)
            driver = psutil.Process(supervisor.states()[PROGRAM]["pid"])
            family = [driver, *driver.children(recursive=True)]
            os.kill(supervisor.rpc.getPID(), signal.SIGKILL)
            until(lambda: all(has_ended(each) for each in family), 60)
            supervisor.start()
            supervisor.start_program(PROGRAM)
            before = batches(job)
            until(lambda: batches(job) > before)
        changes.close_minutes()
        until(lambda: job.read_all(changes) and job.has_closed(changes))
        assert job.parquet() == changes.minutes
        assert job.influxdb() == changes.minutes
        assert_every_record_has_its_fate(job, changes)
    finally:
        supervisor.shutdown([PROGRAM])


@pytest.mark.parametrize("server", ["hdfs-datanode", "hdfs-namenode"])
def test_hdfs_away_for_a_while_holds_the_counts_up_and_changes_none(
    stack: Any, job: Job, changes: Changes, server: str
) -> None:
    job.start()
    with load(changes, A_SECOND):
        until(lambda: batches(job) > 1)
        stack.stop(server)
        time.sleep(10)  # the outage itself
        stack.start(server)
        if job.process is not None and job.process.poll() is not None:
            job.start()  # as the watch over it does
        before = batches(job)

        def goes_on() -> bool:
            if job.process is not None and job.process.poll() is not None:
                job.start()
            return batches(job) > before + 1

        until(goes_on)
    changes.close_minutes()
    job.assert_counted(changes)
    assert_every_record_has_its_fate(job, changes)
