"""Recent changes by formula: change `number` of a feed of `rate` changes a second is made `number / rate` s after 1970.

All that a change has follows from these two numbers, so that any moment can be replayed, and counted, without a memory.
The shapes are those of https://schema.wikimedia.org/repositories/primary/jsonschema/mediawiki/recentchange.
"""

from __future__ import annotations

import hashlib
import html
import itertools
import json
import re
import uuid
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote

from apps.replay_api.wikis import Wiki, wikis

MOST = 10_000
"""Changes a second of the fastest feed."""

_MS = 1000
_DRAWS = 1 << 16
_CANARIES = 0.003
_BARE_CANARIES = 0.001
"""Of all changes: those canaries that have nothing but `$schema` and `meta`."""
_OLD_SHAPES = 0.004
_STEPS_BACK = 0.02
_LONGEST_STEP_MS = 4
_TYPES = {"edit": 0.6, "categorize": 0.28, "log": 0.07, "new": 0.05}
_VARIANTS = 8
_BOTS = (0, 1, 2)
_TEMPORARY = 3
_DATA_CENTRE_MS = 600_000
"""How long a data centre is the active one, and which comes first in an id: all four ways come in turn."""


class Made(NamedTuple):
    """What is counted of a change: its id, its `meta.dt` in ms since the epoch, and whether it is a canary."""

    id: str
    time: int
    canary: bool


class _Drawn(NamedTuple):
    """A change as far as chance has it; `digest` has more of the same."""

    digest: bytes
    made_ms: int
    canary: bool
    bare: bool
    old_shape: bool


class Feed:
    """The changes of all wikis, `rate` a second."""

    def __init__(self, rate: int) -> None:
        self.rate = rate

    def first(self, ms: int) -> int:
        """The number of the first change that is made at `ms` since the epoch or later."""
        return -(-ms * self.rate // _MS)

    def moment(self, number: int) -> float:
        """When the change is sent, in seconds since the epoch."""
        return number / self.rate

    def made(self, number: int) -> Made:
        """What is counted of one change."""
        drawn = self._draw(number)
        return Made(_uuid(drawn.digest), drawn.made_ms, drawn.canary)

    def between(self, start_ms: int, end_ms: int, now_ms: int) -> Iterator[Made]:
        """All made by `now_ms` that have a `meta.dt` from `start_ms` until before `end_ms`, canaries included."""
        last = min(self.first(end_ms + _MS), self.first(now_ms))  # a `meta.dt` is at most 1 s older
        made = map(self.made, range(self.first(start_ms), last))
        return (each for each in made if start_ms <= each.time < end_ms)

    def frame(self, number: int) -> bytes:
        """The change as a server-sent event."""
        drawn = self._draw(number)
        sent_ms = number * _MS // self.rate if drawn.old_shape else drawn.made_ms
        return _frame(drawn, sent_ms, number)

    def canary(self, number: int) -> bytes:
        """A canary at the time of a change; its id is its own."""
        digest = hashlib.blake2b(b"canary %d %d" % (self.rate, number), digest_size=48).digest()
        ms = number * _MS // self.rate
        return _frame(_Drawn(digest, ms, canary=True, bare=bool(number % 2), old_shape=False), ms, number)

    def _draw(self, number: int) -> _Drawn:
        digest = hashlib.blake2b(b"%d %d" % (self.rate, number), digest_size=48).digest()
        chance = int.from_bytes(digest[32:34], "big") / _DRAWS
        ms = number * _MS // self.rate
        canary = chance < _CANARIES
        old_shape = _CANARIES <= chance < _CANARIES + _OLD_SHAPES
        if old_shape:
            ms -= ms % _MS
        elif _CANARIES + _OLD_SHAPES <= chance < _CANARIES + _OLD_SHAPES + _STEPS_BACK:
            ms -= 1 + digest[34] % _LONGEST_STEP_MS
        return _Drawn(digest, ms, canary, chance < _BARE_CANARIES, old_shape)


def _frame(drawn: _Drawn, sent_ms: int, number: int) -> bytes:
    digest, ms = drawn.digest, drawn.made_ms
    numbers = int.from_bytes(digest[40:48], "big")
    codfw_first, codfw = divmod(sent_ms // _DATA_CENTRE_MS % 4, 2)
    length = 200 + numbers % 60_000
    fields: dict[bytes, bytes | int] = {
        b"id": _uuid(digest).encode(),
        b"request": str(uuid.UUID(bytes=digest[16:32], version=4)).encode(),
        b"dt": _time(ms, whole=drawn.old_shape),
        b"topic": _TOPICS[codfw],
        b"offset": 6_585_030_966 + number,
        b"rc": 2_606_338_387 + number,
        b"seconds": ms // _MS - numbers % 3,
        b"page": numbers % 9_999_991,
        b"user": numbers % 99_991,
        b"revision": 2_527_191_287 + number,
        b"before": 2_527_191_287 + number - 1 - numbers % 100_000_000,
        b"length": length,
        b"length_before": length - digest[39] + 100,
        b"log": 29_154 + number,
    }
    return _ids(sent_ms + 1, codfw=codfw, codfw_first=codfw_first) + _template(drawn) % fields


_TOPICS = (b"eqiad.mediawiki.recentchange", b"codfw.mediawiki.recentchange")


def _ids(ms: int, *, codfw: int, codfw_first: int) -> bytes:
    """The frame up to its data. Its id has one entry per data centre, of which one is active."""
    active = b'{"topic":"%b","partition":0,"timestamp":%d}' % (_TOPICS[codfw], ms)
    idle = b'{"topic":"%b","partition":0,"offset":-1}' % _TOPICS[1 - codfw]
    first, second = (active, idle) if codfw == codfw_first else (idle, active)
    return b"event: message\nid: [%b,%b]\ndata: " % (first, second)


def _uuid(digest: bytes) -> str:
    text = digest[:16].hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def _time(ms: int, *, whole: bool) -> bytes:
    seconds, rest = divmod(ms, _MS)
    return _second(seconds) + (b"Z" if whole else b".%03dZ" % rest)


@lru_cache(maxsize=8)
def _second(seconds: int) -> bytes:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


def _template(drawn: _Drawn) -> bytes:
    if drawn.bare:
        return _bare_canary()
    digest = drawn.digest
    shape = "canary" if drawn.canary else "old" if drawn.old_shape else "new"
    position = _positions()[int.from_bytes(digest[36:38], "big")]
    return _written(position, _types()[digest[35]], digest[38] % _VARIANTS, shape)


@cache
def _positions() -> tuple[int, ...]:
    """For each draw the position of a wiki, each as often as its share has it and at least once."""
    counts = [max(1, round(wiki.share * _DRAWS)) for wiki in wikis()]
    counts[0] += _DRAWS - sum(counts)
    return tuple(position for position, count in enumerate(counts) for _ in range(count))


@cache
def _types() -> tuple[str, ...]:
    """For each of 256 draws a type."""
    limits = list(itertools.accumulate(_TYPES.values()))
    return tuple(list(_TYPES)[min(bisect(limits, draw / 256), len(limits) - 1)] for draw in range(256))


_NUMBER = "\ue000{}\ue002"
_TEXT = "\ue001{}\ue002"
"""Where a field of the change goes into a template: in place of a JSON number, or into a JSON string."""


def _number(name: str) -> str:
    return _NUMBER.format(name)


def _text(name: str) -> str:
    return _TEXT.format(name)


def _format(event: dict[str, Any]) -> bytes:
    """The end of a frame, with %-placeholders for the fields."""
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":")).replace("%", "%%")
    text = re.sub('"\ue000(\\w+)\ue002"', r"%(\1)d", text)
    text = re.sub("\ue001(id|request|dt|topic)\ue002", r"%(\1)b", text)
    return re.sub("\ue001(\\w+)\ue002", r"%(\1)d", text).encode() + b"\n\n"


def _meta(domain: str, uri: str) -> dict[str, Any]:
    return {
        "uri": uri,
        "request_id": _text("request"),
        "id": _text("id"),
        "domain": domain,
        "stream": "mediawiki.recentchange",
        "dt": _text("dt"),
        "topic": _text("topic"),
        "partition": 0,
        "offset": _number("offset"),
    }


@cache
def _bare_canary() -> bytes:
    return _format({"$schema": "/mediawiki/recentchange/1.0.1", "meta": _meta("canary", "https://placeholder.org/")})


@cache
def _written(position: int, type_: str, variant: int, shape: str) -> bytes:
    wiki = wikis()[position]
    event = _common(wiki, type_, variant) | _PARTS[type_](wiki, variant) | _server(wiki, type_)
    if shape == "canary":
        event["meta"]["domain"], event["wiki"] = "canary", "canarywiki"
    if shape == "old":
        for name in ("title_url", "notify_url"):
            event.pop(name, None)
    return _format({name: value for name, value in event.items() if value is not None})


def _title(wiki: Wiki, type_: str) -> str:
    if wiki.name == "wikidatawiki":
        return f"Q{_text('page')}"
    return f"{'Category:' if type_ == 'categorize' else ''}{wiki.title} {_text('page')}"


def _address(wiki: Wiki, type_: str) -> str:
    title = _title(wiki, type_).removesuffix(_text("page")).replace(" ", "_")
    return f"https://{wiki.domain}/wiki/{quote(title, safe=':/()')}{_text('page')}"


def _user(wiki: Wiki, variant: int) -> str:
    if variant in _BOTS:
        return f"{wiki.user.split()[0]}Bot"
    if variant == _TEMPORARY:
        return f"~2026-{_text('user')}-{10 + variant}"
    return f"{wiki.user} {_text('user')}"


def _comment(wiki: Wiki, type_: str) -> str:
    if type_ == "categorize":
        return f"[[:{wiki.title} {_text('page')}]] added to category, [[Special:WhatLinksHere/{wiki.title}]]"
    if wiki.name == "wikidatawiki":
        return f"/* wbsetclaim-create:2||1 */ [[Property:P{_text('user')}]]: [[Q{_text('page')}]]"
    return wiki.comment


def _common(wiki: Wiki, type_: str, variant: int) -> dict[str, Any]:
    address = _address(wiki, type_)
    return {
        "$schema": "/mediawiki/recentchange/1.0.0",
        "meta": _meta(wiki.domain, address),
        "id": _number("rc"),
        "type": type_,
        "namespace": 14 if type_ == "categorize" else 0,
        "title": _title(wiki, type_),
        "title_url": address,
        "comment": _comment(wiki, type_),
        "timestamp": _number("seconds"),
        "user": _user(wiki, variant),
        "bot": variant in _BOTS,
    }


def _server(wiki: Wiki, type_: str) -> dict[str, Any]:
    comment = html.escape(_comment(wiki, type_))
    link = f'<a href="{_address(wiki, type_)}" title="{html.escape(wiki.title)}">{html.escape(_title(wiki, type_))}</a>'
    return {
        "server_url": f"https://{wiki.domain}",
        "server_name": wiki.domain,
        "server_script_path": "/w",
        "wiki": wiki.name,
        "parsedcomment": f'<span dir="auto"><span class="autocomment">{link}: </span></span> {comment}',
    }


def _patrolled(wiki: Wiki, variant: int) -> dict[str, Any]:
    """Only some wikis patrol their changes."""
    return {"patrolled": variant in _BOTS} if len(wiki.name) % 3 == 0 else {}


def _edit(wiki: Wiki, variant: int) -> dict[str, Any]:
    return {
        "notify_url": f"https://{wiki.domain}/w/index.php?diff={_text('revision')}&oldid={_text('before')}",
        "minor": variant % 2 == 0,
        **_patrolled(wiki, variant),
        "length": {"old": _number("length_before"), "new": _number("length")},
        "revision": {"old": _number("before"), "new": _number("revision")},
    }


def _new(wiki: Wiki, variant: int) -> dict[str, Any]:
    return {
        "notify_url": f"https://{wiki.domain}/w/index.php?oldid={_text('revision')}&rcid={_text('rc')}",
        "minor": False,
        **_patrolled(wiki, variant),
        "length": {"new": _number("length")},
        "revision": {"new": _number("revision")},
    }


def _categorize(wiki: Wiki, _variant: int) -> dict[str, Any]:
    revision, recent = _text("revision"), _text("rc")
    return {"notify_url": f"https://{wiki.domain}/w/index.php?diff={revision}&oldid=0&rcid={recent}"}


def _log(wiki: Wiki, variant: int) -> dict[str, Any]:
    kind, action, params = _LOGS[variant]
    number = 0 if kind == "abusefilter" else _number("log")
    said = f"{wiki.user} {action} {_title(wiki, 'log')}: {wiki.comment}"
    entry = {"log_id": number, "log_type": kind, "log_action": action, "log_params": params, "log_action_comment": said}
    return {"id": None, **entry} if kind in _LOGS_WITHOUT_ID else entry


_LOGS: tuple[tuple[str, str, Any], ...] = (
    ("move", "move", {"target": _text("page"), "noredir": "0"}),
    ("delete", "delete", []),
    ("thanks", "thank", []),
    ("abusefilter", "hit", {"action": "edit", "filter": 38, "actions": "tag", "log": _number("log")}),
    ("upload", "upload", {"img_sha1": "phoiac9h4m842xq45sp7s6u21eteeq1", "img_timestamp": "20261122T154500Z"}),
    ("block", "block", {"duration": "31 hours", "flags": ["nocreate"], "sitewide": True}),
    ("patrol", "autopatrol", {"curid": _number("revision"), "previd": 0, "auto": 1}),
    ("newusers", "create", {"userid": _number("user")}),
)
_LOGS_WITHOUT_ID = ("thanks", "abusefilter")

_PARTS: Mapping[str, Callable[[Wiki, int], dict[str, Any]]] = {
    "edit": _edit,
    "new": _new,
    "categorize": _categorize,
    "log": _log,
}
