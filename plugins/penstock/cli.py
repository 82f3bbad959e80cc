"""The `penstock` command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from penstock import dlq
from penstock.core.batch import Interval
from penstock.core.errors import Fatal, PenstockError
from penstock.core.pipeline import Pipeline
from penstock.core.settings import PROJECT, Kafka, ledger_url, spool_folder
from penstock.core.stream import Stream
from penstock.ledger.render import render_rows, render_streams
from penstock.ledger.services import Services
from penstock.ledger.store import Ledger
from penstock.services import SERVICES, control, scaling
from penstock.stack import demo as demo_run
from penstock.stack import doctor as examination
from penstock.stack import lifecycle, servers
from penstock.stack.airflow_api import Airflow
from penstock.stack.context import Context
from penstock.stack.env import write_env
from penstock.stack.here import addresses, person
from penstock.stack.layout import Layout
from penstock.stack.report import console, report

app = typer.Typer(
    help="Runs Penstock on this machine, and shows where every record went.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(dlq.app, name="dlq")


class Toggle(StrEnum):
    """What may be done to one server."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"
    STATUS = "status"


def _moment(text: str, name: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise Fatal(f"{name} is {text!r}: give a date like 2026-11-20 or a time like 2026-11-20T06:00") from None
    return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _interval(start: str, end: str) -> Interval:
    return Interval(_moment(start, "--from"), _moment(end, "--to"))


def _known_pipeline(name: str) -> str:
    from penstock.pipelines import DATA_SETS, PIPELINES

    if name in PIPELINES:
        return name
    if broken := [str(each) for each in DATA_SETS.broken if each.name == name]:
        raise Fatal("; ".join(broken))
    raise Fatal(f"there is no pipeline {name!r}: the pipelines are {', '.join(sorted(PIPELINES))}")


From = Annotated[str, typer.Option("--from", help="start of the data interval, UTC, included")]
To = Annotated[str, typer.Option("--to", help="end of the data interval, UTC, excluded")]


@app.command()
def env() -> None:
    """Make .env with generated secrets, or add the keys it lacks."""
    layout = Layout.from_env()
    added = write_env(layout.env_file, PROJECT / ".env.example")
    console.print(f"{layout.env_file}: {'added ' + ', '.join(added) if added else 'nothing was missing'}")


@app.command()
def doctor() -> None:
    """Look for what would keep the stack from starting."""
    findings = [*examination.examine(Context.load(create=True)), *examination.data_sets()]
    for finding in findings:
        console.print(f"{'no' if finding.problem else 'ok':>3}  {finding.problem or finding.what}", highlight=False)
    if any(finding.problem for finding in findings):
        raise typer.Exit(1)


@app.command()
def fetch() -> None:
    """Bring the servers into the per-user cache, and start nothing."""
    context = Context.load(create=True)
    with report() as told:
        lifecycle.fetch(context, told)


@app.command()
def up(
    replay: Annotated[bool | None, typer.Option(help="ask the replay server in place of the real sources")] = None,
) -> None:
    """Start the local stack and wait until every server is ready."""
    context = Context.load(create=True)
    if replay is not None:
        context = context.with_replay(replay)
    examination.require(context)
    with report() as told:
        lifecycle.up(context, told)
    demo_run.print_addresses(context)


@app.command()
def down() -> None:
    """Stop the local stack; its data stays."""
    context = Context.load()
    lifecycle.down(context)
    console.print("everything is stopped")


@app.command()
def clean(
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Stop the stack and wipe its data, logs and config; .env and the cached servers stay."""
    layout = Layout.from_env()
    if not yes:
        typer.confirm(f"Wipe all data in {layout.var}?", abort=True)
    if layout.env_file.exists():
        lifecycle.down(Context.load())
    shutil.rmtree(layout.var, ignore_errors=False) if layout.var.exists() else None
    console.print(f"{layout.var} is gone")


@app.command("ps", hidden=True)
@app.command()
def status() -> None:
    """Show every server's state, and the age of what landed last."""
    from penstock.ledger.freshness import freshness
    from penstock.pipelines import DATA_SETS, PIPELINES, STREAMS

    context = Context.load()
    states = context.supervisor.states()
    if not states:
        console.print("the stack is down: `penstock up` starts it")
        raise typer.Exit(1)
    troubled = False
    for server in servers.wanted(context):
        state = states.get(server.name, {}).get("statename", "not started")
        lacking = server.ready(context) if state == "RUNNING" else state.lower()
        troubled = troubled or lacking is not None
        console.print(f"{server.name:24}{state:10}{lacking or 'ready'}", highlight=False, markup=False)
    if states.get("postgres", {}).get("statename") == "RUNNING":
        for each in freshness(Ledger(context.ledger_url), [*PIPELINES.values(), *STREAMS.values()]):
            console.print(str(each), highlight=False, markup=False)
    for broken in DATA_SETS.broken:
        console.print(str(broken), highlight=False, markup=False)
    if troubled or DATA_SETS.broken:
        raise typer.Exit(1)


@app.command()
def logs(
    name: str,
    lines: Annotated[int, typer.Option("-n", help="how many")] = 100,
    follow: Annotated[bool, typer.Option("-f", help="go on as more is written")] = False,  # noqa: FBT002
) -> None:
    """Show the log of a server."""
    path = servers.log_file(Context.load(), name)
    if not path.exists():
        raise Fatal(f"{name} has not written a log yet")
    os.execvp("tail", ["tail", "-n", str(lines), *(["-F"] if follow else []), str(path)])  # noqa: S606


@app.command()
def lineage(
    data_set: Annotated[str | None, typer.Argument(help="a pipeline or a stream; all where none is named")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the graph, for programs")] = False,  # noqa: FBT002
) -> None:
    """Show what flowed from where to where, as far as the files of lineage go back."""
    from penstock.core.settings import Lineage
    from penstock.observe.lineage import Places
    from penstock.observe.lineage_graph import Graph, read_events

    environment = addresses()
    settings = Lineage.from_env(environment)
    if settings is None:
        raise Fatal("lineage is off: LINEAGE_FOLDER in .env says so")
    graph = Graph(read_events(settings.folder))
    if data_set is not None:
        graph = graph.around(str(Places(environment).topic(_known_data_set(data_set).topic)))
    if as_json:
        typer.echo(json.dumps(graph.to_json(), indent=1))
        return
    if not graph.runs:
        raise Fatal(
            f"{settings.folder} has no lineage of {data_set or 'anything'} yet: it is told by runs and services"
        )
    for line in graph.lines():
        typer.echo(line)


def _known_data_set(name: str) -> Pipeline | Stream:
    from penstock.pipelines import PIPELINES, STREAMS

    if found := PIPELINES.get(name) or STREAMS.get(name):
        return found
    raise Fatal(f"there is no data set {name!r}: there are {', '.join([*PIPELINES, *STREAMS])}")


@app.command()
def service(
    action: Toggle,
    name: Annotated[str | None, typer.Argument(help="one server; `status` shows all services without it")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the status, for programs")] = False,  # noqa: FBT002
) -> None:
    """Start, stop or restart one server of the running stack, or show its state.

    A service that is stopped here stays so, also through `penstock up`, until it is started.
    """
    context = Context.load()
    if name is None and action is not Toggle.STATUS:
        raise Fatal(f"name the server: penstock service {action} NAME")
    if name is not None:
        server = _known_server(context, name)
        if action in {Toggle.STOP, Toggle.RESTART}:
            _stop_server(context, name, hold=action is Toggle.STOP)
        if action in {Toggle.START, Toggle.RESTART}:
            _start_server(context, server)
    if name is None or name in SERVICES:
        _show_services(context, list(SERVICES) if name is None else [name], as_json=as_json)
    else:
        console.print(f"{name}: {context.supervisor.states()[name]['statename']}")


@app.command()
def scale(
    name: Annotated[str, typer.Argument(help="a service of several instances, e.g. price_consumer")],
    count: Annotated[int, typer.Argument(help="how many of them are to run")],
) -> None:
    """Have so many instances of a service run: the others are stopped, and stay so through `penstock up`."""
    context = Context.load()
    group = scaling.group_named(name, SERVICES)
    planned = scaling.plan(group, count, SERVICES, _partitions_read_by(group))
    with closing(Services(context.ledger_url)) as ledger:
        stopped = scaling.stop(planned, context.supervisor.client, ledger, by=person())
    before = context.supervisor.states()
    for each in planned.start:
        _start_server(context, _known_server(context, each))
    started = [each for each in planned.start if before.get(each, {}).get("statename") != "RUNNING"]
    for done, names in (("started", started), ("stopped", stopped)):
        console.print(f"{done}: {', '.join(names) or 'none'}", highlight=False, markup=False)


def _partitions_read_by(group: str) -> int | None:
    """The partitions of the topic that the instances of a service share, or None where they share none."""
    from penstock.kafka.topics import describe
    from penstock.pipelines import STREAMS

    topics = [stream.topic for stream in STREAMS.values() if stream.counted_by == group]
    if not topics:
        return None
    (found,) = describe(Kafka.from_env(addresses()).bootstrap_servers, topics[0])
    return len(found.ranges)


def _known_server(context: Context, name: str) -> servers.Server:
    known = {each.name: each for each in servers.wanted(context)}
    if name not in known:
        raise Fatal(f"there is no server {name!r}: there are {', '.join(known)}")
    return known[name]


def _stop_server(context: Context, name: str, *, hold: bool) -> None:
    """With `hold`, the watch over a service is told to leave it stopped."""
    if hold and name in SERVICES:
        with closing(Services(context.ledger_url)) as ledger:
            control.stop(name, context.supervisor.client, ledger, by=person())
    else:
        context.supervisor.stop_program(name)


def _start_server(context: Context, server: servers.Server) -> None:
    if server.name in SERVICES:
        with closing(Services(context.ledger_url)) as ledger:
            control.want(server.name, ledger, by=person())
    with report() as told:
        lifecycle.start_one(context, server, told)


def _show_services(context: Context, names: list[str], *, as_json: bool) -> None:
    with closing(Services(context.ledger_url)) as ledger:
        rows = ledger.rows(names)
    if as_json:
        typer.echo(json.dumps([row.to_json() for row in rows], indent=1))
        return
    states = context.supervisor.states()
    for row in rows:
        now = states.get(row.name, {}).get("statename", "not started").lower()
        console.print(
            f"{row.name:26}{row.state:10}since {row.since:%Y-%m-%d %H:%M:%S} UTC  {row.restarts} restarts in a day  "
            f"process {now}: {row.reason}",
            highlight=False,
            markup=False,
        )
    for name in sorted(set(names) - {row.name for row in rows}):
        now = states.get(name, {}).get("statename", "not started").lower()
        console.print(f"{name:26}not watched yet, process {now}", highlight=False, markup=False)


@app.command()
def endpoints(
    as_json: Annotated[bool, typer.Option("--json", help="for programs, with the passwords")] = False,  # noqa: FBT002
) -> None:
    """Print what a client needs to connect."""
    context = Context.load()
    if as_json:
        typer.echo(json.dumps(context.endpoints(), indent=1))
    else:
        demo_run.print_addresses(context)


@app.command("exec", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def execute(arguments: typer.Context) -> None:
    """Run a command with the stack's environment, e.g. `penstock exec airflow dags list`."""
    if not arguments.args:
        raise Fatal("give a command to run, e.g. `penstock exec airflow dags list`")
    context = Context.load()
    environment = {**os.environ, **context.environment(), **servers.airflow_environment(context)}
    raise typer.Exit(subprocess.run(arguments.args, env=environment, check=False).returncode)


@app.command()
def provision() -> None:
    """Make topics, schemas, keyspace, tables and the ledger; addresses come from the environment."""
    from penstock.stack.provision import provision as make

    make(os.environ, lambda what: console.print(what, highlight=False, markup=False))


_APPLY = "apply"


@app.command()
def topic(
    name: Annotated[
        str | None, typer.Argument(help="one topic; all where none is named. `apply`: make them as topics.yaml says")
    ] = None,
) -> None:
    """Show topics with their partitions and offsets, or make them as include/kafka/topics.yaml says."""
    from penstock.kafka.topics import describe, ensure
    from penstock.kafka.topics_file import declared
    from penstock.pipelines import PIPELINES

    environment = addresses()
    servers = Kafka.from_env(environment).bootstrap_servers
    if name == _APPLY:
        used = [each.topic for each in PIPELINES.values()]
        topics = declared(environment=environment, used=used)
        for change in ensure(servers, topics) or [f"all {len(topics)} topics are as they should be"]:
            console.print(change, highlight=False, markup=False)
        return
    for each in describe(servers, name):
        console.print(str(each), highlight=False, markup=False)


@app.command()
def demo() -> None:
    """Start the stack, run the DAGs, show that every record landed. LIVE=1 asks the real services."""
    context = Context.load(create=True)
    context = context.with_replay(context.settings.get("LIVE") != "1")
    examination.require(context)
    with report() as told:
        lifecycle.up(context, told)
        began = datetime.now(UTC)
        rows = demo_run.run(context, told)
        minutes = demo_run.run_streams(context, told, began)
    console.print(render_rows(rows))
    console.print(render_streams(minutes))
    demo_run.print_addresses(context)
    if lacking := [row for row in rows if not row.whole]:
        raise Fatal(f"{len(lacking)} of {len(rows)} batches are not whole")
    if lacking_minutes := [row for row in minutes if not row.whole]:
        raise Fatal(f"{', '.join(row.stream for row in lacking_minutes)}: not whole")
    if not rows:
        raise Fatal("no batch reached the ledger: see the runs in the Airflow UI")


@app.command()
def run(pipeline: str, start: From, end: To) -> None:
    """Run a pipeline for every batch of an interval, through Airflow, and wait for the verdicts."""
    context, interval = Context.load(), _interval(start, end)
    with report() as told:
        demo_run.run_pipelines(_airflow(context), {_known_pipeline(pipeline): interval}, told)
        rows = Ledger(context.ledger_url).batches(pipeline=pipeline, since=interval.start, until=interval.end)
    console.print(render_rows(rows))
    if any(row.verdict != "whole" for row in rows) or not rows:
        raise typer.Exit(1)


@app.command()
def backfill(
    pipeline: str,
    start: From,
    end: To,
    backwards: Annotated[bool, typer.Option(help="newest first")] = False,  # noqa: FBT002
) -> None:
    """Start Airflow's own backfill of a pipeline and return; the UI shows its runs."""
    context, interval = Context.load(), _interval(start, end)
    number = demo_run.start_backfill(_airflow(context), _known_pipeline(pipeline), interval, backwards=backwards)
    console.print(f"backfill {number} of {pipeline} has begun: {context.airflow_url}/dags/{pipeline}/backfills")


@app.command()
def ledger(
    pipeline: Annotated[str | None, typer.Argument(help="one pipeline; all where none is named")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,  # noqa: FBT002
    start: Annotated[str | None, typer.Option("--from", help="batches that end after this time, UTC")] = None,
    end: Annotated[str | None, typer.Option("--to", help="batches that start before this time, UTC")] = None,
) -> None:
    """List batches: fetched, acked, landed, rejected, verdict."""
    rows = Ledger(ledger_url(addresses())).batches(
        pipeline=pipeline,
        since=_moment(start, "--from") if start else None,
        until=_moment(end, "--to") if end else None,
    )
    if as_json:
        typer.echo(json.dumps([row.to_json() for row in rows], indent=1))
    else:
        console.print(render_rows(rows))


@app.command()
def streams(
    name: Annotated[str | None, typer.Argument(help="one stream; all where none is named")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,  # noqa: FBT002
) -> None:
    """List what became of the streams' records, interval by interval: collected, in Kafka, on HDFS, in the minutes."""
    from penstock.ledger.stream_verdicts import StreamVerdicts

    rows = StreamVerdicts(ledger_url(addresses())).rows(None if name is None else _known_stream(name).name)
    if as_json:
        typer.echo(json.dumps([row.to_json() for row in rows], indent=1))
    else:
        console.print(render_streams(rows))


@app.command()
def spool(name: Annotated[str, typer.Argument(help="population")], file: Path) -> None:
    """Put a response file into a spool folder, from which Flume takes it to Kafka."""
    from penstock.services.spool import put

    console.print(str(put(spool_folder(addresses()), name, file)), highlight=False, markup=False)


@app.command()
def verify(pipeline: str, start: From, end: To) -> None:
    """Count in Kafka, in the sinks and in the raw copy, and hold the ledger, or a stream's hops, against it."""
    from penstock.pipelines import STREAMS

    if pipeline in STREAMS:
        _verify_stream(STREAMS[pipeline], _interval(start, end))
        return
    from penstock.ledger.verify import verify as check
    from penstock.ledger.witnesses import witnesses
    from penstock.pipelines import PIPELINES

    environment = addresses()
    known = PIPELINES[_known_pipeline(pipeline)]
    with witnesses(known, environment) as found:
        results = check(
            known,
            _interval(start, end),
            ledger=Ledger(ledger_url(environment)),
            kafka=Kafka.from_env(environment),
            witnesses=found,
        )
    for each in results:
        console.print(str(each), highlight=False, markup=False)
    if not results:
        raise Fatal(f"the ledger has no batch of {pipeline} in that interval")
    if not all(each.whole for each in results):
        raise typer.Exit(1)


def _verify_stream(stream: Stream, interval: Interval) -> None:
    from penstock.ledger.stream_verdicts import judge

    row = judge(stream, interval, addresses(), patience=0.0)
    console.print(render_streams([row]))
    if not row.whole:
        raise typer.Exit(1)


def _known_stream(name: str) -> Stream:
    from penstock.pipelines import STREAMS

    if name not in STREAMS:
        raise Fatal(f"there is no stream {name!r}: there are {', '.join(STREAMS)}")
    return STREAMS[name]


def _airflow(context: Context) -> Airflow:
    at = context.endpoints()["airflow"]
    return Airflow(at["url"], at["user"], at["password"])


def main() -> None:
    """Run the command; an error of ours is one sentence on standard error, and exit code 1."""
    try:
        app()
    except PenstockError as error:
        print(f"penstock: {error}", file=sys.stderr)  # noqa: T201 - a command line's own output
        sys.exit(1)


if __name__ == "__main__":
    main()
