from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Self

import pytest
import requests

from apps.car_api import app as module
from apps.car_api.sales import Sales, sale
from penstock.core.batch import Interval
from penstock.core.errors import Fatal, Retry
from penstock.sources import car_api as source
from penstock.sources.car_api import CarApi
from tests.car_api import CONTRACT, serve

OPEN = datetime(2026, 11, 22, 10, 2, 0, 500_000, tzinfo=UTC)
CLOSED = datetime(2026, 11, 22, 10, 9, tzinfo=UTC)


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.time = OPEN

    def __call__(self) -> datetime:
        return self.time


class FakeCourier:
    """In Kafka's place: remembers what it was given."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, bytes]] = []
        self.error: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def send(self, values: Sequence[bytes], keys: Iterable[bytes]) -> None:
        self.check()
        self.sent += zip(values, keys, strict=True)

    def check(self) -> None:
        if self.error:
            raise self.error


@pytest.fixture(scope="module")
def running() -> Iterator[SimpleNamespace]:
    courier, clock = FakeCourier(), Clock()
    with serve(courier, clock) as url:  # type: ignore[arg-type]
        yield SimpleNamespace(url=url, courier=courier, clock=clock)


@pytest.fixture
def api(running: SimpleNamespace) -> SimpleNamespace:
    """The API at a moment when branches are open, with Kafka there and nothing sent."""
    running.courier.sent.clear()
    running.courier.error = None
    running.clock.time = OPEN
    return running


def ask(api: SimpleNamespace, **query: object) -> requests.Response:
    given = {"from": "2026-11-22T09:00:00Z", "to": "2026-11-22T09:15:00Z"} | query
    return requests.get(f"{api.url}/api/car_transactions", params=given, timeout=30)


def post(api: SimpleNamespace, body: object, **headers: str) -> requests.Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(f"{api.url}/api/logs", data=data, headers=headers, timeout=30)


def sales(count: int) -> list[dict[str, Any]]:
    return [dict(sale(tick)) for tick in range(count)]


# The interval


def test_an_interval_is_answered_whole_and_in_the_order_of_ids(api: SimpleNamespace) -> None:
    answer = ask(api).json()

    expected = Sales.between(datetime(2026, 11, 22, 9, tzinfo=UTC), datetime(2026, 11, 22, 9, 15, tzinfo=UTC))
    assert answer == {"total": 150, "transactions": [sale(tick) for tick in expected.ids()], "next": None}


def test_an_interval_in_which_branches_are_closed_is_empty(api: SimpleNamespace) -> None:
    answer = ask(api, **{"from": "2026-11-22T09:05:00Z"}).json()

    assert answer == {"total": 0, "transactions": [], "next": None}


def test_an_offset_other_than_utc_s_is_understood(api: SimpleNamespace) -> None:
    shifted = ask(api, **{"from": "2026-11-22T10:00:00+01:00", "to": "2026-11-22T10:15:00+01:00"})

    assert shifted.json() == ask(api).json()


def test_pages_have_all_transactions_once(api: SimpleNamespace) -> None:
    pages, after = [], None
    while not pages or after is not None:
        pages.append(ask(api, limit=40, **({} if after is None else {"after": after})).json())
        after = pages[-1]["next"]

    assert [len(page["transactions"]) for page in pages] == [40, 40, 40, 30]
    assert {page["total"] for page in pages} == {150}
    assert [each for page in pages for each in page["transactions"]] == ask(api).json()["transactions"]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"from": None}, "from is missing: give a time such as"),
        ({"to": ""}, "to is missing: give a time such as"),
        ({"from": "yesterday"}, "from is 'yesterday', not a time such as"),
        ({"from": "2026-11-22T09:00:00"}, "without a UTC offset: write 2026-11-22T09:00:00Z"),
        ({"from": "2026-11-22T09:00:00 00:00"}, "a + must be written %2B"),
        ({"from": "0001-01-01T00:00:00+12:00"}, "beyond the calendar"),
        ({"from": "1969-12-31T23:00:00Z"}, "the first sale was at 1970-01-01T00:00:00Z"),
        ({"to": "2026-11-22T09:00:00Z"}, "is not after from"),
        ({"to": "2026-11-22T08:00:00Z"}, "is not after from"),
        ({"to": "2026-11-22T10:15:00Z"}, "in the future: it is 2026-11-22T10:02:00.500000Z"),
        ({"from": "2026-10-22T08:00:00Z"}, "the longest one is 31 days: split it"),
        ({"limit": "0"}, "limit is '0', not a whole number from 1 to 10000"),
        ({"limit": "1e3"}, "limit is '1e3', not a whole number"),
        ({"after": "-1"}, "after is '-1', not a whole number"),
        ({"after": "9" * 30}, "not a whole number from 0"),
    ],
    ids=str,
)
def test_a_wrong_question_is_refused_in_one_sentence(api: SimpleNamespace, query: Any, reason: str) -> None:
    answer = ask(api, **query)

    assert answer.status_code == 400
    assert reason in answer.json()["detail"]


def test_an_interval_that_has_just_ended_by_a_clock_ahead_is_answered(api: SimpleNamespace) -> None:
    assert ask(api, to="2026-11-22T10:02:03Z").status_code == 200


def test_the_source_fetches_what_the_ledger_has(api: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "PAGE", 70)
    hour = Interval(datetime(2026, 11, 22, 8, 1, tzinfo=UTC), datetime(2026, 11, 22, 9, 1, tzinfo=UTC))

    fetched = list(CarApi(api.url).fetch(hour, {}))

    assert fetched == [sale(tick) for tick in Sales.between(hour.start, hour.end).ids()]
    assert len(fetched) == 600


# The stream


def read_stream(api: SimpleNamespace, events: int, **headers: str) -> tuple[list[tuple[int, Any]], list[str]]:
    """The first `events` events as (id, data), and the comments before them."""
    found, comments = [], []
    with requests.get(f"{api.url}/api/stream_car_transactions", headers=headers, stream=True, timeout=30) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        number = None
        for line in answer.iter_lines(decode_unicode=True):
            name, _, text = line.partition(": ")
            if line.startswith(": "):
                comments.append(line)
            elif name == "id":
                number = int(text)
            elif name == "data":
                found.append((number, json.loads(text)))
            if len(found) == events:
                break
    return found, comments


def test_a_client_that_comes_back_gets_what_it_has_missed(api: SimpleNamespace) -> None:
    newest = Sales.between(OPEN - timedelta(hours=1), OPEN)
    missed = list(newest.ids())

    found, _ = read_stream(api, len(missed) - 5, **{"Last-Event-ID": str(missed[4])})

    assert found == [(tick, sale(tick)) for tick in missed[5:]]


def test_a_new_client_begins_with_the_next_sale(api: SimpleNamespace) -> None:
    upcoming = Sales.between(OPEN, OPEN + timedelta(seconds=6))
    timer = threading.Timer(0.3, setattr, (api.clock, "time", OPEN + timedelta(seconds=5)))
    timer.start()

    found, _ = read_stream(api, 2)

    assert found == [(tick, sale(tick)) for tick in upcoming.ids(2)]


def test_what_is_too_long_ago_is_left_out_and_said(api: SimpleNamespace) -> None:
    day = Sales.between(OPEN - timedelta(days=1), OPEN)
    first = next(day.ids())

    found, comments = read_stream(api, 1, **{"Last-Event-ID": str(first - 450 - 1)})

    assert found == [(first, sale(first))]
    assert comments == [": 150 sales are too long ago: ask /api/car_transactions for them"]


def test_an_id_of_the_future_is_taken_for_the_newest(api: SimpleNamespace) -> None:
    timer = threading.Timer(0.3, setattr, (api.clock, "time", OPEN + timedelta(seconds=3)))
    timer.start()

    (found, *_), _ = read_stream(api, 1, **{"Last-Event-ID": "999999999999"})

    assert found[0] == next(Sales.between(OPEN, OPEN + timedelta(minutes=1)).ids())


def test_while_branches_are_closed_the_stream_says_until_when(api: SimpleNamespace) -> None:
    api.clock.time = CLOSED
    with requests.get(f"{api.url}/api/stream_car_transactions", stream=True, timeout=30) as answer:
        lines = answer.iter_lines(decode_unicode=True)
        assert [next(lines) for _ in range(3)] == ["retry: 2000", "", ": the next sale is at 2026-11-22T10:15:00Z"]


@pytest.mark.parametrize("last_id", ["x", "-1", "1.5", "9" * 40])
def test_a_wrong_id_is_refused(api: SimpleNamespace, last_id: str) -> None:
    answer = requests.get(
        f"{api.url}/api/stream_car_transactions", headers={"Last-Event-ID": last_id}, stream=True, timeout=30
    )

    assert answer.status_code == 400
    assert "not the id of a sale" in answer.json()["detail"]


def test_streams_end_when_the_server_is_told_to_stop() -> None:
    clock = Clock()
    clock.time = CLOSED
    ended = threading.Event()
    with serve(FakeCourier(), clock) as url:  # type: ignore[arg-type]
        answer = requests.get(f"{url}/api/stream_car_transactions", stream=True, timeout=60)
        lines = answer.iter_lines()
        next(lines)
        reader = threading.Thread(target=lambda: (list(lines), ended.set()))
        reader.start()
    reader.join(30)
    assert ended.is_set()


# What is posted


@pytest.mark.parametrize("posted", [sales(1)[0], sales(1), sales(3)], ids=["an object", "a list of one", "a list"])
def test_what_is_accepted_is_sent_under_its_keys(api: SimpleNamespace, posted: Any) -> None:
    answer = post(api, posted)

    expected = posted if isinstance(posted, list) else [posted]
    assert (answer.status_code, answer.json()) == (202, {"accepted": len(expected)})
    assert [json.loads(value) for value, _ in api.courier.sent] == expected
    assert [key for _, key in api.courier.sent] == [
        f'{{"transaction_id":{each["transaction_id"]}}}'.encode() for each in expected
    ]


def test_a_value_is_compact_json_in_the_contract_s_order(api: SimpleNamespace) -> None:
    record = sales(1)[0]
    post(api, dict(reversed(record.items())))

    expected = json.dumps(record, separators=(",", ":"), ensure_ascii=False)
    assert api.courier.sent[0][0].decode() == expected


def test_records_may_come_one_a_line(api: SimpleNamespace) -> None:
    body = "\n".join(json.dumps(each) for each in sales(3)) + "\r\n\n"

    assert post(api, body.encode()).json() == {"accepted": 3}
    assert [json.loads(value) for value, _ in api.courier.sent] == sales(3)


def test_an_object_may_be_spread_over_lines(api: SimpleNamespace) -> None:
    assert post(api, json.dumps(sales(1)[0], indent=2).encode()).json() == {"accepted": 1}


def test_an_empty_list_is_accepted(api: SimpleNamespace) -> None:
    assert post(api, []).json() == {"accepted": 0}


@pytest.mark.parametrize(
    "text", ["2026-11-22T10:00:00Z", "2026-11-22T12:00:00+02:00", "2026-11-22T10:00:00.000000+00:00"]
)
def test_a_time_may_be_a_text(api: SimpleNamespace, text: str) -> None:
    assert post(api, sales(1)[0] | {"time": text}).status_code == 202
    assert json.loads(api.courier.sent[0][0])["time"] == 1_795_341_600_000


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"time": "2026-11-22T10:00:00"}, "time is '2026-11-22T10:00:00', without a UTC offset"),
        ({"time": "noon"}, "time is 'noon', not a timestamp-millis"),
        ({"transaction_price": -1}, "transaction_price is -1, below its minimum of 0"),
        ({"transaction_price": "12"}, "transaction_price is '12', not a double"),
        ({"year": 1800}, "year is 1800, below its minimum of 1885"),
        ({"buyer_name": None}, "buyer_name is missing"),
        ({"horsepower": 90}, "unknown field horsepower"),
        ({"transaction_id": 2**63}, "does not fit 64 bits"),
        ({"color": ["red"]}, "color is ['red'], not a string"),
        ({"branch": "x" * 950_000}, "bytes are more than the 900000 that a message may have"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_one_bad_record_keeps_all_from_being_sent(api: SimpleNamespace, change: Any, reason: str) -> None:
    posted = sales(3)
    posted[1] |= change
    answer = post(api, posted)

    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("1 of 3 records breaks the contract, so nothing was sent: record 2: ")
    assert [each["position"] for each in answer.json()["records"]] == [2]
    assert reason in answer.json()["records"][0]["reason"]
    assert api.courier.sent == []


def test_of_many_bad_records_some_are_named_and_all_counted(api: SimpleNamespace) -> None:
    posted = [each | {"year": 1} for each in sales(30)]
    answer = post(api, posted).json()

    assert answer["detail"].startswith("30 of 30 records break the contract")
    assert answer["detail"].endswith("; and 27 more")
    assert len(answer["records"]) == 20


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is empty"),
        (b" \n", "the body is empty"),
        (b"7", "it is no JSON object but 7"),
        (b'[1, "x"]', "2 of 2 records break the contract"),
        (b'{"transaction_id": 1', "the body is not JSON"),
        (b'{"transaction_id": NaN}', "the body is not JSON"),
        (b"\xff\xfe", "the body is not JSON"),
        (b'{"transaction_id": 1}\n{"transaction', "line 2 is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_json_of_records_is_refused(api: SimpleNamespace, body: bytes, reason: str) -> None:
    answer = post(api, body)

    assert answer.status_code == 400
    assert reason in answer.json()["detail"]
    assert api.courier.sent == []


def test_while_kafka_is_away_the_client_is_asked_to_come_again(api: SimpleNamespace) -> None:
    api.courier.error = Retry("Kafka at k:9092 did not answer in time while writing to cars: is it running?")
    answer = post(api, sales(1))

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json()["detail"].startswith("Kafka at k:9092 did not answer in time")


def test_what_a_person_must_mend_is_no_503(api: SimpleNamespace) -> None:
    api.courier.error = Fatal("Kafka at k:9092 has no such topic: create it with `penstock provision`")

    assert post(api, sales(1)).status_code == 500


def test_a_body_that_is_too_large_is_refused(api: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_BODY", 1_000)
    announced = post(api, sales(10))
    in_chunks = requests.post(f"{api.url}/api/logs", data=iter([b"[", b" " * 2_000]), timeout=30)

    assert (announced.status_code, in_chunks.status_code) == (413, 413)
    assert announced.json()["detail"] == "the body has more than 1000 bytes: send it in parts"
    assert api.courier.sent == []


def test_many_posts_at_once_are_all_taken(api: SimpleNamespace) -> None:
    threads = [threading.Thread(target=post, args=(api, sales(50))) for _ in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert len(api.courier.sent) == 1_000


# The rest


def test_health_tells_kafka_from_the_api(api: SimpleNamespace) -> None:
    assert requests.get(f"{api.url}/healthz", timeout=30).json() == {"status": "ok", "kafka": "reachable"}

    api.courier.error = Retry("Kafka at k:9092 did not answer")
    answer = requests.get(f"{api.url}/healthz", timeout=30)
    assert (answer.status_code, answer.json()["kafka"]) == (503, "Kafka at k:9092 did not answer")
    assert requests.get(f"{api.url}/livez", timeout=30).status_code == 200


def test_the_description_names_every_field_with_its_meaning_and_bounds(api: SimpleNamespace) -> None:
    described = requests.get(f"{api.url}/openapi.json", timeout=30).json()

    properties = described["components"]["schemas"]["CarTransaction"]["properties"]
    assert list(properties) == [field.name for field in CONTRACT.fields]
    assert all(properties[field.name]["description"].startswith(field.doc) for field in CONTRACT.fields)
    assert properties["transaction_price"]["minimum"] == 0
    post = described["paths"]["/api/logs"]["post"]
    assert {"202", "400", "413", "500", "503"} <= post["responses"].keys()
    posted = post["requestBody"]["content"]["application/json"]["schema"]["oneOf"][0]
    assert {each["type"] for each in posted["properties"]["time"]["anyOf"]} == {"integer", "string"}


@pytest.mark.parametrize("path", ["/", "/docs", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"])
def test_pages_need_nothing_from_elsewhere(api: SimpleNamespace, path: str) -> None:
    answer = requests.get(f"{api.url}{path}", timeout=30)

    assert answer.status_code == 200
    if "html" in answer.headers["Content-Type"]:
        assert "http://" not in answer.text
        assert "https://" not in answer.text


def test_the_page_cannot_be_made_to_load_anything(api: SimpleNamespace) -> None:
    policy = requests.get(f"{api.url}/", timeout=30).headers["Content-Security-Policy"]

    assert policy.startswith("default-src 'none'")
