"""The page behind Airflow's login: who sees what, what the ledger's rows become, and what is said where it is away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

import tests.airflow_home  # noqa: F401 - before anything imports Airflow
from penstock.core.errors import Fatal, Retry
from penstock.core.service import Desired, State
from penstock.ledger.dead_letters import LetterRow, LetterState
from penstock.ledger.overview import BatchHops, HopRow
from penstock.ledger.services import ServiceRow
from penstock.ledger.store import Hop, LedgerRow
from penstock.ledger.stream_verdicts import StreamRow
from penstock.services import SERVICES

START = datetime(2026, 11, 1, 6, tzinfo=UTC)
AS_OF = datetime(2026, 11, 1, 7, 0, 1, tzinfo=UTC)
RUN = "weather_hourly/scheduled__2026-11-01T07:00:00+00:00"
BATCH = "weather_hourly:2026-11-01T06:00:00Z/2026-11-01T07:00:00Z"
MARKUP = "<img src=x onerror=alert(1)>"

LOGGED_IN = {"Authorization": "Bearer good"}


def row(pipeline: str = "weather_hourly", verdict: str = "whole", **changes: Any) -> LedgerRow:
    made = LedgerRow(
        pipeline=pipeline,
        batch_id=BATCH.replace("weather_hourly", pipeline),
        interval_start=START,
        interval_end=START + timedelta(hours=1),
        fetched=24,
        acked=24,
        landed=24,
        rejected=0,
        duplicates=0,
        raw_copied=None,
        verdict=verdict,
        started=AS_OF,
        finished=AS_OF + timedelta(seconds=9),
    )
    return replace(made, **changes)


def hop(kind: Hop, **counts: Any) -> HopRow:
    nothing: dict[str, Any] = dict.fromkeys(HopRow.__dataclass_fields__)
    return HopRow(
        **nothing
        | {
            "hop": kind,
            "state": "done",
            "attempts": 1,
            "run_id": RUN,
            "try_number": 2,
            "started": AS_OF,
            "finished": AS_OF + timedelta(seconds=3),
            "as_of": AS_OF,
            "taken_up": 0,
            "claimed": [],
        }
        | counts
    )


def batch(**changes: Any) -> BatchHops:
    produce = hop(Hop.PRODUCE, fetched=24, acked=24, rejected=2, topic="hourlymetrics", ranges=[], **changes)
    land = hop(Hop.LAND, read=22, landed=20, rejected=1, duplicates=1, foreign_read=0)
    reconcile = hop(Hop.RECONCILE, sinks={"hourlydata": {"own": 13, "newer": 2, "older": 5}}, raw_copied=20)
    return BatchHops(row(landed=20, rejected=3), {}, {each.hop: each for each in (produce, land, reconcile)})


def letter(**changes: Any) -> LetterRow:
    made = LetterRow(
        id=7,
        data_set="car_transactions",
        topic="car-transactions-logs.dlq",
        partition=0,
        offset=3,
        batch_id=None,
        as_of=None,
        source_topic=None,
        source_partition=None,
        source_offset=None,
        reason=f"the price is {MARKUP}",
        kind="the price is …",
        written=AS_OF,
        state=LetterState.OPEN,
    )
    return replace(made, **changes)


@dataclass
class Everything:
    """Stands in for each of the ledger's readers."""

    rows_of: dict[str, list[LedgerRow]] = field(default_factory=dict)
    found: BatchHops | None = None
    service_rows: list[ServiceRow] = field(default_factory=list)
    letter_rows: list[LetterRow] = field(default_factory=list)
    error: Exception | None = None
    asked: list[Any] = field(default_factory=list)

    def _answer(self, value: Any, *asked: Any) -> Any:
        if self.error:
            raise self.error
        self.asked.append(asked)
        return value

    def newest(self, pipelines: list[str], limit: int) -> Any:
        return self._answer({each: self.rows_of.get(each, []) for each in pipelines}, pipelines, limit)

    def batches(self, pipeline: str, limit: int, before: str | None) -> Any:
        return self._answer(self.rows_of.get(pipeline, [])[:limit], pipeline, limit, before)

    def batch(self, batch_id: str) -> Any:
        return self._answer(self.found, batch_id)

    def of_run(self, run_id: str) -> Any:
        return self._answer([each for rows in self.rows_of.values() for each in rows], run_id)

    def intervals(self, streams: list[str], limit: int) -> Any:
        return self._answer({each: [] for each in streams}, streams, limit)

    def rows(self, names: list[str] | None = None, **wanted: Any) -> Any:
        return self._answer(self.letter_rows if names is None else self.service_rows, names, wanted)

    def by_reason(self, **wanted: Any) -> Any:
        return self._answer({(each.data_set, each.kind): 1 for each in self.letter_rows}, wanted)

    def open_counts(self) -> Any:
        return self._answer({each.data_set: 1 for each in self.letter_rows})

    def letters(self, ids: list[int]) -> Any:
        if not self.letter_rows:
            raise Fatal("there is no dead letter 7")
        return self._answer(self.letter_rows, ids)


class Manager:
    """An auth manager of two people: `good` may read `dag_ids`, `blind` may log in and nothing else."""

    def __init__(self, dag_ids: set[str], *, may_run: bool) -> None:
        self.dag_ids = dag_ids
        self.may_run = may_run

    async def get_user_from_token(self, token: str) -> str:
        from jwt import InvalidTokenError

        if token not in {"good", "blind"}:
            raise InvalidTokenError
        return token

    def is_authorized_dag(self, *, method: str, user: str, details: Any = None, access_entity: Any = None) -> bool:
        if method != "GET":
            return self.may_run
        return user == "good" and (details is None or details.id in {None, *self.dag_ids})

    def get_authorized_dag_ids(self, *, user: str) -> set[str]:
        return self.dag_ids if user == "good" else set()


@pytest.fixture
def ledger() -> Everything:
    return Everything()


@pytest.fixture
def manager() -> Manager:
    return Manager({"weather_hourly", "car_transactions", "wiki", "service_car_api", "maintenance"}, may_run=True)


@pytest.fixture
def client(ledger: Everything, manager: Manager, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The page as Airflow mounts it, with Airflow's real check of the token."""
    from airflow.api_fastapi.app import _AuthManagerState
    from airflow.models.dag import DagModel

    from penstock.airflow.page import app as page

    monkeypatch.setattr(_AuthManagerState, "instance", manager)
    monkeypatch.setattr(DagModel, "get_team_name", lambda *_, **__: None)
    monkeypatch.setattr(page, "freshness", lambda *_: [])
    monkeypatch.setattr(page, "Ledger", lambda _: nullcontext())
    monkeypatch.setattr(page.links, "task_logs", lambda *_: {Hop.LAND: "dags/x/runs/y/tasks/land?try_number=2"})
    monkeypatch.setenv("LEDGER_URL", "postgresql://nobody:secret@127.0.0.1:1/penstock")
    for reader in (page.overview, page.services, page.dead_letters):
        page.app.dependency_overrides[reader] = lambda: ledger
    page.app.dependency_overrides[page.letter_news] = lambda: SimpleNamespace(ask=lambda: "Kafka is away")
    root = FastAPI()
    root.mount("/penstock", page.app)
    with TestClient(root) as opened:
        yield opened
    page.app.dependency_overrides.clear()


def every_path() -> list[str]:
    from penstock.airflow.page.app import _STATIC, _VIEWS, app

    routes = [route.path for route in app.routes if "{" not in route.path]
    return sorted(
        {
            *routes,
            *_VIEWS,
            *(f"/static/{each.name}" for each in _STATIC.iterdir()),
            "/static/no",
            "/docs",
            "/openapi.json",
        }
    )


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
def test_nobody_gets_anything_without_logging_in(client: TestClient, method: str) -> None:
    answers = {path: client.request(method, f"/penstock{path}") for path in every_path()}
    assert len(answers) > 20
    assert {path: answer.status_code for path, answer in answers.items() if answer.status_code != 401} == {}


def test_a_token_that_is_none_is_refused(client: TestClient) -> None:
    assert client.get("/penstock/api/services", headers={"Authorization": "Bearer forged"}).status_code == 403


def test_who_may_read_no_dag_gets_nothing(client: TestClient) -> None:
    answers = {path: client.get(f"/penstock{path}", headers={"Authorization": "Bearer blind"}) for path in every_path()}
    assert {path: answer.status_code for path, answer in answers.items() if answer.status_code != 403} == {}


def test_a_cookie_is_as_good_as_a_header(client: TestClient) -> None:
    client.cookies.set("_token", "good")
    assert client.get("/penstock/").status_code == 200


def test_each_answer_forbids_other_scripts_and_frames(client: TestClient) -> None:
    for path, wanted in (("/", 200), ("/api/services", 200), ("/nothing", 404)):
        answer = client.get(f"/penstock{path}", headers=LOGGED_IN)
        assert answer.status_code == wanted
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'self'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/penstock/").headers["content-security-policy"]


def test_the_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    for path in every_path():
        if path.startswith("/static/") or path == "/":
            text = client.get(f"/penstock{path}", headers=LOGGED_IN).text
            assert "https://" not in text
            assert text.replace("http://www.w3.org/2000/svg", "").count("http://") == 0


def test_what_the_browser_has_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/penstock/static/page.css", headers=LOGGED_IN)
    known = {"If-None-Match": first.headers["etag"]}
    assert client.get("/penstock/static/page.css", headers=LOGGED_IN | known).status_code == 304
    assert client.get("/penstock/static/page.css", headers=known).status_code == 401
    assert client.get("/penstock/static/..%2fapp.py", headers=LOGGED_IN).status_code == 404


def test_a_person_sees_the_data_sets_whose_dags_she_may_read(client: TestClient, ledger: Everything) -> None:
    ledger.rows_of = {"weather_hourly": [row()], "population": [row("population")]}
    answer = client.get("/penstock/api/data-sets", headers=LOGGED_IN).json()
    assert [each["name"] for each in answer["pipelines"]] == ["car_transactions", "weather_hourly"]
    assert [each["name"] for each in answer["streams"]] == ["wiki"]
    assert answer["pipelines"][1]["batches"][0]["seconds"] == 9.0
    assert client.get("/penstock/api/batches?pipeline=population", headers=LOGGED_IN).status_code == 404
    found = client.get("/penstock/api/run?dag_id=weather_hourly&run_id=x", headers=LOGGED_IN).json()
    assert [each["pipeline"] for each in found["batches"]] == ["weather_hourly"]
    assert ledger.asked[-1] == ("weather_hourly/x",)


def test_a_run_of_a_dag_that_she_may_not_read_is_refused(client: TestClient) -> None:
    assert client.get("/penstock/api/run?dag_id=population&run_id=x", headers=LOGGED_IN).status_code == 403


def test_a_batch_of_another_data_set_is_as_if_it_were_not(client: TestClient, ledger: Everything) -> None:
    assert client.get(f"/penstock/api/batch?batch_id={BATCH}", headers=LOGGED_IN).status_code == 404
    ledger.found = replace(batch(), row=row("population"))
    assert client.get(f"/penstock/api/batch?batch_id={BATCH}", headers=LOGGED_IN).status_code == 404


def test_services_and_letters_are_seen_by_the_same_rule(client: TestClient, ledger: Everything) -> None:
    seen = ServiceRow("car-api", Desired.STARTED, "default", State.HEALTHY, "it answers", AS_OF, 7, AS_OF, 0)
    ledger.service_rows = [seen, replace(seen, name="flume-pop-hdfs")]
    ledger.letter_rows = [letter(), letter(data_set="population")]
    services = client.get("/penstock/api/services", headers=LOGGED_IN).json()["services"]
    assert [(each["name"], each["dag_id"], each["fine"]) for each in services] == [("car-api", "service_car_api", True)]
    assert client.get("/penstock/api/letter-counts", headers=LOGGED_IN).json() == {"car_transactions": 1}
    answer = client.get("/penstock/api/dead-letters", headers=LOGGED_IN).json()
    assert answer["lacking"] == "Kafka is away"
    counts = answer["counts"]
    assert [each["data_set"] for each in counts] == ["car_transactions"]
    ledger.letter_rows = [letter(data_set="population")]
    assert client.get("/penstock/api/dead-letter?letter=7", headers=LOGGED_IN).status_code == 404


@pytest.mark.parametrize(("may_run", "offered"), [(True, "maintenance"), (False, None)])
def test_replay_is_offered_to_who_may_start_runs(
    client: TestClient, ledger: Everything, manager: Manager, *, may_run: bool, offered: str | None
) -> None:
    manager.may_run = may_run
    assert client.get("/penstock/api/dead-letters", headers=LOGGED_IN).json()["replay_by"] == offered


def test_pages_of_batches_go_on_where_the_one_before_ended(client: TestClient, ledger: Everything) -> None:
    ledger.rows_of = {"weather_hourly": [row(batch_id=f"weather_hourly:{number}") for number in range(3)]}
    address = "/penstock/api/batches?pipeline=weather_hourly&limit=2"
    page = client.get(address, headers=LOGGED_IN).json()
    assert [each["batch_id"] for each in page["batches"]] == ["weather_hourly:0", "weather_hourly:1"]
    assert page["next"] == "weather_hourly:1"
    ledger.rows_of["weather_hourly"].pop()
    assert client.get(address, headers=LOGGED_IN).json()["next"] is None
    assert client.get("/penstock/api/batches?pipeline=weather_hourly&limit=9999", headers=LOGGED_IN).status_code == 422


def test_a_batch_names_its_hops_in_their_order_with_links(client: TestClient, ledger: Everything) -> None:
    found = batch()
    ledger.found = replace(found, hops=dict(reversed(found.hops.items())))
    answer = client.get(f"/penstock/api/batch?batch_id={BATCH}", headers=LOGGED_IN).json()
    assert [each["hop"] for each in answer["hops"]] == ["produce", "land", "reconcile"]
    assert answer["hops"][0]["run"] == (
        "dags/weather_hourly/runs/scheduled__2026-11-01T07%3A00%3A00%2B00%3A00"  # as Airflow's own pages have it
    )
    assert [each["log"] for each in answer["hops"]] == [None, "dags/x/runs/y/tasks/land?try_number=2", None]


@pytest.mark.parametrize("error", [Retry("the ledger at db:5432/penstock can't be reached"), Fatal("migrate it")])
def test_a_ledger_that_is_away_is_said_in_its_own_sentence(
    client: TestClient, ledger: Everything, error: Exception
) -> None:
    ledger.error = error
    answer = client.get("/penstock/api/services", headers=LOGGED_IN)
    assert answer.status_code == 503
    assert answer.json() == {"detail": str(error), "passes": isinstance(error, Retry)}


def way(found: BatchHops) -> dict[str, tuple[int | None, int]]:
    from penstock.airflow.page import shape

    return {each["name"]: (each["records"], each["missing"]) for each in shape.steps(found)}


def test_records_that_are_missing_are_missing_at_one_hop() -> None:
    assert way(batch()) == {
        "fetched": (24, 0),
        "acknowledged by Kafka": (24, 0),
        "set aside before the topic": (2, 0),
        "read from the topic": (22, 0),
        "set aside at landing": (1, 0),
        "repeated a key": (1, 0),
        "landed": (20, 0),
        "counted by hourlydata": (15, 5),
        "in the raw copy on HDFS": (20, 0),
    }


def test_a_sink_with_more_than_was_landed_has_too_many() -> None:
    found = batch()
    more = hop(Hop.RECONCILE, sinks={"hourlydata": {"own": 23, "newer": 1, "older": 0}})
    assert way(replace(found, hops=found.hops | {Hop.RECONCILE: more}))["counted by hourlydata"] == (24, -3)


def test_records_that_were_replayed_are_expected_in_the_sinks() -> None:
    found = batch()
    steps = way(replace(found, row=row(landed=22, rejected=1)))
    assert steps["landed"] == (20, 0)
    assert steps["replayed from the dead letters"] == (2, 0)
    assert steps["counted by hourlydata"] == (15, 7)
    assert steps["in the raw copy on HDFS"] == (20, 2)


def test_counts_of_an_earlier_attempt_are_not_shown_beside_a_later_one() -> None:
    found = batch()
    later = replace(found.hops[Hop.PRODUCE], as_of=AS_OF + timedelta(hours=1))
    steps = way(replace(found, hops=found.hops | {Hop.PRODUCE: later}))
    assert steps["read from the topic"] == (None, 0)
    assert steps["counted by the sink"] == (None, 0)


def test_a_batch_that_has_only_begun_has_all_hops_ahead() -> None:
    assert set(way(BatchHops(row(), {}, {})).values()) == {(None, 0)}


@pytest.mark.parametrize(
    ("verdict", "state"),
    [
        ("whole", "whole"),
        ("land in progress", "open"),
        ("reconcile not started", "open"),
        ("replay of 1 dead letter in progress", "open"),
        ("produce failed: the load is in progress", "not_whole"),
        ("acked 24 of 24, landed 20, rejected 0: 4 missing at land", "not_whole"),
    ],
)
def test_a_batch_is_whole_open_or_not_whole(verdict: str, state: str) -> None:
    from penstock.airflow.page import shape

    assert shape.batch_state(row(verdict=verdict)) == state


def test_an_interval_of_a_stream_is_whole_or_not() -> None:
    from penstock.airflow.page import shape

    made = StreamRow("wiki", START, START + timedelta(hours=1), 9, 9, 8, {"influxdb": 9}, 0, "the raw copy lacks 1")
    assert shape.interval(made)["state"] == "not_whole"
    assert shape.interval(replace(made, verdict="whole"))["state"] == "whole"


@pytest.mark.parametrize(
    ("desired", "state", "fine"),
    [
        (Desired.STARTED, State.HEALTHY, True),
        (Desired.STARTED, State.STALLED, False),
        (Desired.STARTED, State.STOPPED, False),
        (Desired.STOPPED, State.STOPPED, True),
        (Desired.STOPPED, State.HEALTHY, False),
    ],
)
def test_a_service_is_fine_when_it_is_as_a_person_wants_it(desired: Desired, state: State, *, fine: bool) -> None:
    from penstock.airflow.page import shape

    seen = ServiceRow("car-api", desired, "admin", state, "", AS_OF, None, AS_OF, 0)
    assert shape.service(seen, SERVICES["car-api"])["fine"] is fine


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b'{"b": [1, "\xc3\xa9"]}', '{\n  "b": [\n    1,\n    "é"\n  ]\n}'),
        (b"<b>no JSON</b>", "<b>no JSON</b>"),
        (b"\x00\x00\x00\x00\x03\xff" + b"a" * 16, "00 00 00 00 03 ff" + " 61" * 10 + "\n" + " ".join(["61"] * 6)),
        (b"[" * 100_000, "[" * 100_000),
        (b"", ""),
    ],
)
def test_a_value_is_shown_whatever_it_is(value: bytes, shown: str) -> None:
    from penstock.airflow.page import letters

    assert letters.readable(value) == shown


def test_a_letter_is_shown_also_while_kafka_is_away(
    client: TestClient, ledger: Everything, monkeypatch: pytest.MonkeyPatch
) -> None:
    from penstock.airflow.page import letters

    def away(*_: Any, **__: Any) -> None:
        raise Retry("Kafka at k:9092 is away")

    monkeypatch.setattr(letters.dead_letters, "read_at", away)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "k:9092")
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", "http://r")
    ledger.letter_rows = [letter()]
    answer = client.get("/penstock/api/dead-letter?letter=7", headers=LOGGED_IN).json()
    assert (answer["value"], answer["lacking"]) == (None, "Kafka at k:9092 is away")
    assert answer["reason"] == f"the price is {MARKUP}"


def test_kafka_that_is_away_is_asked_once_for_all_services(monkeypatch: pytest.MonkeyPatch) -> None:
    from penstock.airflow.page.lags import lags
    from penstock.services.backlog import Records

    asked = []

    def away(records: Records) -> int:
        asked.append(records.group)
        raise Retry("Kafka at k:9092 is away")

    monkeypatch.setattr(Records, "waiting", away)
    found = lags([SERVICES["flume-pop-hdfs"], SERVICES["car-api"], SERVICES["flume-cars-hdfs"]])
    assert asked == ["flume-pop-hdfs"]
    assert {name: each["lacking"] for name, each in found.items()} == {
        "flume-pop-hdfs": "Kafka at k:9092 is away",
        "flume-cars-hdfs": "Kafka at k:9092 is away",
    }


def test_what_waits_for_a_price_consumer_is_what_waits_for_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    from penstock.airflow.page.lags import lags
    from penstock.services.backlog import Records

    monkeypatch.setattr(
        Records, "waiting", lambda records: {("events", "price-consumer"): 7}[records.topic(), records.group]
    )
    found = lags([SERVICES["price-consumer-1"], SERVICES["price-consumer-2"]])
    waiting = {"waiting": 7, "unit": "records", "lacking": None}
    assert found == {"price-consumer-1": waiting, "price-consumer-2": waiting}


def test_airflow_finds_the_page_in_the_plugin() -> None:
    from penstock_plugin import PenstockPlugin

    (app,) = PenstockPlugin.fastapi_apps
    assert app["url_prefix"] == "/penstock"
    assert {each["destination"] for each in PenstockPlugin.external_views} == {"nav", "dag_run"}
    assert all(each["href"].startswith("penstock/") for each in PenstockPlugin.external_views)
