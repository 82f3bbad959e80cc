from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.sdk import RetryAction
from airflow.sdk.exceptions import AirflowFailException

from penstock.airflow.errors import AsAskedFor, TryAgain, airflow_errors
from penstock.core.errors import Fatal, Reject, Retry


def test_retry_becomes_an_error_that_airflow_tries_again() -> None:
    with pytest.raises(TryAgain, match="the broker is away") as caught, airflow_errors():
        raise Retry("the broker is away", retry_after=30)
    assert caught.value.retry_after == 30
    assert not isinstance(caught.value, AirflowFailException)


@pytest.mark.parametrize("error", [Fatal("no such variable"), Reject("bad record")])
def test_what_will_not_pass_becomes_an_error_that_airflow_does_not_try_again(error: Exception) -> None:
    with pytest.raises(AirflowFailException, match=str(error)), airflow_errors():
        raise error


def test_causes_are_not_shown_around_the_sentence() -> None:
    error = Retry("one sentence")
    error.__cause__ = ValueError("deep inside")
    with pytest.raises(TryAgain) as caught, airflow_errors():
        raise error
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_the_sentence_is_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(AirflowFailException), airflow_errors():
        raise Fatal("the topic is missing: run `penstock up`")
    assert [(each.levelname, each.message) for each in caplog.records] == [
        ("ERROR", "the topic is missing: run `penstock up`")
    ]


def test_other_errors_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError), airflow_errors():
        _ = 1 / 0


def test_a_retry_waits_as_long_as_the_other_side_asked_for() -> None:
    decision = AsAskedFor().evaluate(TryAgain("one minute", 60), 1, 4)
    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, timedelta(minutes=1))
    assert decision.reason == "one minute"


def test_a_retry_that_asks_for_nothing_waits_as_the_task_says() -> None:
    assert AsAskedFor().evaluate(TryAgain("later"), 1, 4).retry_delay is None


def test_the_policy_leaves_other_errors_to_airflow() -> None:
    assert AsAskedFor().evaluate(RuntimeError("?"), 1, 4).action is RetryAction.DEFAULT
