from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import requests

from tests.replay import serve

NOW = datetime(2026, 11, 22, 7, 30, tzinfo=UTC)


@pytest.fixture(scope="session")
def replay_server() -> Iterator[str]:
    """The base URL of a replay API whose clock stands at NOW."""
    with serve(NOW) as base:
        yield base


@pytest.fixture
def replay(replay_server: str) -> str:
    """The same, its clock at NOW again, without faults and with nothing counted."""
    for control in ("faults", "requests"):
        requests.delete(f"{replay_server}/{control}", timeout=10).raise_for_status()
    requests.post(f"{replay_server}/clock", json={"now": NOW.isoformat()}, timeout=10).raise_for_status()
    return replay_server
