"""The HTTP side of the replay API: the paths of Open-Meteo and Data USA, and a few more for tests and for people.

`/v1/dwd-icon` and `/v1/forecast` have the recent days and the forecast, `/historical-forecast/v1/forecast` the days
since 2021, `/archive/v1/archive` those since 1940. `/datausa/tesseract/data.jsonrecords` has the population as Data USA
gives it now, `/datausa/api/data` as it did before 2026. `/v2/stream/recentchange` has Wikimedia's recent changes as
they happen, and `/v2/stream/recentchange/sent` their count. The header `X-Replay-Fault` spoils one answer, `/faults`
the next ones, `/clock` sets what the hosts take for now, `/requests` counts what was asked.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any, Literal

from fastapi import FastAPI, HTTPException, Request, Response
from pydantic import AwareDatetime, BaseModel, Field

from apps.replay_api import datausa, recentchange
from apps.replay_api.answer import bodies
from apps.replay_api.faults import REQUEST_KINDS, Fault, Faults, Kind, error, instead, spoil
from apps.replay_api.query import BadRequest, Query, Window
from apps.replay_api.variables import DAILY, HOURLY
from penstock.core import settings
from penstock.core.contract import Contract

FAULT_HEADER = "X-Replay-Fault"

KNOWN = {"hourly": HOURLY.keys(), "daily": DAILY.keys()}

FORECAST = Window(first=-92, last=16)
HISTORICAL_FORECAST = Window(first=date(2021, 1, 1), last=16)
ARCHIVE = Window(first=date(1940, 1, 1), last=-1)

HOSTS: Mapping[str, Window] = {
    "/v1/dwd-icon": FORECAST,
    "/v1/forecast": FORECAST,
    "/historical-forecast/v1/forecast": HISTORICAL_FORECAST,
    "/archive/v1/archive": ARCHIVE,
    "/v1/archive": ARCHIVE,
}


class FaultRequest(BaseModel):
    """A fault to switch on: it hits the next `times` requests to paths that begin with `path`.

    `seconds` is how long `slow` takes, or a fault of a stream.
    """

    kind: Kind
    times: int = Field(default=1, ge=1)
    seconds: float = Field(default=5.0, ge=0)
    path: str = "/"


class ClockRequest(BaseModel):
    """The time that the hosts take for now."""

    now: AwareDatetime


class State:
    """What the app remembers between requests."""

    def __init__(self, contracts: Mapping[str, Contract], now: datetime | None) -> None:
        self.contracts = contracts
        self.faults = Faults()
        self._lock = threading.Lock()
        self._now = now
        self._requests: Counter[tuple[str, int]] = Counter()
        self._errors = 0

    def now(self) -> datetime:
        """The time that was set, or the machine's, in UTC."""
        return self._now or datetime.now(UTC)

    def set_clock(self, now: datetime | None) -> None:
        """Stop the clock at `now`, or let it go again."""
        self._now = now.astimezone(UTC) if now else None

    def turn(self) -> bool:
        """Every other time true: the key order of the next error."""
        with self._lock:
            self._errors += 1
            return self._errors % 2 == 0

    def count(self, path: str, status: int) -> None:
        """Note one answered request."""
        with self._lock:
            self._requests[path, status] += 1

    def counts(self) -> dict[str, Any]:
        """The requests since the start or the last `forget`."""
        with self._lock:
            counted = dict(self._requests)
        by_path: Counter[str] = Counter()
        by_status: Counter[int] = Counter()
        for (path, status), number in counted.items():
            by_path[path] += number
            by_status[status] += number
        return {"total": sum(counted.values()), "by_path": by_path, "by_status": by_status}

    def forget(self) -> None:
        """Count from 0 again."""
        with self._lock:
            self._requests.clear()


def create_app(now: datetime | None = None) -> FastAPI:
    """The app; with `now` its clock stands still."""
    contracts = {
        block: Contract.load(settings.INCLUDE / "avro" / f"{block}metrics.avsc") for block in ("hourly", "daily")
    }
    state = State(contracts, now)
    app = FastAPI(title="Replay API", description=__doc__)
    app.state.replay = state
    app.state.stopping = asyncio.Event()
    for path, window in HOSTS.items():
        _add_host(app, path, window, state)
    for path, body in datausa.PATHS.items():
        _add_population(app, path, body, state)
    recentchange.add_recent_changes(app, state.faults, lambda request: _refused_stream(request, state))
    _add_controls(app, state)
    return app


def _add_host(app: FastAPI, path: str, window: Window, state: State) -> None:
    @app.get(path, summary="Weather in the shape of Open-Meteo")
    def weather(request: Request) -> Response:
        return _answered(request, state, lambda fault: _weather(request, window, state, fault))


def _add_population(app: FastAPI, path: str, body: Callable[[], datausa.Body], state: State) -> None:
    @app.get(path, summary="Population in the shape of Data USA")
    def population(request: Request) -> Response:
        return _answered(request, state, lambda fault: _population(request, body, fault))


def _answered(request: Request, state: State, answer: Callable[[Fault | None], Response]) -> Response:
    """The answer, or what a fault makes of it, counted."""
    fault = _fault_of(request, state)
    if fault and fault.kind is Kind.SLOW:
        time.sleep(fault.seconds)
    response = (instead(fault.kind, reason_first=state.turn()) if fault else None) or answer(fault)
    state.count(request.url.path, response.status_code)
    return response


def _refused_stream(request: Request, state: State) -> Response | None:
    fault = _fault_of(request, state)
    refusal = instead(fault.kind, reason_first=state.turn()) if fault else None
    state.count(request.url.path, refusal.status_code if refusal else 200)
    return refusal


def _fault_of(request: Request, state: State) -> Fault | None:
    named = request.headers.get(FAULT_HEADER)
    if named is None:
        return state.faults.next(request.url.path)
    if named not in REQUEST_KINDS:
        raise HTTPException(422, f"{FAULT_HEADER} {named!r} is none of {', '.join(sorted(REQUEST_KINDS))}")
    return Fault(Kind(named))


def _population(request: Request, body: Callable[[], datausa.Body], fault: Fault | None) -> Response:
    if not datausa.asks_for_population(request.query_params):
        return Response('{"detail":"Only Population by Nation and Year is here"}', 400, media_type="application/json")
    text = datausa.written(body(), fault.kind if fault else None)
    return Response(text, media_type="application/json; charset=utf-8")


def _weather(request: Request, window: Window, state: State, fault: Fault | None) -> Response:
    now = state.now()
    try:
        query = Query.parse(request.query_params, window, KNOWN, now)
        places = list(bodies(query, state.contracts, now))
    except BadRequest as refusal:
        return error(400, str(refusal), reason_first=state.turn())
    body = places[0] if len(places) == 1 else f"[{','.join(places)}]"
    return Response(spoil(fault.kind, body) if fault else body, media_type="application/json; charset=utf-8")


def _add_controls(app: FastAPI, state: State) -> None:
    @app.get("/healthz", summary="Ready to answer")
    def health() -> dict[Literal["status"], str]:
        return {"status": "ok"}

    @app.get("/faults", summary="The faults that are on")
    def faults() -> list[dict[str, Any]]:
        return [asdict(fault) for fault in state.faults.pending()]

    @app.post("/faults", status_code=201, summary="Switch a fault on")
    def add_fault(fault: FaultRequest) -> dict[str, Any]:
        added = Fault(fault.kind, fault.times, fault.seconds, fault.path)
        answer = asdict(added)
        state.faults.add(added)
        return answer

    @app.delete("/faults", status_code=204, summary="Switch all faults off")
    def clear_faults() -> None:
        state.faults.clear()

    @app.get("/clock", summary="What the hosts take for now")
    def clock() -> dict[Literal["now"], datetime]:
        return {"now": state.now()}

    @app.post("/clock", summary="Stop the clock at a time")
    def set_clock(clock: ClockRequest) -> dict[Literal["now"], datetime]:
        state.set_clock(clock.now)
        return {"now": state.now()}

    @app.delete("/clock", status_code=204, summary="Let the clock go again")
    def reset_clock() -> None:
        state.set_clock(None)

    @app.get("/requests", summary="How many requests were answered, by path and by status")
    def requests() -> dict[str, Any]:
        return state.counts()

    @app.delete("/requests", status_code=204, summary="Count from 0 again")
    def forget_requests() -> None:
        state.forget()
