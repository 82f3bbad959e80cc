"""Penstock's errors in Airflow's terms: what is tried again, when, and what a person reads in the task's log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.sdk import RetryDecision, RetryPolicy
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from penstock.core.errors import PenstockError, Retry

if TYPE_CHECKING:
    from airflow.sdk import Context


log = logging.getLogger(__name__)


class TryAgain(AirflowException):
    """The task may succeed later: after `retry_after` seconds, or after Airflow's own back-off where that is None."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Raise Retry as TryAgain and every other PenstockError as AirflowFailException, which Airflow does not retry.

    The error's sentence becomes a line of the task's log, and the error is raised without its causes, whose tracebacks
    Airflow would print around it.
    """
    try:
        yield
    except Retry as error:
        log.warning("%s", error)
        raise TryAgain(str(error), error.retry_after) from None
    except PenstockError as error:
        log.error("%s", error)  # noqa: TRY400 - its traceback is what is left out
        raise AirflowFailException(str(error)) from None


class AsAskedFor(RetryPolicy):
    """Retries wait as long as the other side asked for, and otherwise as the task says."""

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002 - Airflow's signature
        max_tries: int,  # noqa: ARG002
        context: Context | None = None,  # noqa: ARG002
    ) -> RetryDecision:
        """Give TryAgain its delay and its reason, which Airflow then shows at the task instance."""
        if not isinstance(exception, TryAgain):
            return RetryDecision.default()
        delay = None if exception.retry_after is None else timedelta(seconds=exception.retry_after)
        return RetryDecision.retry(delay, reason=str(exception))
