"""The page's web application: the ledger as JSON, and the files that draw it. Every answer is for who is logged in.

Airflow mounts a plugin's app without asking who calls, so each route here has Airflow's own check. The page runs in a
frame of Airflow's; it loads nothing from elsewhere, and nothing that it shows can run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.common.db.common import SessionDep
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

from penstock.airflow.page import letters, links, shape
from penstock.airflow.page.access import MAINTENANCE, SightDep, may_read_dags
from penstock.airflow.page.lags import lags
from penstock.airflow.page.letter_news import LetterNews
from penstock.core.errors import Fatal, PenstockError, Retry
from penstock.core.service import Desired
from penstock.core.settings import ledger_url
from penstock.ledger.dead_letters import DeadLetters, LetterState
from penstock.ledger.freshness import freshness
from penstock.ledger.overview import Overview
from penstock.ledger.services import Services
from penstock.ledger.store import Ledger

CHART_BATCHES = 40
PAGE_BATCHES = 50
PAGE_LETTERS = 100

_STATIC = Path(__file__).parent / "static"
_INDEX = _STATIC / "index.html"
_FILES = StaticFiles(directory=_STATIC)
_VIEWS = ("/", "/batches", "/batch", "/run", "/services", "/dead-letters", "/dead-letter")

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-cache, private",
}

app = FastAPI(
    title="Penstock",
    docs_url=None,
    redoc_url=None,
    openapi_url=None,
    redirect_slashes=False,
    dependencies=[may_read_dags],
)


@app.middleware("http")
async def _with_headers(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await answer(request)
    response.headers.update(HEADERS)
    return response


@app.exception_handler(PenstockError)
async def _explain(_: Request, error: PenstockError) -> JSONResponse:
    """What is wrong, in the error's own sentence, and whether it may pass."""
    content = {"detail": str(error), "passes": isinstance(error, Retry)}
    return JSONResponse(content, HTTPStatus.SERVICE_UNAVAILABLE)


@cache
def overview() -> Overview:
    """The session with the ledger that all requests of this process share."""
    return Overview(ledger_url())


@cache
def services() -> Services:
    """As `overview`."""
    return Services(ledger_url())


@cache
def dead_letters() -> DeadLetters:
    """The account of the dead letters."""
    return DeadLetters(ledger_url())


@cache
def letter_news() -> LetterNews:
    """As `overview`, of the letters that come while the page is looked at."""
    return LetterNews(dead_letters)


LettersDep = Annotated[DeadLetters, Depends(dead_letters)]
NewsDep = Annotated[LetterNews, Depends(letter_news)]
OverviewDep = Annotated[Overview, Depends(overview)]
ServicesDep = Annotated[Services, Depends(services)]


def _view() -> FileResponse:
    return FileResponse(_INDEX, media_type="text/html")


for _path in _VIEWS:
    app.add_api_route(_path, _view, include_in_schema=False)


@app.get("/static/{name}")
async def static_file(name: str, request: Request) -> Response:
    """A file that draws the page, or 304 where the browser has it. A mounted folder would not ask who calls."""
    return await _FILES.get_response(name, request.scope)


@app.get("/api/data-sets")
def data_sets(seen: SightDep, ledger: OverviewDep) -> dict[str, Any]:
    """Each data set with its freshness and its newest batches or intervals, the newest first."""
    batches = ledger.newest([each.name for each in seen.pipelines], CHART_BATCHES)
    intervals = ledger.intervals([each.name for each in seen.streams], CHART_BATCHES)
    with Ledger(ledger_url()) as open_ledger:
        judged = {each.data_set: each for each in freshness(open_ledger, [*seen.pipelines, *seen.streams])}
    return {
        "pipelines": [
            {
                "name": each.name,
                "schedule": each.schedule,
                "topic": each.topic,
                "raw_copy": each.raw_copy is not None,
                "freshness": shape.fresh(judged.get(each.name)),
                "batches": [shape.batch(row) for row in batches[each.name]],
            }
            for each in seen.pipelines
        ],
        "streams": [
            {
                "name": each.name,
                "schedule": each.schedule,
                "topic": each.topic,
                "freshness": shape.fresh(judged.get(each.name)),
                "intervals": [shape.interval(row) for row in intervals[each.name]],
            }
            for each in seen.streams
        ],
    }


@app.get("/api/batches")
def batches_of(
    seen: SightDep,
    ledger: OverviewDep,
    pipeline: str,
    before: str | None = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_BATCHES)] = PAGE_BATCHES,
) -> dict[str, Any]:
    """A page of a pipeline's batches, the newest first; `next` is the `before` of the following page, or null."""
    if pipeline not in {each.name for each in seen.pipelines}:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no pipeline {pipeline} that you may see")
    rows = ledger.batches(pipeline, limit + 1, before)
    more = rows[limit - 1].batch_id if len(rows) > limit else None
    return {"pipeline": pipeline, "batches": [shape.batch(row) for row in rows[:limit]], "next": more}


@app.get("/api/batch")
def batch(seen: SightDep, ledger: OverviewDep, session: SessionDep, batch_id: str) -> dict[str, Any]:
    """One batch, hop by hop, with the pages of its runs and their tasks' logs below Airflow's own address."""
    found = ledger.batch(batch_id)
    if found is None or found.row.pipeline not in seen.data_sets:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"the ledger has no batch {batch_id} that you may see")
    logs = links.task_logs(found, seen.dag_ids, session)
    return shape.batch(found.row) | {
        "options": found.options,
        "steps": shape.steps(found),
        "hops": [
            shape.hop(row) | {"run": links.run_path(row.run_id), "log": logs.get(hop)}
            for hop, row in sorted(found.hops.items(), key=lambda each: list(links.TASKS).index(each[0]))
        ],
    }


@app.get("/api/run")
def batches_of_run(seen: SightDep, ledger: OverviewDep, dag_id: str, run_id: str) -> dict[str, Any]:
    """The batches that a run of Airflow has worked on, as far as no later run has taken them over."""
    rows = [row for row in ledger.of_run(f"{dag_id}/{run_id}") if row.pipeline in seen.data_sets]
    return {"run_id": run_id, "batches": [shape.batch(row) for row in rows]}


@app.get("/api/services")
def services_seen(seen: SightDep, ledger: ServicesDep) -> dict[str, Any]:
    """The services that a watch has looked at, or that a person wants."""
    declared = seen.services
    rows = [row for row in ledger.rows(list(declared)) if row.name in declared]
    return {"services": [shape.service(row, declared[row.name]) for row in rows]}


@app.get("/api/lags")
def lags_seen(seen: SightDep, ledger: ServicesDep) -> dict[str, Any]:
    """What waits for the services that a person wants to run, {service: ...}; asked apart, because it can take long."""
    declared = seen.services
    wanted = [row.name for row in ledger.rows(list(declared)) if row.desired is Desired.STARTED]
    return lags([declared[name] for name in wanted])


@app.get("/api/letter-counts")
def letter_counts(seen: SightDep, ledger: LettersDep, news: NewsDep) -> dict[str, Any]:
    """{data set: how many letters nobody has replayed or dropped}, without those that have none."""
    news.ask()
    return {name: count for name, count in ledger.open_counts().items() if name in seen.data_sets}


@app.get("/api/dead-letters")
def dead_letters_seen(
    seen: SightDep,
    ledger: LettersDep,
    news: NewsDep,
    state: LetterState = LetterState.OPEN,
    data_set: str | None = None,
    reason: str | None = None,
    batch_id: str | None = None,
) -> dict[str, Any]:
    """How many letters there are of each reason, and the newest that match.

    `replay_by` is the DAG whose runs replay and drop, or null where the person may not start them; `lacking` says why
    new letters cannot be had at present, or is null.
    """
    lacking = news.ask()
    counts = {key: count for key, count in ledger.by_reason(state=state).items() if key[0] in seen.data_sets}
    rows = [
        row
        for name in {name for name, _ in counts}
        if data_set in (None, name)
        for row in ledger.rows(data_set=name, state=state, reason=reason, batch_id=batch_id, limit=PAGE_LETTERS)
    ]
    newest = sorted(rows, key=lambda row: row.written, reverse=True)[:PAGE_LETTERS]
    return {
        "counts": [{"data_set": name, "kind": kind, "count": count} for (name, kind), count in counts.items()],
        "letters": [row.to_json() for row in newest],
        "lacking": lacking,
        "replay_by": MAINTENANCE if seen.may_replay else None,
    }


@app.get("/api/dead-letter")
def dead_letter(seen: SightDep, ledger: LettersDep, letter: int) -> dict[str, Any]:
    """One letter, with its value from Kafka."""
    try:
        (row,) = ledger.letters([letter])
    except Fatal as error:
        raise HTTPException(HTTPStatus.NOT_FOUND, str(error)) from error
    if row.data_set not in seen.data_sets:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no dead letter {letter} that you may see")
    return row.to_json() | letters.value_of(row) | {"replay_by": MAINTENANCE if seen.may_replay else None}


@app.api_route("/{_:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def nothing_here(_: str) -> None:
    """Whatever else is asked for needs the same login."""
    raise HTTPException(HTTPStatus.NOT_FOUND, "the page has nothing at this address")
