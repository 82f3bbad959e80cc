from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
from openlineage.client import facet_v2
from openlineage.client.serde import Serde

from penstock.core.batch import Interval
from penstock.core.errors import Fatal, Retry
from penstock.core.settings import INCLUDE
from penstock.observe import lineage_events
from penstock.observe.lineage import Hop, Places, lands
from penstock.observe.lineage_events import (
    BatchCounts,
    Job,
    Processing,
    Run,
    batches_facet,
    counted,
    dataset_facets,
    input_facets,
    output_facets,
    spark_run,
)
from penstock.pipelines import POPULATION

ENVIRONMENT = {"KAFKA_BOOTSTRAP_SERVERS": "broker:9092", "INFLUXDB_URL": "http://influx:8086"}
HOP = lands(POPULATION, Places(ENVIRONMENT), "land_pop")
TOPIC, TABLE, LETTERS = HOP.inputs[0], *HOP.outputs

_CLASSES = {
    "datasetType": facet_v2.dataset_type_dataset.DatasetTypeDatasetFacet,
    "schema": facet_v2.schema_dataset.SchemaDatasetFacet,
    "inputStatistics": facet_v2.input_statistics_input_dataset.InputStatisticsInputDatasetFacet,
    "outputStatistics": facet_v2.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
    "parent": facet_v2.parent_run.ParentRunFacet,
    "errorMessage": facet_v2.error_message_run.ErrorMessageRunFacet,
    "jobType": facet_v2.job_type_job.JobTypeJobFacet,
}


def check_facets(facets: dict[str, Any]) -> None:
    """Each is what OpenLineage's own client makes of the same values, its schema's address included."""
    for name, facet in facets.items():
        values = {key: value for key, value in facet.items() if not key.startswith("_")}
        theirs = Serde.to_dict(_CLASSES[name](**values, producer=lineage_events.PRODUCER))
        assert facet == theirs, name


class Told(list[dict[str, Any]]):
    """The events of a run."""

    def send(self, event: str) -> None:
        self.append(json.loads(event))

    def states(self) -> list[str]:
        return [event["eventType"] for event in self]


@pytest.fixture
def told() -> Told:
    return Told()


def test_every_facet_is_as_openlineages_client_makes_it(told: Told) -> None:
    with pytest.raises(Retry), Run(HOP, Processing.BATCH, parent=Job("penstock", "dag.land", "1"), send=told.send):
        raise Retry("InfluxDB is away")
    for event in told:
        check_facets(event["run"]["facets"])
        check_facets(event["job"]["facets"])
        for dataset in (*event["inputs"], *event["outputs"]):
            check_facets(dataset["facets"])
    counts = {TOPIC: 7, TABLE: 6}
    check_facets(dataset_facets(TOPIC) | input_facets(TOPIC, counts) | output_facets(TABLE, counts))


def test_an_event_has_what_the_specification_requires(told: Told) -> None:
    with Run(HOP, Processing.BATCH, send=told.send):
        pass
    for event in told:
        assert datetime.fromisoformat(event["eventTime"]).tzinfo is UTC
        assert event["producer"] == "urn:penstock"
        assert event["schemaURL"].endswith("#/$defs/RunEvent")
        uuid.UUID(event["run"]["runId"])
        assert (event["job"]["namespace"], event["job"]["name"]) == ("penstock", "land_pop")
        assert [(each["namespace"], each["name"]) for each in event["inputs"]] == [("kafka://broker:9092", "pop")]


def test_the_schema_tells_each_fields_type_meaning_and_unit() -> None:
    fields = dataset_facets(TABLE)["schema"]["fields"]
    assert [each["name"] for each in fields] == [each.name for each in POPULATION.contract.fields]
    assert fields == [
        {"name": each.name, "type": str(each.kind)} | ({"description": told["description"]} if each.doc else {})
        for each, told in zip(POPULATION.contract.fields, fields, strict=True)
    ]
    assert "schema" not in dataset_facets(LETTERS), "what was rejected broke the contract"


def test_a_run_tells_its_beginning_and_its_end_with_its_counts(told: Told) -> None:
    with Run(HOP, Processing.BATCH, send=told.send) as run:
        run.count(5, (4, 1))
        run.count(2, (2, 0))
    assert told.states() == ["START", "COMPLETE"]
    assert len({event["run"]["runId"] for event in told}) == 1
    end = told[-1]
    assert end["inputs"][0]["inputFacets"]["inputStatistics"]["rowCount"] == 7
    assert [each["outputFacets"]["outputStatistics"]["rowCount"] for each in end["outputs"]] == [6, 1]
    assert "inputFacets" not in told[0]["inputs"][0], "at the beginning nothing is known"


def test_a_failure_is_told_with_its_sentence_if_that_is_our_own(told: Told) -> None:
    with pytest.raises(Fatal), Run(HOP, Processing.BATCH, send=told.send):
        raise Fatal("the topic is gone")
    with pytest.raises(ValueError, match="password"), Run(HOP, Processing.BATCH, send=told.send):
        raise ValueError("password=hunter2")
    said = [event["run"]["facets"]["errorMessage"]["message"] for event in told if event["eventType"] == "FAIL"]
    assert said == ["the topic is gone", "ValueError"]


def test_a_driver_that_is_told_to_stop_has_not_failed(told: Told) -> None:
    with pytest.raises(SystemExit), Run(HOP, Processing.STREAMING, send=told.send):
        raise SystemExit(0)
    assert told.states() == ["START", "COMPLETE"]


def test_a_stream_tells_now_and_then_that_it_goes_on(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    with Run(HOP, Processing.STREAMING, send=told.send) as run:
        for minute in range(1, 26):
            later = time.monotonic() + 60 * minute
            with monkeypatch.context() as patched:
                patched.setattr(lineage_events.time, "monotonic", lambda later=later: later)
                run.count(10, (9, 1))
    assert told.states() == ["START", "RUNNING", "RUNNING", "COMPLETE"]
    read = [event["inputs"][0]["inputFacets"]["inputStatistics"]["rowCount"] for event in told[1:]]
    assert read == [100, 200, 250]


def test_the_parent_is_the_task_that_the_environment_names(told: Told) -> None:
    run = spark_run(lambda _: HOP, Processing.BATCH, ENVIRONMENT | {"OPENLINEAGE_PARENT_ID": "ns/dag.land/some-id"})
    run._send = told.send
    with run:
        pass
    parent = told[0]["run"]["facets"]["parent"]
    assert (parent["run"], parent["job"]) == ({"runId": "some-id"}, {"namespace": "ns", "name": "dag.land"})


@pytest.mark.parametrize("environment", [{}, ENVIRONMENT | {"OPENLINEAGE_PARENT_ID": "no parent"}])
def test_an_environment_without_names_costs_the_lineage_and_not_the_run(
    told: Told, environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    run = spark_run(lambda places: lands(POPULATION, places), Processing.BATCH, environment)
    run._send = told.send
    with run:
        run.count(1, (1, 0))
    assert not told
    (line,) = caplog.messages
    assert line.startswith("there will be no lineage of this run: ")


def test_counts_go_to_the_outputs_in_their_order() -> None:
    assert counted(HOP, 7, (6, 1)) == {TOPIC: 7, TABLE: 6, LETTERS: 1}
    assert counted(HOP, None, ()) == {}
    assert counted(Hop("x", (), ()), 3, (1,)) == {}


def test_the_facet_of_batches_keeps_its_own_schema() -> None:
    interval = Interval(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))
    many = [BatchCounts(f"weather_hourly:{number}", interval, {"landed": number}) for number in range(250)]
    schema = json.loads((INCLUDE / "openlineage" / "batches-run-facet.json").read_text())
    for batches in (many[:1], many):
        facet = batches_facet(batches)["penstock_batches"]
        jsonschema.validate(facet, schema)
        assert facet["_schemaURL"] == schema["$id"]
        assert facet["total"] == len(batches)
        assert len(facet["batches"]) == min(len(batches), 100)
    assert batches_facet([]) == {}
