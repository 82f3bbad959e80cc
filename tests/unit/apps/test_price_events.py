from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from apps.price_consumer.events import BUCKETS, Event, PriceLimits, decode
from penstock.core.errors import Fatal, Reject
from penstock.core.settings import price_limits
from penstock.pipelines import WEB_EVENTS

NOW = 1_767_268_800_000
GOOD: dict[str, Any] = {
    "event_id": "one",
    "time": NOW,
    "event_type": "view",
    "user_id": 1,
    "product_id": 2,
    "product": "a thing",
    "category": "toys",
    "price": 3,
}


def raw(**changes: Any) -> bytes:
    return json.dumps({key: value for key, value in (GOOD | changes).items() if value is not ...}).encode()


def test_the_events_are_those_of_the_contract() -> None:
    assert [each.name for each in msgspec.structs.fields(Event)] == [each.name for each in WEB_EVENTS.contract.fields]
    assert WEB_EVENTS.contract.violation(GOOD) is None
    assert decode(raw(), NOW, 0).price == 3.0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"price": ...}, "price"),
        ({"price": -0.01}, "price"),
        ({"price": None}, "price"),
        ({"price": "3"}, "price"),
        ({"time": 1.5}, "time"),
        ({"time": True}, "time"),
        ({"user_id": 2**63}, "user_id"),
        ({"event_id": 7}, "event_id"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_breaks_the_contract_is_rejected_by_the_name_of_its_field(changes: dict[str, Any], said: str) -> None:
    record = {key: value for key, value in (GOOD | changes).items() if value is not ...}
    assert said in str(WEB_EVENTS.contract.violation(record))
    with pytest.raises(Reject, match=said):
        decode(raw(**changes), NOW, 0)


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b"null", b'{"event_id": "\xff"}', b"\xff", None])
def test_what_is_no_json_object_is_rejected(value: bytes | None) -> None:
    with pytest.raises(Reject):
        decode(value, NOW, 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"category": "two\nlines"}, "control character"),
        ({"category": "ends with \\"}, "backslash"),
        ({"category": "x" * 257}, "257 characters"),
        ({"time": -(2**62)}, "1677"),
    ],
)
def test_what_influxdb_cannot_keep_is_rejected(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Reject, match=said):
        decode(raw(**changes), NOW, 0)


def test_a_time_may_be_ahead_of_the_record_so_far_and_no_farther() -> None:
    assert decode(raw(), NOW - 60_000, 60_000).time == NOW
    with pytest.raises(Reject, match="61 s ahead"):
        decode(raw(), NOW - 61_000, 60_000)


@pytest.mark.parametrize(
    ("price", "bucket"), [(0, "low"), (19.99, "low"), (20, "medium"), (99.99, "medium"), (100, "high")]
)
def test_a_limit_belongs_to_the_bucket_above(price: float, bucket: str) -> None:
    assert BUCKETS[PriceLimits(*price_limits({})).bucket(price)] == bucket


def test_limits_come_from_the_environment() -> None:
    assert price_limits({"PRICE_MEDIUM_FROM": "5", "PRICE_HIGH_FROM": "7.5"}) == (5, 7.5)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"PRICE_MEDIUM_FROM": "cheap"}, "PRICE_MEDIUM_FROM is 'cheap', not a price"),
        ({"PRICE_HIGH_FROM": "inf"}, "PRICE_HIGH_FROM is 'inf', not a price"),
        ({"PRICE_MEDIUM_FROM": "100"}, "PRICE_MEDIUM_FROM is 100 and PRICE_HIGH_FROM is 100"),
        ({"PRICE_MEDIUM_FROM": "-1"}, "two prices above 0"),
    ],
)
def test_limits_that_make_no_sense_are_refused(environment: dict[str, str], said: str) -> None:
    with pytest.raises(Fatal, match=said):
        price_limits(environment)
