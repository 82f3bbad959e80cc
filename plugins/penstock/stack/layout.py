"""Where the local stack keeps its files, and which ports it listens on."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from penstock.core.errors import Fatal
from penstock.core.settings import PROJECT

DEFAULT_PORTS: Mapping[str, int] = {
    "airflow": 8080,
    "airflow_worker_log": 8793,
    "airflow_trigger_log": 8794,
    "airflow_scheduler_health": 8974,
    "alertmanager": 9095,
    "car_api": 8091,
    "cassandra": 9042,
    "cassandra_jmx": 7199,
    "cassandra_metrics": 7072,
    "cassandra_storage": 7000,
    "flume_cars_hdfs": 41416,
    "flume_events_hdfs": 41420,
    "flume_events_tail": 41419,
    "flume_pop_hdfs": 41415,
    "flume_pop_spool": 41414,
    "flume_wiki_hdfs": 41418,
    "flume_wiki_spool": 41417,
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
"""One name a listener. `PENSTOCK_PORT_<NAME>` moves one, `PENSTOCK_PORTS=free` moves all to free ones."""


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


def choose_ports(layout: Layout, settings: Mapping[str, str]) -> dict[str, int]:
    """{listener: port} of this instance.

    With `PENSTOCK_PORTS=free`, ports are chosen once and kept in the instance's run folder, so that a restart finds the
    same addresses. Raises Fatal for a setting that is no port.
    """
    mode = settings.get("PENSTOCK_PORTS") or "fixed"
    if mode not in {"fixed", "free"}:
        raise Fatal(f"PENSTOCK_PORTS is {mode!r}: set it to fixed or free")
    chosen = _kept_free_ports(layout) if mode == "free" else dict(DEFAULT_PORTS)
    for name in chosen:
        if value := settings.get(f"PENSTOCK_PORT_{name.upper()}"):
            if not value.isdigit() or not 0 < int(value) <= _LAST_PORT:
                raise Fatal(f"PENSTOCK_PORT_{name.upper()} is {value!r}: give a port from 1 to 65535")
            chosen[name] = int(value)
    return chosen


def _kept_free_ports(layout: Layout) -> dict[str, int]:
    kept_in = layout.run / "ports.json"
    kept: dict[str, int] = json.loads(kept_in.read_text()) if kept_in.exists() else {}
    missing = [name for name in DEFAULT_PORTS if name not in kept]
    if missing:
        kept |= dict(zip(missing, free_ports(len(missing)), strict=True))
        kept_in.parent.mkdir(parents=True, exist_ok=True)
        kept_in.write_text(json.dumps(kept, indent=1))
    return {name: kept[name] for name in DEFAULT_PORTS}
