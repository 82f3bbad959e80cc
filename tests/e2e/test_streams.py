"""Both streams, from their sources to the counts of each minute, and what proves them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from penstock.core.batch import Interval
from penstock.core.settings import recentchange_url, web_logs_folder
from penstock.observe.lineage import minute_counts, raw_copies
from penstock.pipelines import STREAMS, WEB_EVENTS, WIKI
from penstock.stack.airflow_api import Airflow
from tests import lineage
from tests.services import Watching, eventually
from tests.streams import EVENT_SERVICES, WIKI_SERVICES, judged, running

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def flowing(stack: Any) -> Iterator[datetime]:
    """Both streams, and when they were both ready."""
    with running(stack, (*WIKI_SERVICES, *EVENT_SERVICES)):
        yield datetime.now(UTC)


@pytest.mark.parametrize("stream", [WIKI, WEB_EVENTS], ids=str)
def test_a_minute_is_whole_at_every_hop(stack: Any, flowing: datetime, stream: Any) -> None:
    row = judged(stack, stream, flowing)
    assert row.verdict == "whole"
    assert row.collected
    assert row.collected <= row.on_topic == row.raw_copied
    assert set(row.aggregated.values()) == {row.on_topic}

    command = [sys.executable, "-m", "penstock.cli", "streams", stream.name, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert row.interval_start.isoformat() in {each["interval_start"] for each in json.loads(done.stdout)}


@pytest.mark.parametrize("name", ["recentchange-collector", "wiki-edits-minute", "price-consumer-1"])
def test_a_stream_s_service_is_watched(stack: Any, airflow: Airflow, flowing: datetime, name: str) -> None:
    airflow.wait_for_dags({f"service_{name.replace('-', '_')}"})
    with closing(Watching(stack, airflow, name)) as watching:
        watching.begin("start")
        assert watching.row.state == "healthy"
        assert watching.processes() == [watching.pid]


def test_the_dag_of_each_stream_counts_an_hour(stack: Any, airflow: Airflow, flowing: datetime) -> None:
    """An hour that is over: mostly one without records, which is whole too."""
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    interval = Interval(hour - timedelta(hours=1), hour)
    airflow.wait_for_dags(set(STREAMS))
    backfills = [airflow.backfill(name, interval.start, interval.start, backwards=False) for name in STREAMS]
    for backfill in backfills:
        airflow.wait_backfill(backfill, 600)
    for name in STREAMS:
        states = {each["logical_date"]: each["state"] for each in airflow.runs(name)}
        assert states[interval.start.isoformat().replace("+00:00", "Z")] == "success"


def test_lineage_leads_from_what_is_collected_to_the_counts_of_each_minute(stack: Any, flowing: datetime) -> None:
    """Flume's agents and the collectors are told by their watches, which take turns at the start of a stack."""
    places, environment = lineage.places(stack), stack.environment()
    changes = str(places.api(recentchange_url(environment)))
    logs = str(places.local(web_logs_folder(environment)))
    for start, stream in ((changes, WIKI), (logs, WEB_EVENTS)):
        sinks = {str(each) for each in (*minute_counts(stream, places), *raw_copies(stream, places))}
        eventually(lambda start=start, sinks=sinks: sinks <= lineage.graph(stack).downstream(start))
    spark = lineage.graph(stack).latest[WIKI.counted_by]
    assert spark.state in {"START", "RUNNING"}
