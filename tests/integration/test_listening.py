"""Who can reach the local stack's servers."""

from __future__ import annotations

import ipaddress
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.integration


def test_servers_listen_to_this_machine_alone(stack: Any) -> None:
    states = stack.context.supervisor.states()
    listening: dict[str, set[str]] = {}
    for name, state in states.items():
        if not state["pid"]:
            continue
        server = psutil.Process(state["pid"])
        for process in (server, *server.children(recursive=True)):
            for connection in process.net_connections():
                if connection.status == psutil.CONN_LISTEN:
                    listening.setdefault(name, set()).add(connection.laddr.ip)
    assert {"kafka", "postgres", "airflow-api-server", "airflow-log-server"} <= listening.keys()
    assert {name: found for name, found in listening.items() if not all(map(_is_loopback, found))} == {}


def _is_loopback(address: str) -> bool:
    found = ipaddress.ip_address(address)
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback
