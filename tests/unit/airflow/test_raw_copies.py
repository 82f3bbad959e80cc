from __future__ import annotations

import pytest
from airflow.sdk.exceptions import AirflowFailException

from penstock.airflow.errors import TryAgain
from penstock.airflow.operators.raw_copies import FinishRawCopiesOperator
from penstock.core.errors import Fatal, Retry
from penstock.sinks import raw_copies
from penstock.sinks.raw_copies import Recovery


@pytest.fixture(autouse=True)
def addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HDFS_URL", "hdfs://localhost:8020")
    monkeypatch.setenv("WEBHDFS_URL", "http://localhost:9870")


def test_the_counts_are_returned_and_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    asked = []

    def recover(hdfs: object, folders: list[str]) -> Recovery:
        asked.append(folders)
        return Recovery(finished=2, finished_bytes=64, in_use=1)

    monkeypatch.setattr(raw_copies, "recover", recover)
    operator = FinishRawCopiesOperator(task_id="finish", folders=("/Cars", "/case_pop"))
    counts = operator.execute({})
    assert counts == {"finished": 2, "finished_bytes": 64, "deleted": 0, "cut_bytes": 0, "in_use": 1, "pending": 0}
    assert asked == [["/Cars", "/case_pop"]]


@pytest.mark.parametrize(("error", "seen"), [(Retry, TryAgain), (Fatal, AirflowFailException)])
def test_what_hdfs_refuses_is_told_in_airflow_s_terms(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], seen: type[Exception]
) -> None:
    def recover(hdfs: object, folders: list[str]) -> Recovery:
        raise error("HDFS is away")

    monkeypatch.setattr(raw_copies, "recover", recover)
    with pytest.raises(seen, match="HDFS is away"):
        FinishRawCopiesOperator(task_id="finish", folders=["/Cars"]).execute({})
