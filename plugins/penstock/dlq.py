"""`penstock dlq`: lists dead letters, shows them, and has Airflow replay or drop them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from penstock.core.contract import Contract, Kind
from penstock.core.errors import Fatal, Reject, Retry
from penstock.core.settings import Kafka, ledger_url
from penstock.core.stream import Stream
from penstock.kafka.dead_letters import DeadLetter, read_at
from penstock.ledger.dead_letters import DeadLetters, LetterRow, LetterState
from penstock.stack import demo
from penstock.stack.airflow_api import Airflow
from penstock.stack.context import Context
from penstock.stack.here import addresses, person
from penstock.stack.report import console

app = typer.Typer(help="Dead letters: records that broke their contract.", no_args_is_help=True)

_DAG = "maintenance"
_OVER = {"success", "failed", "skipped", "upstream_failed", "removed"}
_POLL_SECONDS = 0.5
_TIMEOUT_SECONDS = 1800.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Ids = Annotated[list[int] | None, typer.Argument(help="ids, as `penstock dlq list` shows them")]
Reason = Annotated[
    str | None, typer.Option("--reason", help="only those whose reason contains this, or is of this kind")
]
DataSet = Annotated[str | None, typer.Option("--data-set", help="of one data set only")]


@app.command("list")
def list_letters(
    data_set: Annotated[str | None, typer.Argument(help="one data set; all where none is named")] = None,
    state: Annotated[
        LetterState | None, typer.Option("--state", help="open where not given; see also --any-state")
    ] = None,
    reason: Reason = None,
    any_state: Annotated[bool, typer.Option("--any-state", help="the resolved ones, too")] = False,  # noqa: FBT002
    limit: Annotated[int, typer.Option("-n", min=1, help="how many at most, the newest first")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,  # noqa: FBT002
) -> None:
    """List dead letters: id, when, of which data set and batch, and why. Only open ones, unless told otherwise."""
    letters = _taken_up()
    wanted = None if any_state else state or LetterState.OPEN
    rows = letters.rows(data_set=data_set, state=wanted, reason=reason, limit=limit)
    if as_json:
        typer.echo(json.dumps([row.to_json() for row in rows], indent=1))
        return
    for row in rows:
        _say(
            f"{row.id:>7}  {row.written:%Y-%m-%d %H:%M:%S}  {row.state:9} {row.batch_id or row.data_set}: {row.reason}"
        )
    counts = letters.by_reason(data_set=data_set, state=wanted, reason=reason)
    total = sum(counts.values())
    _say(f"{total} dead letters{f', the newest {len(rows)} of them shown' if len(rows) < total else ''}")
    for (of, kind), number in counts.items():
        _say(f"{number:>7}  {of}: {kind}")


@app.command()
def show(
    letter: Annotated[int, typer.Argument(help="its id")],
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,  # noqa: FBT002
) -> None:
    """Show one dead letter: its value, where it came from, why it was set aside, and what became of it."""
    (row,) = _taken_up().letters([letter])
    value, problem = _value(row)
    if as_json:
        typer.echo(json.dumps({**row.to_json(), "value": value, "unreadable": problem}, indent=1, default=str))
        return
    for name, said in _facts(row):
        _say(f"{name:10}{said}")
    typer.echo(value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False))
    if problem:
        _say(f"its bytes are shown as they are: {problem}")


@app.command()
def replay(
    ids: Ids = None,
    every: Annotated[bool, typer.Option("--all", help="all open letters that --reason or --data-set names")] = False,  # noqa: FBT002
    reason: Reason = None,
    data_set: DataSet = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="the mended record, JSON; of several letters {id: record}")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="mend one field; may be repeated")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask where records would come late")] = False,  # noqa: FBT002
) -> None:
    """Put letters on their topic again, by a run of the DAG maintenance, and wait for its outcome.

    Each lands once, as of its own time, and its batch is judged anew. One that would be rejected again is refused.
    """
    rows = _chosen(ids or [], every=every, reason=reason, data_set=data_set)
    mended = _mended(rows, file, changes or [])
    _ask_about_late(rows, mended, yes=yes)
    conf: dict[str, Any] = {"replay": [row.id for row in rows], "by": person()}
    if mended:
        conf["mended"] = {str(letter): value for letter, value in mended.items()}
    _tell(_outcome("replay_dead_letters", conf), "replayed")


@app.command()
def drop(
    why: Annotated[str, typer.Option("--why", help="one sentence; it is kept with the letters")],
    ids: Ids = None,
    every: Annotated[bool, typer.Option("--all", help="all open letters that --reason or --data-set names")] = False,  # noqa: FBT002
    reason: Reason = None,
    data_set: DataSet = None,
) -> None:
    """Mark letters as needed by nobody, by a run of the DAG maintenance. They stay on their dead-letter topic."""
    rows = _chosen(ids or [], every=every, reason=reason, data_set=data_set)
    conf = {"drop": [row.id for row in rows], "why": why, "by": person()}
    _tell(_outcome("drop_dead_letters", conf), "dropped")


def _taken_up() -> DeadLetters:
    """The ledger's letters, with what is new on the topics; without it, and a word on that, where Kafka is away."""
    from penstock.pipelines import DATA_SETS

    environment = addresses()
    letters = DeadLetters(ledger_url(environment))
    try:
        letters.take_up(Kafka.from_env(environment), DATA_SETS.dead_letter_topics)
    except Retry as away:
        print(f"penstock: newer letters may be missing: {away}", file=sys.stderr)  # noqa: T201 - beside the list
    return letters


def _chosen(ids: Sequence[int], *, every: bool, reason: str | None, data_set: str | None) -> list[LetterRow]:
    letters = _taken_up()
    if every:
        if ids or not (reason or data_set):
            raise Fatal("--all goes with --reason or --data-set, and without ids")
        rows = letters.rows(data_set=data_set, reason=reason, limit=None)
        if not rows:
            raise Fatal("no open letter matches: `penstock dlq list` shows those there are")
        return rows
    if not ids or reason or data_set:
        raise Fatal("name letters by their ids, or give --all with --reason or --data-set")
    return letters.letters(ids)


def _facts(row: LetterRow) -> Iterator[tuple[str, str]]:
    yield "letter", f"{row.id}, of {row.data_set}, written {_time(row.written)}"
    yield "reason", row.reason
    yield "record", f"on its topic at {row.origin}" if row.origin else "never on its topic"
    yield "batch", f"{row.batch_id}, as of {_time(row.as_of)}" if row.batch_id else "none: others wrote it"
    resolved = f", {_time(row.resolved)}, by {row.resolved_by}{f': {row.why}' if row.why else ''}"
    yield "state", f"{row.state}{'' if row.state is LetterState.OPEN else resolved}"
    yield "kept at", f"{row.topic}-{row.partition}@{row.offset}"


def _time(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "an unknown time"


def _read(row: LetterRow) -> DeadLetter:
    return read_at(Kafka.from_env(addresses()), row.topic, row.partition, row.offset)


def _value(row: LetterRow) -> tuple[Any, str | None]:
    """The record as JSON types, or else its bytes as text, and why it cannot be read."""
    from penstock.airflow.candidates import decoded, described

    letter = _read(row)
    try:
        return decoded(described(row.data_set), letter, Kafka.from_env(addresses())), None
    except (Reject, Fatal) as error:
        return letter.value.decode(errors="backslashreplace"), str(error)


def _mended(rows: Sequence[LetterRow], file: Path | None, changes: Sequence[str]) -> dict[int, Any]:
    mended: dict[int, Any] = _from_file(rows, file) if file else {}
    if changes:
        for row in rows:
            mended[row.id] = _changed(row, mended.get(row.id), changes)
    return mended


def _from_file(rows: Sequence[LetterRow], file: Path) -> dict[int, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Fatal(f"{file} cannot be read as JSON: {error}") from None
    if len(rows) == 1:
        return {rows[0].id: found}
    ids = {str(row.id): row.id for row in rows}
    if not isinstance(found, dict) or (unknown := sorted(found.keys() - ids.keys())):
        more = f", and not {', '.join(unknown)}" if isinstance(found, dict) else ""
        raise Fatal(f'{file} must be {{"ID": RECORD, ...}} of the letters that are replayed{more}')
    return {ids[letter]: value for letter, value in found.items()}


def _changed(row: LetterRow, value: Any, changes: Sequence[str]) -> Any:
    """The record with some fields set anew."""
    from penstock.airflow.candidates import described

    if value is None:
        value, problem = _value(row)
        if problem or not isinstance(value, dict):
            raise Fatal(f"letter {row.id} has no fields that could be set ({problem or 'no object'}): give --file")
    contract = described(row.data_set).contract
    return {**value, **dict(_assignment(each, contract) for each in changes)}


def _assignment(text: str, contract: Contract) -> tuple[str, Any]:
    name, found, value = text.partition("=")
    if not found or not name:
        raise Fatal(f"--set {text!r} is not of the form FIELD=VALUE")
    field = contract.by_name.get(name)
    kind = field.kind if field else None
    if kind is Kind.STRING:
        return name, value
    try:
        return name, json.loads(value)
    except ValueError:
        return name, _physical_time(value, kind)


def _physical_time(value: str, kind: Kind | None) -> Any:
    """A time in ISO 8601 as the contract counts it; any other text as it is."""
    try:
        if kind is Kind.DATE:
            return date.fromisoformat(value).toordinal() - _EPOCH.toordinal()
        if kind is Kind.TIMESTAMP:
            at = datetime.fromisoformat(value)
            return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) // timedelta(milliseconds=1)
    except ValueError:
        raise Fatal(f"{value!r} is no time: give one like 2026-11-20T06:00:00Z") from None
    return value


def _ask_about_late(rows: Sequence[LetterRow], mended: Mapping[int, Any], *, yes: bool) -> None:
    """Say which records of streams come too late to be counted in their minute."""
    from penstock.airflow.candidates import candidate, described
    from penstock.airflow.lateness import late

    kafka = Kafka.from_env(addresses())
    found = False
    for row in rows:
        of = described(row.data_set)
        if not isinstance(of, Stream) or row.state is not LetterState.OPEN:
            continue
        try:
            record = candidate(of, row, _read(row), kafka, mended=mended.get(row.id)).record
        except (Reject, Fatal):
            continue  # the run refuses it, and says why
        if reason := late(of, record, kafka):
            found = True
            _say(f"letter {row.id}: {reason}")
    if found and not yes:
        typer.confirm("Replay them all the same?", abort=True)


def _outcome(task: str, conf: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a run's task says. Raises Fatal with its last words where it says nothing."""
    context = Context.load()
    airflow = demo.airflow(context)
    if airflow.is_paused(_DAG):
        unpause = f"penstock exec airflow dags unpause {_DAG}"
        raise Fatal(f"the DAG {_DAG} is paused, and no run of it would begin: unpause it in the UI, or by `{unpause}`")
    run = airflow.trigger(_DAG, conf)
    _say(f"{context.airflow_url}/dags/{_DAG}/runs/{run}")
    state, tries = _ended(airflow, run, task)
    outcome = airflow.xcom(_DAG, run, task, "outcome")
    if not isinstance(outcome, dict) or (state != "success" and not outcome["refused"]):
        said = _last_error(airflow, run, task, tries)
        raise Fatal(f"{task} ended as {state}: {said}")
    return outcome


def _ended(airflow: Airflow, run: str, task: str) -> tuple[str, int]:
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while True:
        try:
            tasks = airflow.tasks(_DAG, run)
        except Retry as away:  # the run goes on without us
            _say(f"still waiting: {away}")
            tasks = []
        for each in tasks:
            if each["task_id"] == task and each["state"] in _OVER:
                return str(each["state"]), int(each["try_number"])
        if time.monotonic() > deadline:
            raise Fatal(f"{task} of {run} has not ended within {_TIMEOUT_SECONDS:.0f} s: see it in the Airflow UI")
        time.sleep(_POLL_SECONDS)


def _last_error(airflow: Airflow, run: str, task: str, tries: int) -> str:
    lines = airflow.task_log(_DAG, run, task, tries).splitlines()
    told = [line for line in lines if "AirflowFailException" in line or "TryAgain" in line]
    return told[-1] if told else "its log in the Airflow UI says why"


def _tell(outcome: Mapping[str, Any], done: str) -> None:
    """Say what became of the letters; exit code 1 where some were refused."""
    _say(f"{done}: {outcome[done]}")
    if outcome["waiting"]:
        _say(f"{outcome['waiting']} of them wait on their topic for the next run of their pipeline")
    if outcome["late"]:
        _say(f"{outcome['late']} of them came late, and are counted as such")
    for batch, verdict in outcome["verdicts"].items():
        _say(f"{batch}: {verdict}")
    for refusal in outcome["refusals"]:
        _say(f"refused: {refusal}")
    if outcome["refused"]:
        raise typer.Exit(1)


def _say(text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
