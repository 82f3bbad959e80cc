"""Where the local stack keeps its files, and which ports it listens on."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path

from penstock.core.errors import Fatal
from penstock.core.settings import PROJECT, raw_copy_port, raw_copy_ports_file

DEFAULT_PORTS: Mapping[str, int] = {
    "airflow": 8080,
    "airflow_log": 8793,
    "airflow_scheduler_health": 8974,
    "alertmanager": 9095,
    "car_api": 8091,
    "cassandra": 9042,
    "cassandra_jmx": 7199,
    "cassandra_metrics": 7072,
    "cassandra_storage": 7000,
    "flume_cars_hdfs": 21416,
    "flume_events_hdfs": 21420,
    "flume_events_tail": 21419,
    "flume_pop_hdfs": 21415,
    "flume_pop_spool": 21414,
    "flume_wiki_hdfs": 21418,
    "flume_wiki_spool": 21417,
    "hdfs": 8020,
    "hdfs_data": 9866,
    "hdfs_data_http": 9864,
    "hdfs_data_ipc": 9867,
    "hdfs_http": 9870,
    "influxdb": 8086,
    "kafka": 9092,
    "kafka_controller": 9093,
    "kafka_lag_exporter": 9308,
    "kafka_metrics": 7071,
    "penstock_exporter": 9309,
    "postgres": 5433,
    "price_consumer_1": 8101,
    "price_consumer_2": 8102,
    "price_consumer_3": 8103,
    "price_consumer_4": 8104,
    "prometheus": 9090,
    "recentchange_collector": 8092,
    "registry": 8081,
    "registry_management": 9002,
    "replay": 8090,
    "statsd": 9125,
    "statsd_exporter": 9102,
    "supervisor": 9001,
    "web_event_producer": 8093,
}
"""One name a listener. `PENSTOCK_PORT_<NAME>` moves one, `PENSTOCK_PORTS=free` moves all to free ones.

All are below 32768, from where on Linux gives ports to outgoing connections.
"""


_LAST_PORT = 65535


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback interface now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """`count` different ports that nothing listens on now."""
    probes = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@dataclass(frozen=True)
class Layout:
    """The folders of one instance of the stack.

    `var` holds what belongs to this instance (data, logs, rendered config) and may be wiped; `cache` holds the servers
    themselves, shared by every checkout of this user; `env_file` holds the settings and secrets.
    """

    var: Path
    cache: Path
    env_file: Path
    project: Path = PROJECT

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> Layout:
        """PENSTOCK_VAR, PENSTOCK_CACHE and PENSTOCK_ENV_FILE move the three."""
        home_cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cls(
            var=Path(environment.get("PENSTOCK_VAR") or PROJECT / "var").absolute(),
            cache=Path(environment.get("PENSTOCK_CACHE") or home_cache / "penstock").absolute(),
            env_file=Path(environment.get("PENSTOCK_ENV_FILE") or PROJECT / ".env").absolute(),
        )

    def conf(self, server: str) -> Path:
        """The rendered configuration of a server."""
        return self.var / "conf" / server

    def data(self, server: str) -> Path:
        """What a server must find again after a restart."""
        return self.var / "data" / server

    @cached_property
    def logs(self) -> Path:
        """Each server's output, one file a server."""
        return self.var / "logs"

    @cached_property
    def run(self) -> Path:
        """Chosen ports, process ids, marks of what was done."""
        return self.var / "run"

    def log(self, server: str) -> Path:
        """The file with a server's standard output and error."""
        return self.logs / f"{server}.log"


def choose_ports(layout: Layout, settings: Mapping[str, str], agents: Iterable[str] = ()) -> dict[str, int]:
    """{listener: port} of this instance, that of each of `agents` of the user's data sets included.

    With `PENSTOCK_PORTS=free`, ports are chosen once and kept in the instance's run folder, so that a restart finds the
    same addresses; those of such agents are kept in any case. Raises Fatal for a setting that is no port.
    """
    mode = settings.get("PENSTOCK_PORTS") or "fixed"
    if mode not in {"fixed", "free"}:
        raise Fatal(f"PENSTOCK_PORTS is {mode!r}: set it to fixed or free")
    chosen = _kept_free_ports(layout) if mode == "free" else dict(DEFAULT_PORTS)
    kept = _kept_agents_ports(layout, list(agents), free=mode == "free")
    _set(chosen, settings)
    _set(kept, settings)
    _keep(raw_copy_ports_file(layout.var), kept)
    return chosen | kept


def _set(chosen: dict[str, int], settings: Mapping[str, str]) -> None:
    """What a person has set goes first."""
    for name in chosen:
        if value := settings.get(f"PENSTOCK_PORT_{name.upper()}"):
            if not value.isdigit() or not 0 < int(value) <= _LAST_PORT:
                raise Fatal(f"PENSTOCK_PORT_{name.upper()} is {value!r}: give a port from 1 to 65535")
            chosen[name] = int(value)


def _kept_free_ports(layout: Layout) -> dict[str, int]:
    kept_in = layout.run / "ports.json"
    kept = _kept(kept_in)
    missing = [name for name in DEFAULT_PORTS if name not in kept]
    kept |= dict(zip(missing, free_ports(len(missing)), strict=True))
    _keep(kept_in, kept)
    return {name: kept[name] for name in DEFAULT_PORTS}


def _kept_agents_ports(layout: Layout, agents: list[str], *, free: bool) -> dict[str, int]:
    kept = _kept(raw_copy_ports_file(layout.var))
    for agent in agents:
        name = agent.replace("-", "_")
        if name not in kept:
            taken = set(kept.values())
            kept[name] = free_ports(1)[0] if free else next(p for p in count(raw_copy_port(agent)) if p not in taken)
    return kept


def _kept(path: Path) -> dict[str, int]:
    ports: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    return ports


def _keep(path: Path, ports: Mapping[str, int]) -> None:
    if ports != _kept(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(ports, indent=1))
