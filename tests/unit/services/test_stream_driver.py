"""What the driver decides before it starts Spark, and how it names what ended it."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.core.errors import Fatal, PenstockError, Retry
from penstock.core.settings import Hdfs, StreamJob
from penstock.core.stream import Fates
from penstock.ledger.streams import Totals
from penstock.pipelines.wiki import WIKI
from penstock.services import stream_driver
from penstock.services.stream_driver import check_folder, groups_of
from penstock.sinks import aggregates
from penstock.sinks.checkpoint import Plan

QUERY = "5f0c7a10-7b52-4d50-9d3b-0d6f2b2a9d11"
HDFS = Hdfs("hdfs://localhost:8020", "http://localhost:9870", "tester")
AT = datetime(2026, 11, 22, tzinfo=UTC)


def checkpoint(query: str | None = None, sources: int | None = None) -> Any:
    plan = None if sources is None else Plan(AT, tuple({} for _ in range(sources)))
    return SimpleNamespace(folder="/check", query_id=lambda: query, newest_plan=lambda: plan)


def ledger(rows: int = 0) -> Any:
    totals = Totals(QUERY, 1, AT, Fates(), rows, rows, 0) if rows else None
    return SimpleNamespace(totals=lambda stream: totals)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The queries that the files in the folder are of; to be filled by the test."""
    queries: list[str] = []

    def files(client: object, folder: str) -> list[Any]:
        return [("date", [SimpleNamespace(query=query) for query in queries])]

    monkeypatch.setattr(aggregates, "files", files)
    return queries


@pytest.mark.parametrize(
    ("query", "queries", "rows"),
    [(None, [], 0), (QUERY, [], 0), (QUERY, [QUERY[:8]], 5)],
)
def test_a_checkpoint_and_the_files_made_with_it_belong_together(
    found: list[str], query: str | None, queries: list[str], rows: int
) -> None:
    found += queries
    check_folder(WIKI, checkpoint(query), HDFS, ledger(rows))


@pytest.mark.parametrize(
    ("query", "queries", "rows", "said"),
    [
        (None, [QUERY[:8]], 5, "would be counted again"),
        (QUERY, ["00000000"], 0, "has counts of another checkpoint than /check"),
        (QUERY, [], 5, "is empty, and 5 counts were written there"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    found: list[str], query: str | None, queries: list[str], rows: int, said: str
) -> None:
    found += queries
    with pytest.raises(Fatal, match=said):
        check_folder(WIKI, checkpoint(query), HDFS, ledger(rows))


@pytest.mark.parametrize(
    ("sources", "partitions", "groups"),
    [
        (None, 3, [[0], [1], [2]]),
        (3, 3, [[0], [1], [2]]),
        (3, 5, [[0, 3], [1, 4], [2]]),
    ],
)
def test_partitions_keep_their_source_when_a_topic_is_widened(
    sources: int | None, partitions: int, groups: list[list[int]]
) -> None:
    assert groups_of(checkpoint(QUERY, sources), range(partitions)) == groups


@pytest.mark.parametrize(
    ("said", "kind", "sentence"),
    [
        ("x\n  penstock.core.errors.Retry: Kafka is away\n\tat y", Retry, "Kafka is away"),
        ("x penstock.core.errors.Fatal: Kafka refuses", Fatal, "Kafka refuses"),
        ("Some data may have been lost because they are not available", Fatal, "no longer on the topic"),
        ("[CONCURRENT_STREAM_LOG_UPDATE] x", Fatal, "another query writes to this checkpoint"),
        ("java.net.ConnectException: Connection refused\n\tat z", Retry, "Connection refused"),
    ],
)
def test_the_end_of_a_query_is_explained_in_one_sentence(said: str, kind: type[PenstockError], sentence: str) -> None:
    query: Any = SimpleNamespace(exception=lambda: said)
    error = stream_driver._explained(query)
    assert type(error) is kind
    assert sentence in str(error)
    assert "\n" not in str(error)


def test_a_job_s_settings_are_named_after_its_stream() -> None:
    environment = {"WIKI_CHECKPOINT": "/c/", "WIKI_TRIGGER_SECONDS": "2", "PENSTOCK_SPARK_PROPERTIES": "/p"}
    job = StreamJob.of("wiki", "wiki_edits_minute", environment)
    assert (job.checkpoint, job.trigger_seconds, str(job.properties_file)) == ("/c", 2, "/p")
    assert StreamJob.of("wiki", "wiki_edits_minute", {}).checkpoint == "/user/bigdata/checkpoints/wiki_edits_minute"
