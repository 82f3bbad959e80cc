"""What was spooled of the replay server's recent changes, held against the formula they follow."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from apps.replay_api.changes import Feed

PATH = "/v2/stream/recentchange"


def fault(base: str, kind: str, *, seconds: float = 0.0, times: int = 1) -> None:
    """Switch a fault of the replayed stream on."""
    body = {"kind": kind, "path": PATH, "seconds": seconds, "times": times}
    requests.post(f"{base}/faults", json=body, timeout=10).raise_for_status()


def spooled(folder: Path) -> list[bytes]:
    """The lines of the finished files, in their order."""
    return [line for file in sorted(folder.glob("*.jsonl")) for line in file.read_bytes().splitlines()]


def ids(lines: list[bytes]) -> list[str]:
    """Their meta.id, without those that have none."""
    return list(_ids(lines))


def _ids(lines: list[bytes]) -> Iterator[str]:
    for line in lines:
        try:
            event: Any = json.loads(line)
            yield event["meta"]["id"]
        except (ValueError, KeyError):
            continue


def numbers(lines: list[bytes], feed: Feed) -> list[int]:
    """The numbers of the changes in the feed."""
    found = []
    for line in lines:
        event = json.loads(line)
        offset = event["meta"]["offset"]
        number = offset - 6_585_030_966
        assert feed.frame(number).endswith(b"data: " + line + b"\n\n"), "the line is not as it was sent"
        found.append(number)
    return found


def missing_and_repeated(lines: list[bytes], feed: Feed) -> tuple[list[int], int]:
    """The numbers between the first and the last that are not there, canaries aside, and how many came again."""
    counted = Counter(numbers(lines, feed))
    sent = (each for each in range(min(counted), max(counted) + 1) if not feed.made(each).canary)
    return [each for each in sent if each not in counted], counted.total() - len(counted)
