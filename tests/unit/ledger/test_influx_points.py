"""Points looked up in InfluxDB by InfluxQL, whose answers come as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs

import pytest
import requests
import responses

from penstock.core.contract import Contract
from penstock.core.errors import Fatal, Retry
from penstock.core.record import Record
from penstock.core.settings import INCLUDE, Influx
from penstock.ledger.influx_points import InfluxPoints, PointKey

WHERE = Influx("http://influx:8086", "org", "ETL_Project", "s3cr3t")
CONTRACT = Contract.load(INCLUDE / "avro" / "car-transactions-logs.avsc")
HOUR = 3_600_000
HEADER = "name,tags,time,as_of,car_brand,car_model,country,branch,color"
TAGS = ("VW", "Golf", "Germany", "Ulm, West", "red")


def sale(number: int, time: int = 0) -> Record:
    record: Record = dict(zip(CONTRACT.tags, TAGS, strict=True))
    return record | {"transaction_id": number, "time": time}


def line(time: int, as_of: int = 100) -> str:
    return f'cars,,{time},{as_of},VW,Golf,Germany,"Ulm, West",red'


@pytest.fixture
def server() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


def lacking(*records: Record, as_of: int = 100) -> list[PointKey]:
    points = InfluxPoints(WHERE, "cars", CONTRACT)
    return list(points.lacking({points.key(each): as_of for each in records}))


def test_the_identity_is_the_time_with_the_spread_and_the_tags() -> None:
    assert InfluxPoints(WHERE, "cars", CONTRACT).key(sale(3_000_007, 5)) == PointKey(5_000_007, TAGS)


def test_a_point_counts_where_it_is_written_as_of_the_time_or_later(server: responses.RequestsMock) -> None:
    body = "\n".join([HEADER, line(1), line(2, 99), line(3, 101)])
    server.post("http://influx:8086/query", body=body + "\n", content_type="application/csv")
    assert lacking(sale(1), sale(2), sale(3), sale(4)) == [PointKey(2, TAGS), PointKey(4, TAGS)]


def test_a_header_repeated_by_a_chunk_is_no_point(server: responses.RequestsMock) -> None:
    server.post("http://influx:8086/query", body="\n".join([HEADER, line(1), "", HEADER, line(2), ""]))
    assert lacking(sale(1), sale(2)) == []


def test_a_measurement_without_points_lacks_them_all(server: responses.RequestsMock) -> None:
    server.post("http://influx:8086/query", body="")
    assert len(lacking(sale(1), sale(2))) == 2


def test_times_far_apart_are_asked_for_apart(server: responses.RequestsMock) -> None:
    server.post("http://influx:8086/query", body="")
    lacking(sale(0, 0), sale(0, HOUR), sale(0, 50 * HOUR))
    asked = [parse_qs(str(call.request.body))["q"][0].partition(" WHERE ")[2] for call in server.calls]
    hour = HOUR * 1_000_000
    assert asked == [f"time >= 0 AND time <= {hour}", f"time >= {50 * hour} AND time <= {50 * hour}"]


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [(503, Retry, "HTTP 503"), (429, Retry, "HTTP 429"), (401, Fatal, "refuses the token"), (400, Fatal, "bad query")],
)
def test_a_refusal_is_told_without_the_token(
    server: responses.RequestsMock, status: int, error: type[Exception], said: str
) -> None:
    server.post("http://influx:8086/query", status=status, body="bad query")
    with pytest.raises(error, match=said) as raised:
        lacking(sale(1))
    assert "s3cr3t" not in str(raised.value)


def test_a_server_that_is_away_is_asked_again_later(server: responses.RequestsMock) -> None:
    server.post("http://influx:8086/query", body=requests.ConnectionError())
    with pytest.raises(Retry, match="InfluxDB at http://influx:8086 cannot be asked"):
        lacking(sale(1))
