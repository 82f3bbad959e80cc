from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from penstock.core.errors import Fatal
from penstock.services import SERVICES
from penstock.services.service import SPARK_STALL_SECONDS, Budget

BUDGET = Budget(restarts=4, window=timedelta(minutes=10), base=5, longest=15)


@pytest.mark.parametrize(
    ("ages", "wait"),
    [
        pytest.param([], 0, id="the first restart comes at once"),
        pytest.param([1], 4, id="the second after the base"),
        pytest.param([1, 60], 9, id="the third after twice that"),
        pytest.param([1, 60, 90], 14, id="and never after more than the longest pause"),
        pytest.param([100], 0, id="a pause that is over"),
        pytest.param([1, 2, 3, 590], 10, id="with the budget used up: when the oldest leaves the window"),
        pytest.param([1, 2, 3, 590, 599], 10, id="of those that count"),
    ],
)
def test_restarts_come_at_growing_distances(ages: list[float], wait: float) -> None:
    assert BUDGET.wait(ages) == wait


def test_the_budget_is_used_up_by_so_many_restarts() -> None:
    assert not BUDGET.used_up([1, 2, 3])
    assert BUDGET.used_up([1, 2, 3, 4])


@pytest.mark.parametrize("wrong", [{"restarts": 0}, {"window": timedelta(0)}, {"base": 0}, {"base": 9, "longest": 8}])
def test_a_budget_without_restarts_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Fatal, match="allows no restart"):
        Budget(**wrong)


def test_every_service_is_declared_under_its_own_name() -> None:
    assert len(SERVICES) == 18
    assert all(service.name == name for name, service in SERVICES.items())
    assert SERVICES["flume-pop-hdfs"].dag_id == "service_flume_pop_hdfs"


def test_a_stalled_service_is_restarted_within_two_minutes() -> None:
    """The limit, the time to notice, the time to stop, and the looks that kill and start it."""
    from penstock.services.watch import KILL_SECONDS, LOOK_SECONDS, SAMPLE_SECONDS

    quick_to_start = [service for service in SERVICES.values() if service.stall_limit != SPARK_STALL_SECONDS]
    assert len(quick_to_start) == len(SERVICES) - 3
    for service in quick_to_start:
        assert service.stall_limit + SAMPLE_SECONDS + KILL_SECONDS + 3 * LOOK_SECONDS < 120


def test_every_service_is_a_server_that_supervisord_leaves_to_its_watch() -> None:
    from penstock.stack.servers import SERVERS

    assert {server.name for server in SERVERS if server.service} == set(SERVICES)
