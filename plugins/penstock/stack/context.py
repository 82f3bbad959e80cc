"""One instance of the local stack: where it is, how it listens, what it is told."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from penstock.core.errors import Fatal
from penstock.core.settings import PROJECT, data_sets_folder, influx_bucket, influx_org
from penstock.services import PRICE_CONSUMERS, RAW_COPIES
from penstock.stack.env import read_env, write_env
from penstock.stack.layout import Layout, choose_ports
from penstock.stack.supervisor import USER as SUPERVISOR_USER
from penstock.stack.supervisor import Supervisor

HOST = "127.0.0.1"

MONITORING = "monitoring"
"""The profile of PENSTOCK_PROFILES that adds Prometheus, Alertmanager and the exporters."""

PROFILES = frozenset((MONITORING,))

FLUME_AGENTS: Mapping[str, str] = {
    "pop-spool": "flume_pop_spool",
    "pop-hdfs": "flume_pop_hdfs",
    "cars-hdfs": "flume_cars_hdfs",
    "wiki-spool": "flume_wiki_spool",
    "wiki-hdfs": "flume_wiki_hdfs",
    "events-tail": "flume_events_tail",
    "events-hdfs": "flume_events_hdfs",
}
"""{agent: the port of its metrics}."""

APPS = (
    "recentchange_collector",
    "web_event_producer",
    *(f"price_consumer_{number}" for number in range(1, PRICE_CONSUMERS + 1)),
    "kafka_lag_exporter",
)
"""Our own programs with a status server: each has a port of its name, and its address in NAME_URL."""

_INHERITED = ("HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE")


@dataclass(frozen=True)
class Context:
    """All that a server's declaration may refer to. `replay` says whether sources are asked or replayed."""

    layout: Layout
    settings: Mapping[str, str]
    ports: Mapping[str, int]
    replay: bool = False

    @classmethod
    def load(cls, *, create: bool = False) -> Context:
        """Read this instance's settings. With `create`, make a missing .env, with generated secrets.

        Raises Fatal where there is no .env or it lacks a secret.
        """
        layout = Layout.from_env()
        if create:
            layout.env_file.parent.mkdir(parents=True, exist_ok=True)
            write_env(layout.env_file, PROJECT / ".env.example")
        if not layout.env_file.exists():
            raise Fatal(f"there is no {layout.env_file}: run `penstock env` (or `make env`) to make one")
        # What is exported wins over the file, as in docker compose.
        file = read_env(layout.env_file)
        settings = file | {name: os.environ[name] for name in file if os.environ.get(name)}
        settings |= {name: value for name, value in os.environ.items() if name.startswith("PENSTOCK_PORT")}
        replaying = layout.run / "replay"
        ports = choose_ports(layout, settings, RAW_COPIES)
        made = cls(layout, settings, ports, replay=replaying.exists())
        if unknown := made.profiles - PROFILES:
            raise Fatal(f"PENSTOCK_PROFILES names {', '.join(sorted(unknown))}: the profiles are {', '.join(PROFILES)}")
        return made

    def with_replay(self, replay: bool) -> Context:  # noqa: FBT001 - a setter's one argument
        """The same instance with the choice of source written down for later commands."""
        mark = self.layout.run / "replay"
        if replay:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        else:
            mark.unlink(missing_ok=True)
        return Context(self.layout, self.settings, self.ports, replay)

    @cached_property
    def profiles(self) -> frozenset[str]:
        """What PENSTOCK_PROFILES adds to this instance."""
        names = (name.strip() for name in self.settings.get("PENSTOCK_PROFILES", "").split(","))
        return frozenset(name for name in names if name)

    @property
    def monitoring(self) -> bool:
        """Whether this instance is measured by a Prometheus of its own."""
        return MONITORING in self.profiles

    def secret(self, name: str) -> str:
        """A value that .env must have. Raises Fatal where it does not."""
        if value := self.settings.get(name):
            return value
        raise Fatal(f"{name} is empty in {self.layout.env_file}: run `penstock env`, which generates what is missing")

    @cached_property
    def supervisor(self) -> Supervisor:
        """The supervisord of this instance."""
        return Supervisor(
            self.layout.conf("supervisor"),
            self.ports["supervisor"],
            self.secret("SUPERVISOR_PASSWORD"),
            self.layout.logs,
            instance=str(self.layout.var),
        )

    def postgres_url(self, role: str, database: str, secret: str, *, driver: str = "postgresql") -> str:
        """The address of a database, with its role's password."""
        password = quote(self.secret(secret), safe="")
        return f"{driver}://{role}:{password}@{HOST}:{self.ports['postgres']}/{database}"

    @cached_property
    def ledger_url(self) -> str:
        """The ledger's database."""
        return self.postgres_url("penstock", "penstock", "LEDGER_DB_PASSWORD")

    @cached_property
    def registry_url(self) -> str:
        """The schema registry's Confluent-style API."""
        return f"http://{HOST}:{self.ports['registry']}/apis/ccompat/v7"

    @cached_property
    def airflow_url(self) -> str:
        """The Airflow UI."""
        return f"http://{HOST}:{self.ports['airflow']}"

    @cached_property
    def spool(self) -> Path:
        """Where other programs put files for Flume, a subfolder a data set."""
        return self.layout.var / "spool"

    @cached_property
    def hdfs_user(self) -> str:
        """The name the platform acts under on HDFS."""
        return self.settings.get("HDFS_USER") or "penstock"

    @cached_property
    def influx_token_file(self) -> Path:
        """Where provisioning leaves the token that InfluxDB made for the platform; only its owner can read it."""
        return self.layout.run / "influxdb.token"

    @cached_property
    def source_settings(self) -> dict[str, str]:
        """Where the sources are asked: the replay server where this instance replays, else what .env says."""
        names = (
            "BASE_URL",
            "ARCHIVE_BASE_URL",
            "HISTORICAL_FORECAST_BASE_URL",
            "DATAUSA_URL",
            "RECENTCHANGE_URL",
        )
        limits = ("OPEN_METEO_CALLS_PER_MINUTE", "OPEN_METEO_CALLS_PER_HOUR", "OPEN_METEO_CALLS_PER_DAY")
        if not self.replay:
            return {name: self.settings[name] for name in (*names, *limits) if self.settings.get(name)}
        population = "/datausa/tesseract/data.jsonrecords"
        query = "cube=acs_yg_total_population_1&drilldowns=Year,Nation&measures=Population"
        paths = (
            "/v1/dwd-icon",
            "/archive/v1/archive",
            "/historical-forecast/v1/forecast",
            f"{population}?{query}",
            f"/v2/stream/recentchange?rate={self.settings.get('REPLAY_CHANGES_PER_SEC') or 50}",
        )
        hosts = {name: f"http://{HOST}:{self.ports['replay']}{path}" for name, path in zip(names, paths, strict=True)}
        # Our own server has no quota.
        return hosts | dict.fromkeys(limits, "0")

    def environment(self) -> dict[str, str]:
        """What a program of this stack, and a client of it, finds in its environment."""
        cassandra = {
            "CASSANDRA_HOSTS": HOST,
            "CASSANDRA_PORT": str(self.ports["cassandra"]),
            "CASSANDRA_USER": "penstock",
            "CASSANDRA_PASSWORD": self.secret("CASSANDRA_PASSWORD"),
        }
        at = self._addresses()
        secrets = {
            "INFLUXDB_TOKEN_FILE": str(self.influx_token_file),
            "SUPERVISOR_USER": SUPERVISOR_USER,
            "SUPERVISOR_PASSWORD": self.secret("SUPERVISOR_PASSWORD"),
        }
        plain = {name: value for name, value in self.settings.items() if value and name in _PASSED_ON}
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return {
            **inherited,
            **plain,
            **cassandra,
            **at,
            **secrets,
            **self.source_settings,
            "PATH": _path(),
            "PYTHONPATH": f"{PROJECT / 'plugins'}:{PROJECT}",
            "PENSTOCK_DATA_SETS": str(data_sets_folder()),
            "PENSTOCK_HOME": str(PROJECT),
            "PENSTOCK_VAR": str(self.layout.var),
            "PENSTOCK_ENV_FILE": str(self.layout.env_file),
            "PENSTOCK_SPOOL": str(self.spool),
            "LINEAGE_FOLDER": self.settings.get("LINEAGE_FOLDER") or str(self.layout.var / "lineage"),
            "OPENLINEAGE_NAMESPACE": self.settings.get("OPENLINEAGE_NAMESPACE") or "penstock",
            "LEDGER_URL": self.ledger_url,
        }

    def _addresses(self) -> dict[str, str]:
        """Where the servers listen, by the names of core/settings.py."""
        ports = self.ports
        metrics = {
            f"{port.upper()}_METRICS_URL": f"http://{HOST}:{ports[port]}/metrics" for port in FLUME_AGENTS.values()
        }
        return {
            "KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{ports['kafka']}",
            "SCHEMA_REGISTRY_URL": self.registry_url,
            "INFLUXDB_URL": f"http://{HOST}:{ports['influxdb']}",
            "HDFS_URL": f"hdfs://{HOST}:{ports['hdfs']}",
            "WEBHDFS_URL": f"http://{HOST}:{ports['hdfs_http']}",
            "CAR_API_URL": f"http://{HOST}:{ports['car_api']}",
            "SUPERVISOR_URL": f"http://{HOST}:{ports['supervisor']}/RPC2",
            **metrics,
            **{f"{app.upper()}_URL": f"http://{HOST}:{ports[app]}" for app in APPS},
        }

    def _agents(self) -> dict[str, str]:
        """{agent: the port of its metrics}, those of the user's data sets included."""
        users = {agent.removeprefix("flume-"): agent.replace("-", "_") for agent in RAW_COPIES}
        return {**FLUME_AGENTS, **users}

    def influx_token(self) -> str | None:
        """The token that reads and writes the bucket, or None before the first start."""
        return self.influx_token_file.read_text(encoding="utf-8") if self.influx_token_file.exists() else None

    def endpoints(self) -> dict[str, Any]:
        """What any client needs to connect, passwords included."""
        environment = self.environment()
        return {
            "airflow": {
                "url": self.airflow_url,
                "user": self.settings.get("AIRFLOW_ADMIN_USER") or "admin",
                "password": self.secret("AIRFLOW_ADMIN_PASSWORD"),
            },
            "kafka": {"bootstrap_servers": environment["KAFKA_BOOTSTRAP_SERVERS"], "security_protocol": "PLAINTEXT"},
            "registry": {"url": self.registry_url},
            "cassandra": {
                "host": HOST,
                "port": self.ports["cassandra"],
                "user": environment["CASSANDRA_USER"],
                "password": environment["CASSANDRA_PASSWORD"],
                "keyspace": environment.get("CASSANDRA_KEYSPACE", "analytics"),
            },
            "postgres": {
                "host": HOST,
                "port": self.ports["postgres"],
                "user": "penstock",
                "password": self.secret("LEDGER_DB_PASSWORD"),
                "database": "penstock",
                "url": self.ledger_url,
            },
            "influxdb": {
                "url": environment["INFLUXDB_URL"],
                "org": influx_org(environment),
                "bucket": influx_bucket(environment),
                "token": self.influx_token(),
            },
            "hdfs": {"fs": environment["HDFS_URL"], "webhdfs": environment["WEBHDFS_URL"], "user": self.hdfs_user},
            "car_api": {"url": environment["CAR_API_URL"]},
            "flume": {agent: f"http://{HOST}:{self.ports[port]}/metrics" for agent, port in self._agents().items()},
            "supervisor": {
                "url": environment["SUPERVISOR_URL"],
                "user": SUPERVISOR_USER,
                "password": self.secret("SUPERVISOR_PASSWORD"),
            },
            **self._optional_endpoints(),
        }

    def _optional_endpoints(self) -> dict[str, Any]:
        """Servers that only some instances have."""
        names = [*(["replay"] if self.replay else []), *(["prometheus", "alertmanager"] if self.monitoring else [])]
        return {name: {"url": f"http://{HOST}:{self.ports[name]}"} for name in names}


def _path() -> str:
    """The PATH with this Python first, and the same where it is already: a change would restart every program."""
    path = [str(Path(sys.executable).parent), *os.environ.get("PATH", os.defpath).split(os.pathsep)]
    return os.pathsep.join(dict.fromkeys(path))


_PASSED_ON = frozenset(
    (
        "CARS_HDFS_FOLDER",
        "CARS_LANDED_BY",
        "CARS_MEASUREMENT",
        "CARS_TOPIC",
        "CAR_PRICE_OUTLIERS_LIMIT",
        "CASSANDRA_KEYSPACE",
        "CASSANDRA_REPLICATION",
        "DAILY_DATA_TOPIC",
        "DAILY_SINK_TABLE",
        "EVENTS_AHEAD_SECONDS",
        "EVENTS_HDFS_FOLDER",
        "EVENTS_MEASUREMENT",
        "EVENTS_TOPIC",
        "EXPORTER_SECONDS",
        "HDFS_REPLICATION",
        "HDFS_USER",
        "HOURLY_DATA_TOPIC",
        "HOURLY_SINK_TABLE",
        "INFLUXDB_BUCKET",
        "INFLUXDB_ORG",
        "KAFKA_MIN_INSYNC",
        "KAFKA_REPLICATION",
        "LAG_SECONDS",
        "LINEAGE_BYTES",
        "OPENLINEAGE_API_KEY",
        "OPENLINEAGE_URL",
        "PENSTOCK_DISK_FREE_BYTES",
        "PENSTOCK_HOLD",
        "PENSTOCK_SMALL_LANDING",
        "PENSTOCK_WAIT_SECONDS",
        "POPULATION_CHANGE_LIMIT",
        "POPULATION_HDFS_FOLDER",
        "POPULATION_LANDED_BY",
        "POPULATION_MEASUREMENT",
        "POPULATION_TOPIC",
        "PRICE_HIGH_FROM",
        "PRICE_MEDIUM_FROM",
        "PRODUCE_RATE_PER_SEC",
        "WEB_LOGS_BYTES",
        "WEB_LOG_FILE_BYTES",
        "WEB_LOG_FILE_SECONDS",
        "WIKI_AGGREGATE_FOLDER",
        "WIKI_CHECKPOINT",
        "WIKI_HDFS_FOLDER",
        "WIKI_IDLE_SECONDS",
        "WIKI_LATENESS_SECONDS",
        "WIKI_MEASUREMENT",
        "WIKI_RECORDS_AT_ONCE",
        "WIKI_SPOOL_BYTES",
        "WIKI_SPOOL_FILE_BYTES",
        "WIKI_SPOOL_FILE_SECONDS",
        "WIKI_TOPIC",
        "WIKI_TRIGGER_SECONDS",
        "WIKI_USER_AGENT_CONTACT",
        "_PIP_ADDITIONAL_REQUIREMENTS",
    )
)
"""Keys of .env that programs read under the same name."""
