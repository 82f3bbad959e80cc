"""GET of JSON over HTTP, each failure named by what the caller should do next."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

import requests
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from penstock.core.errors import Fatal, Retry

log = logging.getLogger(__name__)

USER_AGENT = f"penstock (self-hosted data platform; python-requests/{requests.__version__})"

_CLIENT_ERRORS = range(400, 500)
_TOO_MANY_REQUESTS = 429
_TRANSIENT_CLIENT_ERRORS = frozenset({408, 425})
_EXCERPT = 200
_REASONS = ("reason", "detail", "message")


class Budget(Protocol):
    """How often a host may be called."""

    def spend(self, host: str, weight: float) -> AbstractContextManager[None]:
        """Wait for a turn, hold it for one request, and count that request as `weight` calls.

        Raises Retry with `retry_after` where the budget is used up for long. A Retry with `retry_after` that leaves the
        context is a wait that the host asks of all its callers.
        """
        ...


class Unlimited:
    """The budget of a host that does not mind."""

    def spend(self, host: str, weight: float) -> AbstractContextManager[None]:  # noqa: ARG002 - Budget's signature
        """Never wait."""
        return nullcontext()


class Refused(Fatal):
    """The host understood the request and refuses it. `reason` is in its own words."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def _no_hint(_reason: str) -> float | None:
    return None


@dataclass
class JsonClient:
    """Gets JSON, with retries inside the budget. Use it as a context manager.

    A wait of at most `longest_wait` seconds is slept here; one that is longer is raised, so that it holds no worker.
    `wait_after_429` reads the seconds to wait from the reason of an HTTP 429 without Retry-After, or None for a plain
    back-off. `timeout` is (connect, read) in seconds.
    """

    budget: Budget = field(default_factory=Unlimited)
    wait_after_429: Callable[[str], float | None] = _no_hint
    timeout: tuple[float, float] = (5.0, 60.0)
    attempts: int = 6
    longest_wait: float = 90.0
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": USER_AGENT, "Accept": "application/json"})
        self._back_off = wait_random_exponential(multiplier=1, max=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._session.close()

    def get(self, url: str, *, weight: float = 1.0) -> Any:
        """The parsed body of `url`, which counts as `weight` calls.

        Raises Retry where the host fails for longer than the retries last or asks for a longer wait, Refused where it
        says no, and Fatal where `url` is none.
        """
        retrying = Retrying(
            retry=retry_if_exception(self._is_worth_a_wait),
            stop=stop_after_attempt(self.attempts),
            wait=self._wait,
            sleep=self.sleep,
            before_sleep=_log_wait,
            reraise=True,
        )
        return retrying(self._attempt, url, weight)

    def _is_worth_a_wait(self, error: BaseException) -> bool:
        return isinstance(error, Retry) and (error.retry_after or 0) <= self.longest_wait

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, Retry) and error.retry_after is not None:
            return error.retry_after + random.uniform(0, 1)
        return self._back_off(state)

    def _attempt(self, url: str, weight: float) -> Any:
        address = urlsplit(url)
        where = f"{address.netloc}{address.path}"  # without the query, which may hold a key
        with self.budget.spend(address.netloc, weight):
            response = self._send(url, where)
            if response.status_code != requests.codes.ok:
                raise self._failure(response, where)  # here, so that the budget hears of a wait the host asks for
        try:
            body = json.loads(response.content)
        except ValueError:
            raise Retry(f"{where} sent a body that is cut short or is not JSON: {_excerpt(response)!r}") from None
        if isinstance(body, dict) and body.get("error"):
            raise Retry(f"{where} failed while it answered: {_reason(response)}")
        return body

    def _send(self, url: str, where: str) -> requests.Response:
        """One request. Its errors are not chained: their texts hold the whole URL."""
        try:
            return self._session.get(url, timeout=self.timeout)
        except requests.Timeout:
            connect, read = self.timeout
            raise Retry(f"{where} did not answer in time ({connect:g} s to connect, {read:g} s to read)") from None
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema):
            raise Fatal(f"{where!r} is not an http address: check the configured base URL") from None
        except requests.ConnectionError as error:
            raise Retry(f"{where} cannot be reached: {_root(error)}") from None
        except requests.RequestException as error:
            raise Retry(f"{where} broke off its answer: {_root(error)}") from None

    def _failure(self, response: requests.Response, where: str) -> Exception:
        status, reason = response.status_code, _reason(response)
        if status == _TOO_MANY_REQUESTS:
            wait = _retry_after(response)
            return Retry(
                f"{where} wants fewer requests: {reason}",
                retry_after=self.wait_after_429(reason) if wait is None else wait,
            )
        if status in _CLIENT_ERRORS and status not in _TRANSIENT_CLIENT_ERRORS:
            return Refused(f"{where} refuses the request (HTTP {status}): {reason}", reason)
        return Retry(f"{where} failed (HTTP {status}): {reason}", retry_after=_retry_after(response))


def _log_wait(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    wait = state.next_action.sleep if state.next_action else 0.0
    log.warning("%s; attempt %d, again in %.1f s", error, state.attempt_number, wait)


def _reason(response: requests.Response) -> str:
    """The body's own words: its `reason`, `detail` or `message`, or the beginning of a body that has none of them."""
    try:
        body = json.loads(response.content)
    except ValueError:
        body = None
    named = [body.get(name) for name in _REASONS] if isinstance(body, dict) else []
    own_words = next((each for each in named if isinstance(each, str) and each), None)
    return own_words or _excerpt(response) or response.reason or "no reason given"


def _excerpt(response: requests.Response) -> str:
    return " ".join(response.content[:_EXCERPT].decode("utf-8", errors="replace").split())


def _retry_after(response: requests.Response) -> float | None:
    """The seconds of a Retry-After header; its other form, a date, is not used by what we call."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None


def _root(error: BaseException) -> str:
    """The kind of the innermost error, with the system's own words where it has some."""
    seen: BaseException = error
    while (inner := seen.__cause__ or seen.__context__) is not None:
        seen = inner
    detail = getattr(seen, "strerror", None)
    return f"{type(seen).__name__}: {detail}" if detail else type(seen).__name__
