"""InfluxDB's HTTP interface: synchronous writes of line protocol, and InfluxQL queries whose answers are streamed.

Every failure is named by what to do next. A server that is away, or asks to be left alone, is waited for.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

import requests

from penstock.core import settings
from penstock.core.errors import Fatal, Retry
from penstock.sinks.patience import outlast

Answer = TypeVar("Answer")

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 30.0
_QUESTION_SECONDS = 300.0  # InfluxDB 2.7 counts a million points in about a second, and is silent meanwhile
_CHUNK_POINTS = 10_000
_CHUNK_BYTES = 1 << 16
_EXCERPT = 500

_REFUSED_CONTENT = {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
_TRANSIENT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}

_PARTIAL_WRITE = re.compile(r"partial write: (.*?)(?: dropped=\d+)?$", re.DOTALL)


@dataclass(frozen=True)
class Series:
    """A part of a query's answer: rows of `columns`, all with these tags, from the statement with this number."""

    statement: int
    tags: Mapping[str, str]
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


class InfluxHttp:
    """One bucket, over one kept-alive connection; not for several threads at once.

    `patience` is how long the server may be away, and `question` how long it may be silent over a query, both in
    seconds. With `compress`, bodies are sent as gzip, which pays where the network is slow: on a fast one it costs more
    than it saves.
    """

    def __init__(
        self, where: settings.Influx, *, patience: float, question: float = _QUESTION_SECONDS, compress: bool = False
    ) -> None:
        self._where = where
        self._patience = patience
        self._question = question
        self._compress = compress
        self._connecting = min(_CONNECT_SECONDS, patience)
        self._answering = min(_ANSWER_SECONDS, patience)
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy and no .netrc between us and a server of our own
        self._session.headers.update({"Authorization": f"Token {where.token}", "Accept-Encoding": "identity"})

    def __repr__(self) -> str:
        return f"InfluxHttp({self._where!r})"

    @property
    def _server(self) -> str:
        return f"InfluxDB at {self._where.url}"

    def close(self) -> None:
        """Let go of the connection."""
        self._session.close()

    def write(self, lines: bytes) -> str | None:
        """Write lines with times in ns; why InfluxDB refuses some of them for their content, or None where it took all.

        What it refuses with a partial write, it refuses line by line: the others are written. Raises Retry where the
        server stays away, Fatal where it refuses the token or the bucket.
        """
        body, headers = lines, {"Content-Type": "text/plain; charset=utf-8"}
        if self._compress:
            body, headers = _gzipped(lines), headers | {"Content-Encoding": "gzip"}

        def attempt() -> str | None:
            where = self._where
            response = self._send(
                "/api/v2/write",
                self._answering,
                params={"org": where.org, "bucket": where.bucket, "precision": "ns"},
                data=body,
                headers=headers,
            )
            if response.status_code == HTTPStatus.NO_CONTENT:
                return None
            if response.status_code in _REFUSED_CONTENT:
                return _refusal(_message(response))
            raise self._failure(response)

        return outlast(self._patience, attempt)

    def ask(self, query: str, read: Callable[[Iterator[Series]], Answer]) -> Answer:
        """What `read` makes of the answer to InfluxQL `query`, its times in ns since the epoch.

        InfluxQL and not Flux: InfluxDB 2.7 compares and counts a field's values where they are stored for it, and
        takes all of them out for Flux. The answer is streamed; where it breaks off, the query is sent again and `read`
        starts anew.
        """

        def attempt() -> Answer:
            parameters = {
                "db": self._where.bucket,
                "q": query,
                "epoch": "ns",
                "chunked": "true",
                "chunk_size": str(_CHUNK_POINTS),
            }
            response = self._send("/query", self._question, data=parameters, stream=True)
            with response:
                if response.status_code != HTTPStatus.OK:
                    raise self._failure(response)
                return read(self._series(response))

        return outlast(self._patience, attempt)

    def _send(self, path: str, answering: float, **request: Any) -> requests.Response:
        timeout = (self._connecting, answering)
        try:
            return self._session.post(self._where.url + path, timeout=timeout, allow_redirects=False, **request)
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema):
            raise Fatal(f"INFLUXDB_URL is {self._where.url!r}, which is no http address") from None
        except requests.RequestException as error:
            raise self._away(error) from error

    def _series(self, response: requests.Response) -> Iterator[Series]:
        try:
            for line in response.iter_lines(_CHUNK_BYTES, delimiter=b"\n"):
                if line:
                    yield from self._parsed(json.loads(line))
        except requests.RequestException as error:
            raise self._away(error) from error
        except ValueError as error:
            raise Retry(f"{self._server} broke off its answer to a query") from error

    def _parsed(self, answer: Mapping[str, Any]) -> Iterator[Series]:
        results = answer.get("results", [])
        said = answer.get("error") or next((each["error"] for each in results if "error" in each), None)
        if said and said.startswith("database not found"):
            raise Fatal(f"{self._server} lets INFLUXDB_TOKEN read no bucket {self._where.bucket}: check both")
        if said:
            raise Retry(f"{self._server} failed while it answered a query: {said[:_EXCERPT]}")
        for result in results:
            for each in result.get("series", ()):
                yield Series(result["statement_id"], each.get("tags", {}), each["columns"], each.get("values", ()))

    def _away(self, error: requests.RequestException) -> Retry:
        if isinstance(error, requests.Timeout):
            return Retry(f"{self._server} did not answer in time")
        return Retry(f"{self._server} cannot be reached, or broke off its answer: {_root(error)}")

    def _failure(self, response: requests.Response) -> Retry | Fatal:
        status, said, where = response.status_code, _message(response), self._where
        if status in _TRANSIENT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return Retry(f"{self._server} failed (HTTP {status}): {said}", retry_after=_retry_after(response))
        if status == HTTPStatus.UNAUTHORIZED:
            return Fatal(f"{self._server} does not know INFLUXDB_TOKEN: {said}")
        if status == HTTPStatus.FORBIDDEN:
            return Fatal(f"{self._server} refuses INFLUXDB_TOKEN the bucket {where.bucket}: {said}")
        if status == HTTPStatus.NOT_FOUND:
            return Fatal(
                f"{self._server} has no bucket {where.bucket} of the organisation {where.org}: {said}; "
                "check INFLUXDB_BUCKET and INFLUXDB_ORG"
            )
        return Fatal(f"{self._server} refuses the request (HTTP {status}): {said}")


def quoted(name: str) -> str:
    """A name as InfluxQL's identifier."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _gzipped(body: bytes) -> bytes:
    """At the lowest level: the higher ones save little more and take much longer."""
    compressor = zlib.compressobj(1, wbits=zlib.MAX_WBITS | 16)
    return compressor.compress(body) + compressor.flush()


def _message(response: requests.Response) -> str:
    """The answer's `message` or `error`, or the beginning of an answer that has none."""
    try:
        body = json.loads(response.content)
    except ValueError:
        body = None
    said = (body.get("message") or body.get("error")) if isinstance(body, dict) else None
    return said if isinstance(said, str) else response.text[:_EXCERPT] or response.reason


def _refusal(message: str) -> str:
    """Why, without a repetition of the line."""
    if partial := _PARTIAL_WRITE.search(message):
        return partial[1][:_EXCERPT]
    return message.rpartition("': ")[2][:_EXCERPT]


def _retry_after(response: requests.Response) -> float | None:
    """The seconds of a Retry-After header; its other form, a date, is none of InfluxDB's."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None


def _root(error: BaseException) -> str:
    """The kind of the innermost error, with the system's own words where it has some."""
    seen = error
    while (inner := seen.__cause__ or seen.__context__) is not None:
        seen = inner
    detail = getattr(seen, "strerror", None)
    return f"{type(seen).__name__}: {detail}" if detail else type(seen).__name__
