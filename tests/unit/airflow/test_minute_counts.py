from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from airflow.sdk.exceptions import AirflowFailException

from penstock.airflow.errors import TryAgain
from penstock.airflow.operators.minute_counts import MergeMinuteCountsOperator
from penstock.core.errors import Fatal, Retry
from penstock.ledger import locks
from penstock.ledger.streams import Streams
from penstock.pipelines.wiki import WIKI
from penstock.sinks import compaction
from penstock.sinks.checkpoint import Checkpoint
from penstock.sinks.compaction import Compaction


@pytest.fixture(autouse=True)
def addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HDFS_URL", "hdfs://localhost:8020")
    monkeypatch.setenv("WEBHDFS_URL", "http://localhost:9870")
    monkeypatch.setenv("LEDGER_URL", "postgresql://penstock:x@localhost/penstock")


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    held = []

    @contextmanager
    def lock(url: str, name: str, patience: float) -> Iterator[None]:
        held.append(name)
        yield
        held.append("released")

    monkeypatch.setattr(locks, "held_lock", lock)
    monkeypatch.setattr(Streams, "fold", lambda self, stream, before: 7)
    return held


def test_files_are_merged_under_a_lock_and_the_counts_returned(
    monkeypatch: pytest.MonkeyPatch, locked: list[str]
) -> None:
    def compact(hdfs: object, folder: str, contract: object, checkpoint: Checkpoint) -> Compaction:
        assert locked == [f"merging files in {folder}"]
        assert (folder, checkpoint.folder) == (WIKI.aggregate.folder, "/check")
        return Compaction(merged=5, merged_dates=1, merged_rows=250)

    monkeypatch.setattr(compaction, "compact", compact)
    counts = MergeMinuteCountsOperator(task_id="merge", stream=WIKI, checkpoint="/check").execute({})
    assert counts == {"merged": 5, "merged_dates": 1, "merged_rows": 250, "cleaned": 0, "folded": 7}
    assert locked[-1] == "released"


@pytest.mark.parametrize(("error", "seen"), [(Retry, TryAgain), (Fatal, AirflowFailException)])
def test_what_hdfs_refuses_is_told_in_airflow_s_terms(
    monkeypatch: pytest.MonkeyPatch, locked: list[str], error: type[Exception], seen: type[Exception]
) -> None:
    def compact(*_: object) -> Compaction:
        raise error("HDFS is away")

    monkeypatch.setattr(compaction, "compact", compact)
    with pytest.raises(seen, match="HDFS is away"):
        MergeMinuteCountsOperator(task_id="merge", stream=WIKI, checkpoint="/check").execute({})
