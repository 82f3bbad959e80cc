from __future__ import annotations

import math
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest

from penstock.core.errors import Fatal, Retry
from penstock.core.settings import PROJECT, OpenMeteo
from penstock.ledger.limits import CallBudget
from penstock.ledger.store import Ledger

pytestmark = pytest.mark.integration

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def url(ledger_url: str) -> str:
    Ledger(ledger_url).migrate()
    return ledger_url


@pytest.fixture
def host(unique: str) -> str:
    """The turn is per database, not per schema: so each test has a host of its own."""
    return f"{unique}.test"


def budget(
    url: str, windows: dict[timedelta, int] | None = None, patience: float = 60, **more: Callable[[float], None]
) -> CallBudget:
    return CallBudget(url, {HOUR: 10} if windows is None else windows, patience=patience, **more)


def called(url: str, host: str, ago: timedelta, weight: float = 1) -> None:
    with psycopg.connect(url) as session:
        session.execute(
            "INSERT INTO calls (host, at, weight) VALUES (%s, clock_timestamp() - %s, %s)", (host, ago, weight)
        )


def recorded(url: str, host: str) -> list[float]:
    with psycopg.connect(url) as session:
        rows = session.execute("SELECT weight FROM calls WHERE host = %s ORDER BY id", (host,)).fetchall()
    return [float(weight) for (weight,) in rows]


def wait_asked(budget: CallBudget, host: str, weight: float = 1) -> timedelta:
    """In whole minutes, rounded up: the database's clock goes on while a test runs."""
    with pytest.raises(Retry) as raised, budget.spend(host, weight):
        pytest.fail("a request was made that the budget has no room for")
    assert raised.value.retry_after is not None
    return timedelta(minutes=math.ceil(raised.value.retry_after / 60))


def test_calls_within_the_limit_go_at_once_and_are_counted_by_weight(url: str, host: str) -> None:
    for weight in (1, 2.5, 6.5):
        with budget(url).spend(host, weight):
            pass
    assert recorded(url, host) == [1, 2.5, 6.5]


def test_the_call_that_is_too_many_waits_until_enough_old_ones_have_left_the_window(url: str, host: str) -> None:
    for minutes, weight in ((50, 4), (40, 3), (30, 3)):
        called(url, host, minutes * MINUTE, weight)
    assert wait_asked(budget(url), host, 1) == 10 * MINUTE
    assert wait_asked(budget(url), host, 4) == 10 * MINUTE
    assert wait_asked(budget(url), host, 5) == 20 * MINUTE
    assert wait_asked(budget(url), host, 10) == 30 * MINUTE
    assert recorded(url, host) == [4, 3, 3], "a call that was not made is not counted"


def test_the_longest_wait_of_all_windows_holds(url: str, host: str) -> None:
    windows = {10 * MINUTE: 10, HOUR: 12, DAY: 20}
    called(url, host, MINUTE, 9)
    assert wait_asked(budget(url, windows), host, 2) == 9 * MINUTE
    called(url, host, 45 * MINUTE, 3)
    assert wait_asked(budget(url, windows), host) == 15 * MINUTE
    called(url, host, 23 * HOUR, 8)
    assert wait_asked(budget(url, windows), host) == HOUR


def test_calls_that_have_left_every_window_are_forgotten(url: str, host: str) -> None:
    called(url, host, 61 * MINUTE, 10)
    with budget(url).spend(host, 10):
        pass
    assert recorded(url, host) == [10]


def test_a_limit_of_zero_is_none(url: str, host: str) -> None:
    for _ in range(5):
        with budget(url, {MINUTE: 0, HOUR: 0}).spend(host, 10**6):
            pass
    assert recorded(url, host) == []


def test_a_request_above_a_limit_can_never_be_made(url: str, host: str) -> None:
    with (
        pytest.raises(Fatal, match=r"counts as 11 calls, above the limit of 10 in 1:00:00"),
        budget(url).spend(host, 11),
    ):
        pytest.fail("the request was made")


def test_a_wait_within_the_patience_is_waited(url: str, host: str) -> None:
    called(url, host, 30 * MINUTE, 10)
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        """Let the calls grow older instead."""
        waits.append(seconds)
        with psycopg.connect(url) as session:
            session.execute("UPDATE calls SET at = at - %s", (timedelta(seconds=seconds),))

    with budget(url, patience=3600, sleep=sleep).spend(host, 10):
        pass
    assert math.ceil(waits[0] / 60) == 30
    assert len(waits) == 1
    assert recorded(url, host) == [10]


def test_a_pause_that_is_lengthened_during_a_wait_is_kept(url: str, host: str) -> None:
    called(url, host, 59 * MINUTE, 10)
    lengthened = budget(url, patience=120, sleep=lambda _: budget(url).blocked(host, 3600))
    assert wait_asked(lengthened, host) == HOUR


def test_hosts_have_budgets_of_their_own(url: str, host: str) -> None:
    called(url, host, MINUTE, 10)
    wait_asked(budget(url), host)
    with budget(url).spend(f"archive.{host}", 10):
        pass


def test_one_request_at_a_time_is_made_to_a_host(url: str, host: str) -> None:
    under_way = 0
    most = 0
    guard = threading.Lock()

    def request(_: int) -> None:
        nonlocal under_way, most
        with budget(url, {HOUR: 100}).spend(host, 1):
            with guard:
                under_way += 1
                most = max(most, under_way)
            with psycopg.connect(url) as session:
                session.execute("SELECT pg_sleep(0.02)")
            with guard:
                under_way -= 1

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(request, range(12)))
    assert most == 1
    assert len(recorded(url, host)) == 12


def test_workers_together_keep_the_limit(url: str, host: str) -> None:
    def request(_: int) -> bool:
        try:
            with budget(url).spend(host, 1):
                return True
        except Retry:
            return False

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(request, range(15))) == 10
    assert recorded(url, host) == [1] * 10


def test_a_turn_that_does_not_come_is_worth_a_retry(url: str, host: str) -> None:
    impatient = budget(url, patience=0)
    with budget(url).spend(host, 1), pytest.raises(Retry, match="busy") as raised, impatient.spend(host, 1):
        pytest.fail("two requests at once")
    assert raised.value.retry_after is not None
    with budget(url).spend(host, 1):
        pass


def test_a_worker_that_is_killed_gives_its_turn_back(url: str, host: str) -> None:
    program = (
        "import sys, time, datetime\n"
        "from penstock.ledger.limits import CallBudget\n"
        "with CallBudget(sys.argv[1], {datetime.timedelta(hours=1): 10}).spend(sys.argv[2], 1):\n"
        "    print('mine', flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, url, host],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(PROJECT / "plugins")},
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "mine\n"
        with pytest.raises(Retry, match="busy"), budget(url, patience=0).spend(host, 1):
            pytest.fail("two requests at once")
        worker.send_signal(signal.SIGKILL)
    with budget(url).spend(host, 1):
        pass
    assert recorded(url, host) == [1, 1], "what the dead worker sent was sent"


def test_a_host_that_asked_for_a_pause_is_left_alone_by_all(url: str, host: str) -> None:
    budget(url).blocked(host, 3600)
    assert wait_asked(budget(url, {}), host) == HOUR
    budget(url).blocked(host, 600)
    assert wait_asked(budget(url), host) == HOUR, "the longer wish holds"
    with budget(url).spend(f"other.{host}", 1):
        pass


def test_a_pause_that_the_host_asked_for_during_a_request_is_noted(url: str, host: str) -> None:
    with pytest.raises(Retry, match="wants fewer"), budget(url).spend(host, 1):
        raise Retry("it wants fewer requests", retry_after=1800)
    assert wait_asked(budget(url), host) == 30 * MINUTE


@pytest.mark.parametrize("error", [Retry("time-out"), Fatal("no"), KeyError("x")])
def test_other_failures_of_a_request_block_nobody(url: str, host: str, error: Exception) -> None:
    with pytest.raises(type(error)), budget(url).spend(host, 1):
        raise error
    with budget(url).spend(host, 1):
        pass
    assert recorded(url, host) == [1, 1], "the failed request was made too"


def test_the_budget_of_open_meteo_is_that_of_the_settings(url: str, host: str) -> None:
    settings = OpenMeteo.from_env({"OPEN_METEO_CALLS_PER_MINUTE": "5", "OPEN_METEO_CALLS_PER_HOUR": "0"})
    with pytest.raises(Fatal, match="limit of 5 in 0:01:00"), CallBudget.of(settings, url).spend(host, 6):
        pytest.fail("the request was made")
    with CallBudget.of(settings, url).spend(host, 5):
        pass


def test_a_database_that_is_away_is_worth_a_retry(host: str) -> None:
    away = budget("postgresql://u:s3cret@127.0.0.1:1/d")
    with pytest.raises(Retry, match="can't be reached") as raised, away.spend(host, 1):
        pytest.fail("a request was made without a budget")
    assert "s3cret" not in str(raised.value)
