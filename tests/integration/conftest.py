from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from penstock.core.settings import Hdfs, Kafka
from penstock.kafka.topics import Topic, ensure
from tests.flume_agent import Agent, Start, flume_java, hdfs_folder, platform_conf


@pytest.fixture
def start(stack: Any, kafka_settings: Kafka, hdfs_settings: Hdfs, unique: str, tmp_path: Path) -> Iterator[Start]:
    """start(agent): that agent on the topic and the folder `unique`."""
    ensure(kafka_settings.bootstrap_servers, [Topic(unique, 3)])
    with ExitStack() as running:
        running.enter_context(hdfs_folder(hdfs_settings, f"/{unique}"))

        def begin(agent: str) -> Agent:
            conf = platform_conf(agent, unique)
            folder = tmp_path / agent
            started = Agent(agent, conf, unique, kafka_settings, hdfs_settings, folder, flume_java(stack.context))
            started.start()
            running.callback(started.stop)
            return started

        yield begin
