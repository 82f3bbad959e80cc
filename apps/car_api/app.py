"""Car sales over HTTP: the ledger's by interval or as a stream, and others' into Kafka.

A sale takes place every 2 seconds while the branches are open, which is in the first 5 minutes of every quarter of an
hour. Two readers of one interval always see the same sales.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from importlib.resources import files
from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.requests import ClientDisconnect

from apps.car_api.docs import add_docs
from apps.car_api.interval import LONGEST, MOST, BadQuestion, Question
from apps.car_api.models import Accepted, Health, Problem, Refused, page_model, transaction_model
from apps.car_api.posted import Desk, Messages, Refusal
from apps.car_api.stream import Stream
from penstock.core.contract import Contract
from penstock.core.errors import Fatal, Retry
from penstock.kafka.courier import Courier

LARGEST_BODY = 32 << 20
"""Bytes of a posted body: about 130,000 transactions."""

AT_ONCE = 4
"""Bodies that are held in memory at once."""

_TURN_SECONDS = 10.0
_BODY_SECONDS = 30.0
_RETRY_AFTER = {"Retry-After": "5"}

_PAGE = files("apps.car_api").joinpath("page.html").read_text(encoding="utf-8")
_PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"
)

_NOT_GRANTED: dict[int | str, dict[str, Any]] = {400: {"model": Problem, "description": "The question is wrong."}}
_NOT_TAKEN: dict[int | str, dict[str, Any]] = {
    400: {"model": Refused, "description": "Nothing was sent: some of it breaks the contract."},
    408: {"model": Problem, "description": "The body came too slowly."},
    413: {"model": Problem, "description": f"The body has more than {LARGEST_BODY >> 20} MiB: send several."},
    500: {"model": Problem, "description": "Kafka refuses; a person must act."},
    503: {"model": Problem, "description": "Kafka is away, or there is too much to do: send the same again later."},
}


class Declined(Exception):
    """The answer to a request that is not granted."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.response = JSONResponse({"detail": detail, **more}, status, headers)


def _utc_now() -> datetime:
    return datetime.now(UTC)


def create_app(contract: Contract, courier: Courier, now: Callable[[], datetime] = _utc_now) -> FastAPI:
    """The app. It opens and closes `courier`; `app.state.stopping` is to be set when the server is told to stop."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with courier:
            yield

    app = FastAPI(title="Car API", description=__doc__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.stopping = asyncio.Event()

    @app.exception_handler(Declined)
    async def declined(_request: Request, error: Declined) -> Response:
        return error.response

    add_docs(app)
    _add_ledger(app, contract, now)
    _add_post(app, contract, courier)
    _add_health(app, courier)
    return app


def _add_ledger(app: FastAPI, contract: Contract, now: Callable[[], datetime]) -> None:
    transaction = transaction_model(contract, "CarTransaction")

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    def page() -> HTMLResponse:
        return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _PAGE_POLICY})

    @app.get(
        "/api/car_transactions",
        response_model=page_model(transaction),
        responses=_NOT_GRANTED,
        summary="The transactions of an interval that is over",
    )
    def car_transactions(
        start: Annotated[
            str | None, Query(alias="from", description="When it begins, in ISO 8601 with its UTC offset; included.")
        ] = None,
        to: Annotated[
            str | None, Query(description=f"When it ends; not included. At most {LONGEST.days} days later.")
        ] = None,
        after: Annotated[str | None, Query(description="Only transactions with a greater id: a page's `next`.")] = None,
        limit: Annotated[str | None, Query(description=f"Transactions of one page, at most {MOST}.")] = None,
    ) -> Response:
        try:
            question = Question.parse(start, to, after, limit, now())
        except BadQuestion as error:
            raise Declined(400, str(error)) from None
        return Response(msgspec.json.encode(question.answer()), media_type="application/json")

    @app.get(
        "/api/stream_car_transactions",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}, "description": "Server-sent events."}, **_NOT_GRANTED},
        summary="The transactions as they happen",
    )
    async def stream_car_transactions(
        last_event_id: Annotated[
            str | None, Header(description="The id of the last event that came: those since then, up to a day, follow.")
        ] = None,
    ) -> StreamingResponse:
        """Each event's id is its transaction's, its data the transaction as JSON. Comments fill the quiet times."""
        try:
            stream = Stream(last_event_id, now, app.state.stopping)
        except BadQuestion as error:
            raise Declined(400, str(error)) from None
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(stream.frames(), media_type="text/event-stream", headers=headers)


def _add_post(app: FastAPI, contract: Contract, courier: Courier) -> None:
    desk = Desk(contract)
    slots = asyncio.Semaphore(AT_ONCE)
    posted = transaction_model(contract, "PostedTransaction", posted=True).model_json_schema()
    described = {
        "required": True,
        "content": {
            "application/json": {"schema": {"oneOf": [posted, {"type": "array", "items": posted}]}},
            "application/x-ndjson": {"schema": {"type": "string", "description": "One transaction a line."}},
        },
    }

    @app.post(
        "/api/logs",
        status_code=202,
        response_model=Accepted,
        responses=_NOT_TAKEN,
        openapi_extra={"requestBody": described},
        summary="Send transactions to the topic, all of them or none",
    )
    async def logs(request: Request) -> Accepted:
        """Answers once Kafka has acknowledged every transaction. After a 503, send the same again: ids make it safe."""
        async with AsyncExitStack() as held:
            await _turn(held, slots)
            body = await _body(request)
            messages = await run_in_threadpool(_taken, desk, body)
            await run_in_threadpool(_sent, courier, messages)
        return Accepted(accepted=len(messages.values))


async def _turn(held: AsyncExitStack, slots: asyncio.Semaphore) -> None:
    """Wait for one of the slots, and hold it."""
    try:
        await asyncio.wait_for(slots.acquire(), _TURN_SECONDS)
    except TimeoutError:
        raise Declined(503, "too much is being posted at once: send the same again later", _RETRY_AFTER) from None
    held.callback(slots.release)


async def _body(request: Request) -> bytes:
    """The whole body, within bounds of size and time."""
    too_large = Declined(413, f"the body has more than {LARGEST_BODY} bytes: send it in parts")
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > LARGEST_BODY:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > LARGEST_BODY:
                    raise too_large
    except ClientDisconnect:
        raise Declined(400, "the connection ended before the body did, so nothing was sent") from None
    except TimeoutError:
        raise Declined(408, f"the body did not come within {_BODY_SECONDS:g} s, so nothing was sent") from None
    return bytes(body)


def _taken(desk: Desk, body: bytes) -> Messages:
    try:
        return desk.take(body)
    except Refusal as refusal:
        records = [each._asdict() for each in refusal.records]
        raise Declined(400, str(refusal), records=records) from None


def _sent(courier: Courier, messages: Messages) -> None:
    try:
        courier.send(*messages)
    except Retry as error:
        raise Declined(503, f"{error} Send the same again later.", _RETRY_AFTER) from None
    except Fatal as error:
        raise Declined(500, str(error)) from None


def _add_health(app: FastAPI, courier: Courier) -> None:
    @app.get("/livez", summary="Whether the API itself answers")
    def live() -> Health:
        return Health(status="ok", kafka="not asked")

    @app.get(
        "/healthz",
        response_model=Health,
        responses={503: {"model": Health, "description": "Kafka is away: only `/api/logs` is out of order."}},
        summary="Whether the API and the Kafka behind it answer",
    )
    def health() -> Response:
        try:
            courier.check()
        except (Retry, Fatal) as error:
            return JSONResponse({"status": "degraded", "kafka": str(error)}, 503)
        return JSONResponse({"status": "ok", "kafka": "reachable"})
