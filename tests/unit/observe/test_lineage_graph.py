from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.observe.lineage_graph import Graph

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)


def dataset(name: str, rows: int | None = None, *, output: bool = False) -> dict[str, Any]:
    namespace, _, rest = name.partition(":")
    side = "output" if output else "input"
    facets = {} if rows is None else {f"{side}Facets": {f"{side}Statistics": {"rowCount": rows}}}
    return {"namespace": namespace, "name": rest, **facets}


def event(
    job: str, inputs: dict[str, int | None], outputs: dict[str, int | None], run: str = "", **more: Any
) -> dict[str, Any]:
    state, parent, minute = more.get("state", "COMPLETE"), more.get("parent"), more.get("minute", 0)
    facets = {"parent": {"run": {"runId": parent}, "job": {}}} if parent else {}
    return {
        "eventType": state,
        "eventTime": (BEGAN + minute * timedelta(minutes=1)).isoformat(),
        "job": {"namespace": "penstock", "name": job},
        "run": {"runId": run or f"run of {job}", "facets": facets},
        "inputs": [dataset(name, rows) for name, rows in inputs.items()],
        "outputs": [dataset(name, rows, output=True) for name, rows in outputs.items()],
    }


EVENTS = [
    event("pop.produce", {"api:/pop": None}, {"kafka:/pop": None, "kafka:/pop.dlq": None}, state="START"),
    event("pop.produce", {"api:/pop": None}, {"kafka:/pop": 12, "kafka:/pop.dlq": 1}, minute=1),
    event("pop.land", {"kafka:/pop": 12}, {"influx:/pop": 12}, parent="run of pop", minute=2),
    event("land_pop", {"kafka:/pop": 12}, {"influx:/pop": 12}, parent="run of pop.land", minute=2),
    event("flume", {"kafka:/pop": None}, {"hdfs:/pop": None}),
    event("finish", {"hdfs:/pop": None}, {"hdfs:/pop": None}),
    event("pop.reconcile", {"kafka:/pop": None, "influx:/pop": None}, {}),
    event("cars.produce", {"api:/cars": None}, {"kafka:/cars": 9}),
    event("plan", {}, {}),
]


def test_the_graph_leads_from_source_to_sinks_and_back() -> None:
    graph = Graph(EVENTS)
    assert graph.downstream("api:/pop") == {
        "api:/pop",
        "kafka:/pop",
        "kafka:/pop.dlq",
        "influx:/pop",
        "hdfs:/pop",
    }
    assert graph.upstream("hdfs:/pop") == {"hdfs:/pop", "kafka:/pop", "api:/pop"}


def test_a_run_is_what_its_last_event_says() -> None:
    run = Graph(EVENTS).runs["run of pop.produce"]
    assert run.state == "COMPLETE"
    assert run.outputs == {"kafka:/pop": 12, "kafka:/pop.dlq": 1}


def test_runs_know_their_parents() -> None:
    runs = Graph(EVENTS).runs
    spark = runs["run of land_pop"]
    assert spark.parent is not None
    assert runs[spark.parent].job == "pop.land"


def test_the_latest_run_of_a_job_counts_and_those_without_datasets_do_not() -> None:
    later = event("pop.land", {"kafka:/pop": 5}, {"influx:/pop": 5}, run="later", minute=9)
    graph = Graph([later, *EVENTS])
    assert graph.latest["pop.land"].run_id == "later"
    assert "plan" not in graph.latest


def test_one_data_set_can_be_looked_at_alone() -> None:
    part = Graph(EVENTS).around("kafka:/pop")
    assert {run.job for run in part.runs.values()} == {
        "pop.produce",
        "pop.land",
        "land_pop",
        "flume",
        "finish",
        "pop.reconcile",
    }
    assert not Graph(EVENTS).around("kafka:/unknown").runs


def test_it_is_shown_as_a_tree_with_its_counts() -> None:
    assert list(Graph(EVENTS).around("kafka:/pop").lines()) == [
        "api:/pop",
        "  -> pop.produce: COMPLETE at 2026-03-01 12:01:00 UTC",
        "    kafka:/pop: 12 records",
        "      -> flume: COMPLETE at 2026-03-01 12:00:00 UTC",
        "        hdfs:/pop",
        "          -> finish: COMPLETE at 2026-03-01 12:00:00 UTC",
        "      -> land_pop: COMPLETE at 2026-03-01 12:02:00 UTC, 12 records read",
        "        influx:/pop: 12 records",
        "          -> pop.reconcile: COMPLETE at 2026-03-01 12:00:00 UTC",
        "      -> pop.land: COMPLETE at 2026-03-01 12:02:00 UTC, 12 records read",
        "        influx:/pop (see above): 12 records",
        "      -> pop.reconcile (see above)",
        "    kafka:/pop.dlq: 1 records",
    ]


def test_what_begins_with_a_job_is_shown_from_it() -> None:
    lines = list(Graph([event("producer", {}, {"file:/logs": None})]).lines())
    assert lines == ["-> producer: COMPLETE at 2026-03-01 12:00:00 UTC", "  file:/logs"]


def test_as_json_it_has_the_latest_run_of_each_job() -> None:
    told = Graph(EVENTS[:2]).to_json()
    assert told["datasets"] == ["api:/pop", "kafka:/pop", "kafka:/pop.dlq"]
    (job,) = told["jobs"]
    assert (job["job"], job["state"], job["outputs"]) == (
        "pop.produce",
        "COMPLETE",
        {"kafka:/pop": 12, "kafka:/pop.dlq": 1},
    )
