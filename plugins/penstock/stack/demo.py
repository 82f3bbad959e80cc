"""The main job, run as a user would: DAG runs through the real scheduler, then the ledger's word on each batch."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta

from penstock.core.batch import Interval
from penstock.core.errors import Fatal
from penstock.core.service import Desired
from penstock.core.settings import OpenMeteo
from penstock.core.stream import Stream
from penstock.ledger.services import Services
from penstock.ledger.store import Ledger, LedgerRow
from penstock.ledger.stream_verdicts import StreamRow, judge, whole_minutes_since
from penstock.pipelines import PIPELINES, STREAMS
from penstock.stack.airflow_api import Airflow
from penstock.stack.context import Context
from penstock.stack.report import Report, Step, console

_HOURS = 3
_QUARTERS = 2
_HISTORIC_DAYS = 7
_TIMEOUT = 900.0
_MARKED_AS_ENDED = 90.0
_OPEN = frozenset({"queued", "running"})
_STREAM_PATIENCE = 240.0

DAG_IDS = ("weather_hourly", "weather_daily", "weather_historic", "population", "car_transactions", *STREAMS)


def airflow(context: Context) -> Airflow:
    """A client of this instance's Airflow."""
    at = context.endpoints()["airflow"]
    return Airflow(at["url"], at["user"], at["password"])


def run(context: Context, report: Report) -> list[LedgerRow]:
    """Backfill the newest intervals, run a week of history, and return what the ledger says of them.

    The intervals are those before the present hour, so that a second demo in that hour runs the same ones again.
    """
    client = airflow(context)
    report.line(f"weather, population and recent changes come from {source(context)}")
    step = report.step("airflow")
    client.wait_for_dags(set(DAG_IDS))
    step.done("shows the DAGs")

    began = datetime.now(UTC)
    hour = began.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    historic = report.step("weather_historic")
    client.pause("weather_historic", paused=False)
    conf = {
        "start_date": (day - timedelta(days=_HISTORIC_DAYS + 1)).date().isoformat(),
        "end_date": (day - timedelta(days=2)).date().isoformat(),
    }
    historic_run = client.trigger("weather_historic", conf)
    wanted = {
        "weather_hourly": Interval(hour - timedelta(hours=_HOURS), hour),
        "weather_daily": Interval(day - timedelta(days=1), day),
        "population": Interval(day - timedelta(days=1), day),
        "car_transactions": Interval(hour - _QUARTERS * timedelta(minutes=15), hour),
    }
    run_pipelines(client, wanted, report)
    state = client.wait("weather_historic", historic_run, _TIMEOUT)
    historic.done(state)
    ledger = Ledger(context.ledger_url)
    return [row for row in ledger.batches() if row.started >= began - timedelta(seconds=1)]


def run_streams(context: Context, report: Report, began: datetime) -> list[StreamRow]:
    """Count every whole minute of each stream since `began`, at least one, at every hop, and return the verdicts.

    A stream whose services are stopped, by a person or by a setting, is left out.
    """
    environment = context.environment()
    return [
        _judged(stream, report, began, environment) for stream in STREAMS.values() if _flows(context, stream, report)
    ]


def _flows(context: Context, stream: Stream, report: Report) -> bool:
    with closing(Services(context.ledger_url)) as services:
        rows = services.rows([stream.collected_by.replace("_", "-")])
    held = [row for row in rows if row.desired is Desired.STOPPED]
    for row in held:
        report.line(f"{stream}: left out, because {row.name} is stopped by {row.desired_by}")
    return not held


def _judged(stream: Stream, report: Report, began: datetime, environment: Mapping[str, str]) -> StreamRow:
    step = report.step(stream.name)
    while (minutes := whole_minutes_since(began, datetime.now(UTC))) is None:
        step.say("waiting for a whole minute of it")
        time.sleep(1)
    row = judge(stream, minutes, environment, _STREAM_PATIENCE, step.say)
    step.done("counted")
    return row


def run_pipelines(client: Airflow, wanted: Mapping[str, Interval], report: Report) -> None:
    """Run every batch of scheduled pipelines in their intervals, whether it ran before or not, and wait."""
    steps = {pipeline: report.step(pipeline) for pipeline in wanted}
    client.wait_for_dags(set(wanted))  # that of a new data set appears within half a minute
    for pipeline, interval in wanted.items():
        client.pause(pipeline, paused=False)
        start_backfill(client, pipeline, interval, backwards=False)
    for pipeline, interval in wanted.items():
        _wait_for_runs(client, pipeline, interval, steps[pipeline])
        steps[pipeline].done("ended")


def start_backfill(client: Airflow, pipeline: str, interval: Interval, *, backwards: bool) -> int:
    """Start Airflow's backfill of the data intervals that begin in `interval`."""
    if PIPELINES[pipeline].schedule is None:
        raise Fatal(f"{pipeline} has no schedule, so it has no data intervals to fill: trigger its DAG instead")
    client.wait_for_dags({pipeline})  # as in run_pipelines
    _let_the_last_one_end(client, pipeline)
    last = interval.end - timedelta(microseconds=1)
    return client.backfill(pipeline, interval.start, last, backwards=backwards)


def _let_the_last_one_end(client: Airflow, pipeline: str) -> None:
    """Wait while a backfill whose runs have all ended is still marked as running: Airflow looks every 30 s."""
    deadline = time.monotonic() + _MARKED_AS_ENDED
    while client.has_backfill(pipeline) and time.monotonic() < deadline:
        if any(each["run_type"] == "backfill" and each["state"] in _OPEN for each in client.runs(pipeline)):
            return  # it is really at work: Airflow says so
        time.sleep(0.5)


def _wait_for_runs(client: Airflow, pipeline: str, interval: Interval, step: Step) -> None:
    """Wait until no run of these data intervals is under way, be it the backfill's or the schedule's."""
    deadline = time.monotonic() + _TIMEOUT
    while under_way := list(_under_way(client, pipeline, interval)):
        if time.monotonic() > deadline:
            raise Fatal(
                f"{len(under_way)} runs of {pipeline} have not ended within {_TIMEOUT:.0f} s: see the Airflow UI"
            )
        step.say(f"{len(under_way)} runs to go")
        time.sleep(0.5)


def _under_way(client: Airflow, pipeline: str, interval: Interval) -> Iterable[str]:
    for each in client.runs(pipeline):
        logical = each["logical_date"]
        inside = logical and interval.start <= datetime.fromisoformat(logical) < interval.end
        if inside and each["state"] in _OPEN:
            yield each["dag_run_id"]


def source(context: Context) -> str:
    """Where this instance's sources are, in words."""
    if context.replay:
        return "the replay server on this machine (LIVE=1 asks the real services)"
    return context.source_settings.get("BASE_URL") or OpenMeteo.from_env({}).base_url


def print_addresses(context: Context) -> None:
    """Say where everything is, and where the passwords are."""
    at = context.endpoints()
    lines = (
        f"sources          {source(context)}",
        f"Airflow UI       {at['airflow']['url']}  (user {at['airflow']['user']})",
        f"Kafka            {at['kafka']['bootstrap_servers']}",
        f"schema registry  {at['registry']['url']}",
        f"Cassandra        {at['cassandra']['host']}:{at['cassandra']['port']}/{at['cassandra']['keyspace']}",
        f"InfluxDB         {at['influxdb']['url']}  (bucket {at['influxdb']['bucket']})",
        f"HDFS             {at['hdfs']['fs']}  (browse {at['hdfs']['webhdfs']}/explorer.html)",
        f"car API          {at['car_api']['url']}",
        f"ledger           {at['postgres']['host']}:{at['postgres']['port']}/{at['postgres']['database']}",
        f"passwords        {context.layout.env_file}, or `penstock endpoints --json`",
    )
    titles = {"prometheus": "Prometheus       ", "alertmanager": "Alertmanager     "}
    monitoring = [f"{title}{at[name]['url']}" for name, title in titles.items() if name in at]
    for line in (*lines, *monitoring):
        console.print(line, highlight=False, markup=False)
