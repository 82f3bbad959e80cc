"""The feed's side of HTTP: who we say we are, and what its answers mean."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from importlib.metadata import version
from urllib.parse import urlsplit

import httpx
from httpx_sse import ServerSentEvent, SSEError, aconnect_sse

from penstock.core.errors import Fatal, Retry

_NAME = "penstock-recentchange-collector"
_WIKIMEDIA = "wikimedia.org"

_CONNECT_SECONDS = 10.0
_LONGEST_BACK_OFF = 60.0
_LONGEST_RETRY_AFTER = 3_600.0
_EXCERPT = 200
_TRANSIENT = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


class TooOld(Exception):
    """The feed does not resume from the id: it no longer has what came after it. The message is the feed's."""


def user_agent(url: str, contact: str) -> str:
    """Raises Fatal where the feed is Wikimedia's and has no contact, or the contact is none.

    https://foundation.wikimedia.org/wiki/Policy:Wikimedia_Foundation_User-Agent_Policy
    """
    name = f"{_NAME}/{version('penstock')}"
    if contact:
        return f"{name} ({_checked(contact)})"
    host = _host(url)
    if host == _WIKIMEDIA or host.endswith(f".{_WIKIMEDIA}"):
        raise Fatal(
            f"{host} asks for a contact: set WIKI_USER_AGENT_CONTACT to a URL or e-mail address at which its operators "
            "reach you"
        )
    return name


def _host(url: str) -> str:
    address = urlsplit(url)
    if address.scheme not in {"http", "https"} or not address.hostname:
        raise Fatal(f"RECENTCHANGE_URL is {url!r}, not an http address")
    return address.hostname.lower().rstrip(".")


def _checked(contact: str) -> str:
    looks_right = contact.startswith(("http://", "https://")) or "@" in contact.strip("@")
    if not (looks_right and contact.isascii() and contact.isprintable() and not set(contact) & set("() ")):
        raise Fatal(f"WIKI_USER_AGENT_CONTACT is {contact!r}, neither a URL nor an e-mail address")
    return contact


def back_off(failures: int) -> float:
    """Seconds to wait after so many failures in a row: exponential, with jitter; up to 1 s where there was none."""
    longest = min(_LONGEST_BACK_OFF, 2.0**failures)
    return random.uniform(longest / 2 if failures else 0.0, longest)


class Feed:
    """The feed at `url`. Use `client` for its requests; one that is silent for `idle_seconds` is given up."""

    def __init__(self, url: str, contact: str, idle_seconds: float) -> None:
        """Raises Fatal as `user_agent` does."""
        self._url = url
        self._agent = user_agent(url, contact)
        self._idle_seconds = idle_seconds
        self.name = _host(url)

    def client(self) -> httpx.AsyncClient:
        """A client that says who we are. It follows no redirects: the feed's address is to be set as it is."""
        timeout = httpx.Timeout(_CONNECT_SECONDS, read=self._idle_seconds)
        return httpx.AsyncClient(timeout=timeout, headers={"User-Agent": self._agent})

    @asynccontextmanager
    async def events(
        self, client: httpx.AsyncClient, last_id: str | None
    ) -> AsyncIterator[AsyncGenerator[ServerSentEvent]]:
        """The events after `last_id`, or from now on.

        Raises TooOld, Retry where the feed is away, silent or asks to wait, and Fatal where it refuses.
        """
        headers = {"Last-Event-ID": last_id} if last_id else {}
        try:
            async with aconnect_sse(client, "GET", self._url, headers=headers) as source:
                await self._judge(source.response, resumed=last_id is not None)
                yield source.aiter_sse()
        except httpx.ReadTimeout:
            raise Retry(f"{self.name} has sent nothing for {self._idle_seconds:g} s") from None
        except httpx.TransportError as error:
            raise Retry(f"{self.name} cannot be reached or broke off: {type(error).__name__}: {error}") from None
        except SSEError as error:
            raise Retry(f"{self.name} does not send events: {error}") from None

    async def _judge(self, response: httpx.Response, *, resumed: bool) -> None:
        status = response.status_code
        if status == HTTPStatus.OK:
            return
        said = f"{self.name} answers HTTP {status}: {await _excerpt(response)}"
        if status == HTTPStatus.BAD_REQUEST and resumed:
            raise TooOld(said)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _TRANSIENT:
            raise Retry(said, retry_after=_retry_after(response))
        raise Fatal(f"{said}: check RECENTCHANGE_URL, and WIKI_USER_AGENT_CONTACT")


async def _excerpt(response: httpx.Response) -> str:
    """The beginning of a body, on one line."""
    async for chunk in response.aiter_bytes(_EXCERPT):
        return " ".join(chunk.decode(errors="replace").split())
    return response.reason_phrase or "no reason given"


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds, of either form of the header."""
    value = response.headers.get("Retry-After", "")
    if value.isdecimal():
        return min(float(value), _LONGEST_RETRY_AFTER)
    try:
        wait = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(max(wait, 0.0), _LONGEST_RETRY_AFTER)
