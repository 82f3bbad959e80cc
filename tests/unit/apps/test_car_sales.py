from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from apps.car_api.sales import (
    CYCLE,
    EPOCH,
    OPEN,
    TICK,
    Sales,
    first_tick,
    is_sale,
    moment_of,
    next_sale,
    next_tick,
    sale,
)
from penstock.core.contract import Contract
from penstock.core.settings import INCLUDE, PROJECT

CONTRACT = Contract.load(INCLUDE / "avro" / "car-transactions-logs.avsc")
QUARTER = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)

moments = st.integers(0, 10**16).map(lambda us: EPOCH + timedelta(microseconds=us))
ticks = st.integers(0, 2**40)


def ids(start: datetime, end: datetime) -> list[int]:
    return list(Sales.between(start, end).ids())


def test_a_quarter_of_an_hour_has_a_sale_every_2_seconds_of_its_first_5_minutes() -> None:
    found = [moment_of(each) for each in ids(QUARTER, QUARTER + CYCLE)]

    assert found == [QUARTER + TICK * number for number in range(150)]
    assert ids(QUARTER + OPEN, QUARTER + CYCLE) == []


def test_an_interval_includes_its_start_and_not_its_end() -> None:
    third = QUARTER + 3 * TICK

    assert ids(third, third + TICK) == [first_tick(third)]
    assert ids(third + timedelta(microseconds=1), third + TICK) == []


@given(moments, st.lists(st.integers(0, 7_200), min_size=1, max_size=8))
@settings(deadline=None)
def test_any_tiling_of_an_interval_gives_the_same_sales(start: datetime, seconds: list[int]) -> None:
    edges = [start + timedelta(seconds=each) for each in sorted({0, *seconds, 7_200})]
    tiled = [each for first, last in pairwise(edges) for each in ids(first, last)]

    assert tiled == ids(edges[0], edges[-1])
    assert [sale(each) for each in tiled] == [sale(each) for each in ids(edges[0], edges[-1])]


@given(st.integers(0, 2**35), st.integers(0, 2_000), st.integers(0, 50))
@settings(deadline=None)
def test_ids_and_their_number_are_those_of_the_open_ticks(first: int, length: int, limit: int) -> None:
    open_ticks = [tick for tick in range(first, first + length) if is_sale(tick)]
    found = Sales(first, first + length)

    assert list(found.ids()) == open_ticks
    assert len(found) == len(open_ticks)
    assert list(found.ids(limit)) == open_ticks[:limit]


@given(ticks)
@settings(deadline=None)
def test_the_next_sale_is_the_first_open_tick(tick: int) -> None:
    found = next_sale(tick)

    assert found >= tick
    assert is_sale(found)
    assert len(Sales(tick, found)) == 0


@given(moments)
@settings(deadline=None)
def test_the_next_tick_is_the_first_that_has_not_happened(now: datetime) -> None:
    assert moment_of(next_tick(now) - 1) <= now < moment_of(next_tick(now))


@given(st.integers(0, 2**31))
@settings(deadline=None)
def test_every_sale_keeps_the_contract_and_is_what_its_id_says(tick: int) -> None:
    record = sale(tick)

    assert CONTRACT.violation(record) is None
    assert list(record) == [field.name for field in CONTRACT.fields]
    assert record["transaction_id"] == tick
    assert record["time"] == (moment_of(tick) - EPOCH) // timedelta(milliseconds=1)


def test_a_buyer_always_has_the_same_name() -> None:
    names: dict[object, set[object]] = {}
    for each in map(sale, range(60_000)):
        names.setdefault(each["buyer_id"], set()).add(each["buyer_name"])

    assert {len(each) for each in names.values()} == {1}
    assert len(names) > 10_000


def test_tags_have_few_values() -> None:
    sets = {tuple(each[tag] for tag in CONTRACT.tags) for each in map(sale, range(20_000))}

    assert len(sets) <= 1_400


def test_another_process_computes_the_same_sale() -> None:
    code = "from apps.car_api.sales import sale; print(sale(897670800))"
    environment = {"PYTHONPATH": f"{PROJECT}:{PROJECT / 'plugins'}", "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)

    assert done.stdout.strip() == str(sale(897_670_800))
