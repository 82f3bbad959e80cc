"""Every setting that comes from the environment, in one place. `.env.example` says what each means."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from penstock.core.errors import Fatal

PROJECT = Path(os.environ.get("PENSTOCK_HOME") or Path(__file__).resolve().parents[3])
"""The checkout: the folder with include/, dags/ and spark_jobs/."""

INCLUDE = PROJECT / "include"


class _Reader:
    """Reads typed values from an environment and says in one sentence what is wrong with one."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str, default: str) -> str:
        return self._environment.get(name) or default

    def required(self, name: str) -> str:
        value = self._environment.get(name)
        if not value:
            raise Fatal(
                f"{name} is not set: run inside `penstock exec` or an Airflow task, or set it as .env.example says"
            )
        return value

    def secret(self, name: str) -> str:
        """The value of `name`, or what is in the file that NAME_FILE names."""
        path = self._environment.get(f"{name}_FILE")
        if self._environment.get(name) or not path:
            return self.required(name)
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise Fatal(
                f"{name}_FILE names {path}, which cannot be read ({error.strerror}): is it provisioned?"
            ) from None

    def number(self, name: str, default: int) -> int:
        value = self._environment.get(name) or str(default)
        try:
            return int(value)
        except ValueError as error:
            raise Fatal(f"{name} is {value!r}, not a whole number") from error


@dataclass(frozen=True)
class Kafka:
    """`bootstrap_servers` is `HOST:PORT[,...]`, `registry_url` the base of the Confluent-style API."""

    bootstrap_servers: str
    registry_url: str

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> Kafka:
        """Raises Fatal where an address is missing."""
        read = _Reader(environment)
        return cls(read.required("KAFKA_BOOTSTRAP_SERVERS"), read.required("SCHEMA_REGISTRY_URL").rstrip("/"))


@dataclass(frozen=True)
class Cassandra:
    """Where the tables are and who writes them."""

    hosts: tuple[str, ...]
    port: int
    user: str
    password: str
    keyspace: str
    replication: int

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> Cassandra:
        """Raises Fatal where host, user or password is missing."""
        read = _Reader(environment)
        return cls(
            hosts=tuple(read.required("CASSANDRA_HOSTS").split(",")),
            port=read.number("CASSANDRA_PORT", 9042),
            user=read.required("CASSANDRA_USER"),
            password=read.required("CASSANDRA_PASSWORD"),
            keyspace=cassandra_keyspace(environment),
            replication=read.number("CASSANDRA_REPLICATION", 1),
        )

    def __repr__(self) -> str:
        return f"Cassandra({self.user}@{','.join(self.hosts)}:{self.port}/{self.keyspace})"


@dataclass(frozen=True)
class OpenMeteo:
    """The service's hosts, and how often it may be called.

    A limit of 0 calls means none: right for a server of one's own. The defaults are the free service's
    (https://github.com/open-meteo/open-meteo/issues/439).
    """

    base_url: str
    archive_url: str
    historical_url: str
    per_minute: int
    per_hour: int
    per_day: int

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> OpenMeteo:
        """All have defaults."""
        read = _Reader(environment)
        return cls(
            base_url=read.text("BASE_URL", "https://api.open-meteo.com/v1/dwd-icon").rstrip("/"),
            archive_url=read.text("ARCHIVE_BASE_URL", "https://archive-api.open-meteo.com/v1/archive").rstrip("/"),
            historical_url=read.text(
                "HISTORICAL_FORECAST_BASE_URL", "https://historical-forecast-api.open-meteo.com/v1/forecast"
            ).rstrip("/"),
            per_minute=read.number("OPEN_METEO_CALLS_PER_MINUTE", 600),
            per_hour=read.number("OPEN_METEO_CALLS_PER_HOUR", 5_000),
            per_day=read.number("OPEN_METEO_CALLS_PER_DAY", 10_000),
        )


@dataclass(frozen=True)
class Influx:
    """Where the measurements are, and the token that reads and writes them.

    The token is in INFLUXDB_TOKEN, or in the file that INFLUXDB_TOKEN_FILE names: InfluxDB makes it when it is
    provisioned, after many a program was told its environment.
    """

    url: str
    org: str
    bucket: str
    token: str

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> Influx:
        """Raises Fatal where address or token is missing."""
        read = _Reader(environment)
        return cls(
            url=read.required("INFLUXDB_URL").rstrip("/"),
            org=influx_org(environment),
            bucket=influx_bucket(environment),
            token=read.secret("INFLUXDB_TOKEN"),
        )

    def __repr__(self) -> str:
        return f"Influx({self.url}/{self.org}/{self.bucket})"


@dataclass(frozen=True)
class Hdfs:
    """`fs` is the file system (hdfs://HOST:PORT), `webhdfs` its HTTP address, `user` the name we act under there.

    Without Kerberos the name is taken on trust.
    """

    fs: str
    webhdfs: str
    user: str

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> Hdfs:
        """Raises Fatal where an address is missing."""
        read = _Reader(environment)
        return cls(
            fs=read.required("HDFS_URL").rstrip("/"),
            webhdfs=read.required("WEBHDFS_URL").rstrip("/"),
            user=read.text("HDFS_USER", "penstock"),
        )


@dataclass(frozen=True)
class Supervisor:
    """The XML-RPC interface of the supervisord that runs the services."""

    url: str
    user: str
    password: str

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> Supervisor:
        """Raises Fatal where address or password is missing."""
        read = _Reader(environment)
        return cls(
            url=read.required("SUPERVISOR_URL"),
            user=read.text("SUPERVISOR_USER", "penstock"),
            password=read.required("SUPERVISOR_PASSWORD"),
        )

    def __repr__(self) -> str:
        return f"Supervisor({self.user}@{self.url})"


def datausa_url(environment: Mapping[str, str] = os.environ) -> str:
    """Where Data USA's population of the nation is asked for, query included."""
    return _Reader(environment).text(
        "DATAUSA_URL",
        "https://api.datausa.io/tesseract/data.jsonrecords"
        "?cube=acs_yg_total_population_1&drilldowns=Year,Nation&measures=Population",
    )


def car_api_url(environment: Mapping[str, str] = os.environ) -> str:
    """The base address of the car API."""
    return _Reader(environment).text("CAR_API_URL", "http://127.0.0.1:8091").rstrip("/")


@dataclass(frozen=True)
class Names:
    """The names of topics, tables, measurements and HDFS folders that the user may choose."""

    hourly_topic: str
    daily_topic: str
    hourly_table: str
    daily_table: str
    population_topic: str
    population_measurement: str
    population_folder: str
    cars_topic: str
    cars_measurement: str
    cars_folder: str
    wiki_topic: str
    wiki_measurement: str
    wiki_folder: str
    wiki_aggregate_folder: str
    events_topic: str
    events_measurement: str
    events_folder: str

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> Names:
        """All have defaults."""
        read = _Reader(environment)
        return cls(
            hourly_topic=read.text("HOURLY_DATA_TOPIC", "hourlymetrics"),
            daily_topic=read.text("DAILY_DATA_TOPIC", "dailymetrics"),
            hourly_table=read.text("HOURLY_SINK_TABLE", "hourlydata"),
            daily_table=read.text("DAILY_SINK_TABLE", "dailydata"),
            population_topic=read.text("POPULATION_TOPIC", "pop"),
            population_measurement=read.text("POPULATION_MEASUREMENT", "population_data"),
            population_folder=read.text("POPULATION_HDFS_FOLDER", "/case_pop"),
            cars_topic=read.text("CARS_TOPIC", "car-transactions-logs"),
            cars_measurement=read.text("CARS_MEASUREMENT", "car_transaction_data"),
            cars_folder=read.text("CARS_HDFS_FOLDER", "/Cars"),
            wiki_topic=read.text("WIKI_TOPIC", "wiki_changes"),
            wiki_measurement=read.text("WIKI_MEASUREMENT", "wiki_edits_minute"),
            wiki_folder=read.text("WIKI_HDFS_FOLDER", "/user/bigdata/flume/raw/wiki_changes"),
            wiki_aggregate_folder=read.text("WIKI_AGGREGATE_FOLDER", "/user/bigdata/aggregates/wiki_edits_minute"),
            events_topic=read.text("EVENTS_TOPIC", "events"),
            events_measurement=read.text("EVENTS_MEASUREMENT", "price_buckets_minute"),
            events_folder=read.text("EVENTS_HDFS_FOLDER", "/user/bigdata/flume/raw/events"),
        )


@cache
def names() -> Names:
    """The names this process was started with."""
    return Names.from_env()


def cassandra_keyspace(environment: Mapping[str, str] = os.environ) -> str:
    """The keyspace of the tables; known also where Cassandra itself is not."""
    return _Reader(environment).text("CASSANDRA_KEYSPACE", "analytics")


def influx_org(environment: Mapping[str, str] = os.environ) -> str:
    """The organisation that owns the bucket; known also where InfluxDB itself is not."""
    return _Reader(environment).text("INFLUXDB_ORG", "penstock")


def influx_bucket(environment: Mapping[str, str] = os.environ) -> str:
    """The bucket of the measurements; known also where InfluxDB itself is not."""
    return _Reader(environment).text("INFLUXDB_BUCKET", "ETL_Project")


@dataclass(frozen=True)
class Landing:
    """How landing jobs are handed to Spark.

    Requests and reports are in `folder`, which the worker and its Spark driver share. `properties_file` is Spark's own
    configuration, or None for that of its installation. A submission of at most `small` records compiles with the
    JVM's first compiler only, which starts faster and runs slower.
    """

    folder: Path
    properties_file: Path | None
    small: int

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> Landing:
        """All have defaults."""
        read = _Reader(environment)
        properties_file = environment.get("PENSTOCK_SPARK_PROPERTIES")
        return cls(
            folder=Path(read.text("PENSTOCK_VAR", str(PROJECT / "var"))).absolute() / "landing",
            properties_file=Path(properties_file) if properties_file else None,
            small=read.number("PENSTOCK_SMALL_LANDING", 50_000),
        )


def ledger_url(environment: Mapping[str, str] = os.environ) -> str:
    """The PostgreSQL address of the ledger. Raises Fatal where it is not set."""
    return _Reader(environment).required("LEDGER_URL")


def recentchange_url(environment: Mapping[str, str] = os.environ) -> str:
    """Where Wikimedia's recent changes are streamed from."""
    return _Reader(environment).text("RECENTCHANGE_URL", "https://stream.wikimedia.org/v2/stream/recentchange")


def wiki_lateness(environment: Mapping[str, str] = os.environ) -> int:
    """Seconds that a change may be older than the newest one and still be counted.

    Live, neighbours differ by milliseconds; what a collector catches up on comes in its order too.
    """
    return _Reader(environment).number("WIKI_LATENESS_SECONDS", 30)


def web_logs_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of the web events' log files."""
    read = _Reader(environment)
    return Path(read.text("WEB_LOGS", f"{read.text('PENSTOCK_VAR', str(PROJECT / 'var'))}/data/logs")).absolute()


def app_url(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """The base address of one of our own programs: NAME_URL. Raises Fatal where it is not set."""
    return _Reader(environment).required(f"{name.upper().replace('-', '_')}_URL").rstrip("/")


def spool_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder whose subfolders programs put complete files into for Flume to take up."""
    read = _Reader(environment)
    return Path(read.text("PENSTOCK_SPOOL", f"{read.text('PENSTOCK_VAR', str(PROJECT / 'var'))}/spool")).absolute()


def flume_metrics_url(agent: str, environment: Mapping[str, str] = os.environ) -> str:
    """Where the agent `flume-NAME` gives its counters: FLUME_NAME_METRICS_URL. Raises Fatal where it is not set."""
    return _Reader(environment).required(f"{agent.upper().replace('-', '_')}_METRICS_URL")
