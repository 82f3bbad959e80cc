"""The HTTP side of a program that does its work elsewhere: `/healthz`, `/metrics`, and answers in JSON."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, urlsplit

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest


class Health(NamedTuple):
    """200: in order. 503: something that it needs is away, or full. 500: it does not get on itself."""

    status: HTTPStatus
    detail: Mapping[str, Any]


class BadQuestion(Exception):
    """A request that cannot be answered; the message says why, in one sentence."""


Answer: TypeAlias = Callable[[Mapping[str, str]], Any]
"""From the parameters of a GET to what becomes JSON. Raises BadQuestion."""


@contextmanager
def status_server(
    host: str,
    port: int,
    health: Callable[[], Health],
    registry: CollectorRegistry,
    answers: Mapping[str, Answer] | None = None,
) -> Iterator[int]:
    """Serve during the block, in threads, and yield the port: a free one where `port` is 0."""
    routes = dict(answers or {})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            if address.path == "/metrics":
                self._send(HTTPStatus.OK, generate_latest(registry), CONTENT_TYPE_LATEST)
            elif address.path == "/healthz":
                found = health()
                self._send_json(found.status, {"status": found.status.phrase, **found.detail})
            elif answer := routes.get(address.path):
                self._answer(answer, dict(parse_qsl(address.query)))
            else:
                known = ", ".join(["/healthz", "/metrics", *routes])
                self._send_json(HTTPStatus.NOT_FOUND, {"detail": f"there is no {address.path}; there are {known}"})

        def _answer(self, answer: Answer, question: Mapping[str, str]) -> None:
            try:
                self._send_json(HTTPStatus.OK, answer(question))
            except BadQuestion as error:
                self._send_json(HTTPStatus.BAD_REQUEST, {"detail": str(error)})

        def _send_json(self, status: HTTPStatus, body: Any) -> None:
            self._send(status, json.dumps(body).encode(), "application/json")

        def _send(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """A line a request would fill the log with health checks."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="status", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
