"""Who asks how far groups are outlives the broker's restarts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from penstock.core.settings import PROJECT, Kafka
from penstock.kafka.topics import Topic, ensure
from tests.services import eventually

pytestmark = [pytest.mark.integration, pytest.mark.faults]

_RESTARTS = 4
_ASK = """
import sys
from penstock.core.errors import Retry
from penstock.core.settings import Kafka
from penstock.kafka.group_lags import GroupLags
from penstock.kafka.lag import Lag

kafka, (name, answers) = Kafka.from_env(), sys.argv[1:]
lag, groups = Lag(kafka), GroupLags(kafka.bootstrap_servers)
while True:
    try:
        lag.of(name, name)
        known = {each.group for each in groups.measure().partitions}
    except Retry:
        continue
    if name in known:
        with open(answers, "ab", buffering=0) as file:
            file.write(b".")
"""


@contextmanager
def asking(name: str, answers: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that asks for the lag of the group `name` as fast as it can."""
    environment = os.environ | {"PYTHONPATH": f"{PROJECT}/plugins:{PROJECT}"}
    with subprocess.Popen([sys.executable, "-c", _ASK, name, str(answers)], env=environment) as child:
        try:
            yield child
        finally:
            child.kill()


def test_lags_are_asked_for_while_the_broker_restarts(
    stack: Any, kafka_settings: Kafka, unique: str, tmp_path: Path
) -> None:
    ensure(kafka_settings.bootstrap_servers, [Topic(unique, 1)])
    consumer = Consumer({"bootstrap.servers": kafka_settings.bootstrap_servers, "group.id": unique})
    consumer.commit(offsets=[TopicPartition(unique, 0, 0)], asynchronous=False)
    consumer.close()
    answers = tmp_path / "answers"
    answers.touch()

    with asking(unique, answers) as child:

        def answers_anew() -> None:
            before = answers.stat().st_size
            eventually(lambda: answers.stat().st_size > before or child.poll() is not None)
            assert child.poll() is None, f"it ended with {child.returncode}"

        answers_anew()
        for _ in range(_RESTARTS):
            stack.stop("kafka")
            stack.start("kafka")
            answers_anew()
