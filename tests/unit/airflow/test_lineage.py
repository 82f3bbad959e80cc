"""What operators tell of their lineage, as the provider's extractors ask for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penstock.airflow.errors import TryAgain
from penstock.airflow.handover import ProducedBatch, landed_by_id
from penstock.airflow.lineage import Carried, landed, operator_lineage, produced
from penstock.airflow.operators.await_landing import AwaitLandingOperator
from penstock.airflow.operators.land import LandOperator
from penstock.airflow.operators.minute_counts import MergeMinuteCountsOperator
from penstock.airflow.operators.produce import ReliableProduceToTopicOperator
from penstock.airflow.operators.raw_copies import FinishRawCopiesOperator
from penstock.airflow.operators.reconcile import ReconcileOperator
from penstock.airflow.operators.reconcile_stream import ReconcileStreamOperator
from penstock.airflow.sensors.service import ServiceSensor
from penstock.observe.lineage import Places, lands, produces, uri
from penstock.pipelines import CARS, PIPELINES, STREAMS, WEATHER_HOURLY, WEB_EVENTS, WIKI
from tests.unit.airflow.conftest import FakeLedger
from tests.unit.airflow.conftest import produced as produced_json

ENVIRONMENT = {
    "KAFKA_BOOTSTRAP_SERVERS": "broker:9092",
    "CASSANDRA_HOSTS": "cassandra",
    "CASSANDRA_PORT": "9042",
    "INFLUXDB_URL": "http://influx:8086",
    "HDFS_URL": "hdfs://name:8020",
    "PENSTOCK_SPOOL": "/spool",
    "WEB_LOGS": "/logs",
}
TOPIC, LETTERS = "kafka://broker:9092/hourlymetrics", "kafka://broker:9092/hourlymetrics.dlq"
TABLE = "cassandra://cassandra:9042/analytics.hourlydata"


@pytest.fixture(autouse=True)
def _servers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def names(datasets: Any) -> list[str]:
    return [uri(each.namespace, each.name) for each in datasets]


def rows(lineage: Any) -> dict[str, int]:
    """{dataset: records read or written}, of those that have a number."""
    found = {}
    for side, facets in (("input", lineage.inputs), ("output", lineage.outputs)):
        for each in facets:
            statistics = getattr(each, f"{side}Facets").get(f"{side}Statistics")
            if statistics:
                found[names([each])[0]] = statistics["rowCount"]
    return found


def batches(lineage: Any) -> list[dict[str, Any]]:
    return list(lineage.run_facets["penstock_batches"]["batches"])


OPERATORS: dict[str, Callable[[], Any]] = {
    "produce": lambda: ReliableProduceToTopicOperator(task_id="produce", pipeline=WEATHER_HOURLY),
    "land": lambda: LandOperator(task_id="land", pipeline=WEATHER_HOURLY, produced=None),
    "await": lambda: AwaitLandingOperator(task_id="await", pipeline=CARS, produced=None),
    "reconcile": lambda: ReconcileOperator(task_id="reconcile", pipeline=CARS, produced=None, landed=None),
    "reconcile_stream": lambda: ReconcileStreamOperator(task_id="reconcile", stream=WEB_EVENTS),
    "raw_copies": lambda: FinishRawCopiesOperator(task_id="finish", folders=["/case_pop", "/Cars"]),
    "minute_counts": lambda: MergeMinuteCountsOperator(task_id="merge", stream=WIKI, checkpoint="/c"),
    "service": lambda: ServiceSensor(task_id="watch", service="flume-wiki-spool"),
}
EXPECTED = {
    "produce": (
        [
            "https://api.open-meteo.com/v1/dwd-icon",
            "https://historical-forecast-api.open-meteo.com/v1/forecast",
            "https://archive-api.open-meteo.com/v1/archive",
        ],
        [TOPIC, LETTERS],
    ),
    "land": ([TOPIC], [TABLE, LETTERS]),
    "await": (
        ["kafka://broker:9092/car-transactions-logs"],
        ["influxdb://influx:8086/ETL_Project.car_transaction_data", "kafka://broker:9092/car-transactions-logs.dlq"],
    ),
    "reconcile": (
        [
            "kafka://broker:9092/car-transactions-logs",
            "influxdb://influx:8086/ETL_Project.car_transaction_data",
            "hdfs://name:8020/Cars",
        ],
        [],
    ),
    "reconcile_stream": (
        [
            "kafka://broker:9092/events",
            "hdfs://name:8020/user/bigdata/flume/raw/events",
            "influxdb://influx:8086/ETL_Project.price_buckets_minute",
        ],
        [],
    ),
    "raw_copies": (["hdfs://name:8020/case_pop", "hdfs://name:8020/Cars"],) * 2,
    "minute_counts": (["hdfs://name:8020/user/bigdata/aggregates/wiki_edits_minute"],) * 2,
    "service": (["file:/spool/wiki"], ["kafka://broker:9092/wiki_changes"]),
}


@pytest.mark.parametrize("kind", OPERATORS)
def test_each_operator_tells_what_it_reads_and_writes_from_the_beginning(kind: str) -> None:
    from airflow.providers.openlineage.extractors.base import DefaultExtractor

    extractor = DefaultExtractor(OPERATORS[kind]())
    for lineage in (extractor.extract(), extractor.extract_on_complete(None), extractor.extract_on_failure(None)):
        assert lineage is not None
        assert (names(lineage.inputs), names(lineage.outputs)) == EXPECTED[kind]
        assert rows(lineage) == {}, "nothing is counted yet"


def test_what_the_producing_hop_writes_is_what_the_consuming_hop_reads() -> None:
    for pipeline in PIPELINES.values():
        produce = ReliableProduceToTopicOperator(task_id="produce", pipeline=pipeline)
        land = LandOperator(task_id="land", pipeline=pipeline, produced=None)
        reconcile = ReconcileOperator(task_id="reconcile", pipeline=pipeline, produced=None, landed=None)
        written, read = (each.get_openlineage_facets_on_start() for each in (produce, land))
        assert names(read.inputs)[0] == names(written.outputs)[0]
        assert names(read.outputs)[0] in names(reconcile.get_openlineage_facets_on_start().inputs)
    for stream in STREAMS.values():
        judge = ReconcileStreamOperator(task_id="reconcile", stream=stream).get_openlineage_facets_on_start()
        agent = ServiceSensor(task_id="watch", service=stream.raw_copy.agent).get_openlineage_facets_on_start()
        assert {*names(agent.inputs), *names(agent.outputs)} <= {*names(judge.inputs)}


def test_services_that_tell_themselves_or_carry_nothing_are_not_told_by_their_watch() -> None:
    for name in (WIKI.counted_by, "landing-population", "kafka-lag-exporter"):
        sensor = ServiceSensor(task_id="watch", service=name)
        assert sensor.get_openlineage_facets_on_start() is None


def test_a_produced_batch_is_told_with_its_counts_id_and_interval() -> None:
    batch = ProducedBatch.from_json(produced_json(acked=6, rejected=2), "weather_hourly")
    lineage = operator_lineage(produces(WEATHER_HOURLY, Places(ENVIRONMENT)), produced(batch))
    assert rows(lineage) == {TOPIC: 4, LETTERS: 2}
    (told,) = batches(lineage)
    assert told["id"] == "weather_hourly:2026-03-01T10:00:00Z/2026-03-01T11:00:00Z"
    assert told["intervalStart"] == "2026-03-01T10:00:00+00:00"
    assert told["intervalEnd"] == "2026-03-01T11:00:00+00:00"
    assert told["counts"] == {"fetched": 6, "acked": 6, "rejected": 2, "taken_up": 0}


def test_others_records_are_not_told_as_written() -> None:
    json = produced_json(acked=6) | {"taken_up": 2}
    lineage = operator_lineage(
        produces(WEATHER_HOURLY, Places(ENVIRONMENT)), produced(ProducedBatch.from_json(json, "weather_hourly"))
    )
    assert rows(lineage) == {TOPIC: 4, LETTERS: 0}


def test_a_landing_is_told_with_what_it_read_and_wrote() -> None:
    batch = ProducedBatch.from_json(produced_json(), "weather_hourly")
    counts = landed_by_id(
        [{"batch_id": batch.produced.batch_id, "read": 6, "landed": 4, "rejected": 1, "duplicates": 1}]
    )
    lineage = operator_lineage(lands(WEATHER_HOURLY, Places(ENVIRONMENT)), landed([batch], list(counts.values())))
    assert rows(lineage) == {TOPIC: 6, TABLE: 4, LETTERS: 1}
    assert batches(lineage)[0]["counts"] == {"read": 6, "landed": 4, "rejected": 1, "duplicates": 1}


def test_an_executed_landing_tells_its_counts_and_hands_its_run_to_spark(
    context: Any, fake_ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    from penstock.airflow.operators import land
    from penstock.core.counts import Landed

    operator = LandOperator(task_id="land", pipeline=WEATHER_HOURLY, produced=produced_json())
    done = Landed(produced_json()["batch_id"], 6, 6, 0)
    monkeypatch.setattr(operator, "_land", lambda batches, _: {done.batch_id: done})
    operator.execute(context)
    assert rows(operator.get_openlineage_facets_on_complete(None)) == {TOPIC: 6, TABLE: 6, LETTERS: 0}

    monkeypatch.setattr(land, "parent_of_children", lambda ti: {"OPENLINEAGE_PARENT_ID": f"ns/{ti.dag_id}.land/id"})
    operator = LandOperator(task_id="land", pipeline=WEATHER_HOURLY, produced=produced_json(), env_vars={"A": "b"})
    monkeypatch.setattr(land.SparkSubmitOperator, "execute", lambda *_: None)
    with pytest.raises(TryAgain, match="no readable report"):
        operator.execute(context)
    assert operator.env_vars == {"A": "b", "OPENLINEAGE_PARENT_ID": "ns/weather_hourly.land/id"}


def test_a_failed_task_still_tells_its_hop(context: Any, fake_ledger: FakeLedger) -> None:
    operator = LandOperator(task_id="land", pipeline=WEATHER_HOURLY, produced=produced_json())
    fake_ledger.away.add("started")
    with pytest.raises(TryAgain):
        operator.execute(context)
    lineage = operator.get_openlineage_facets_on_complete(None)
    assert names(lineage.outputs) == [TABLE, LETTERS]
    assert rows(lineage) == {}


def test_a_missing_address_costs_the_lineage_and_not_the_task(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from airflow.providers.openlineage.extractors.base import DefaultExtractor

    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS")
    assert DefaultExtractor(OPERATORS["produce"]()).extract() is None


def test_without_lineage_a_child_is_told_of_no_parent(context: Any) -> None:
    from penstock.airflow.lineage import parent_of_children

    assert parent_of_children(context["ti"]) == {}


def test_events_of_the_provider_reach_the_outlet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The transport is found by its name in the setting, and an event arrives as one line of JSON."""
    import json as json_module

    from openlineage.client import OpenLineageClient
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState

    from penstock.airflow import lineage_transport
    from penstock.stack.servers.airflow import LINEAGE

    sent: list[str] = []
    monkeypatch.setattr(lineage_transport, "send", sent.append)
    transport = json_module.loads(LINEAGE["AIRFLOW__OPENLINEAGE__TRANSPORT"])
    monkeypatch.setenv("OPENLINEAGE_URL", "http://lineage.test:1")
    client = OpenLineageClient(config={"transport": transport})
    lineage = operator_lineage(
        produces(WEATHER_HOURLY, Places(ENVIRONMENT)),
        Carried(written=(5, 1)),
    )
    event = RunEvent(
        eventType=RunState.COMPLETE,
        eventTime="2026-03-01T10:00:00+00:00",
        run=Run("0194f6a4-0000-7000-8000-000000000000"),
        job=Job("penstock", "weather_hourly.produce"),
        inputs=lineage.inputs,
        outputs=lineage.outputs,
    )
    client.emit(event)
    (line,) = sent
    told = json_module.loads(line)
    assert "\n" not in line
    assert told["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 5
    assert told["outputs"][0]["facets"]["schema"]["fields"][0]["name"] == WEATHER_HOURLY.contract.fields[0].name
    assert "sourceCodeLocation" not in told["job"].get("facets", {})
