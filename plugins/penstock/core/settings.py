"""Every setting that comes from the environment, in one place. `.env.example` says what each means."""

from __future__ import annotations

import json
import math
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from penstock.core.errors import Fatal
from penstock.core.pipeline import LandedBy

PROJECT = Path(os.environ.get("PENSTOCK_HOME") or Path(__file__).resolve().parents[3])
"""The checkout: the folder with include/, dags/ and spark_jobs/."""

INCLUDE = PROJECT / "include"


def data_sets_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of the user's own data sets: PENSTOCK_DATA_SETS, of the environment or .env, else `data_sets`.

    A relative path begins at the checkout, as for Docker Compose.
    """
    name = "PENSTOCK_DATA_SETS"
    return (PROJECT / (environment.get(name) or _in_env_file(name, environment) or "data_sets")).resolve()


def _in_env_file(name: str, environment: Mapping[str, str]) -> str:
    """The value of a setting that is needed before there is a context, or nothing. Others judge the file."""
    try:
        text = Path(environment.get("PENSTOCK_ENV_FILE") or PROJECT / ".env").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(rf"(?m)^{name}=(.*)$", text)
    return found[1].partition(" #")[0].strip().strip("'\"") if found else ""


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

    def above_zero(self, name: str, default: float) -> float:
        value = self._environment.get(name) or str(default)
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            raise Fatal(f"{name} is {value!r}: it must be a number above 0")
        return number

    def seconds(self, name: str, default: int, least: int) -> int:
        value = self.number(name, default)
        if value < least:
            raise Fatal(f"{name} is {value}; give a whole number of seconds from {least}")
        return value

    def dollars(self, name: str, default: float) -> float:
        value = self._environment.get(name) or str(default)
        try:
            price = float(value)
        except ValueError:
            price = math.nan
        if not math.isfinite(price):
            raise Fatal(f"{name} is {value!r}, not a price in USD")
        return price


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


def landed_by(name: str, environment: Mapping[str, str] = os.environ) -> LandedBy:
    """What the setting NAME_LANDED_BY chooses, `batch` where it says nothing. Raises Fatal for any other value."""
    key = f"{name.upper()}_LANDED_BY"
    value = _Reader(environment).text(key, LandedBy.BATCH)
    try:
        return LandedBy(value)
    except ValueError:
        raise Fatal(f"{key} is {value!r}: set it to {' or '.join(LandedBy)}") from None


def ledger_url(environment: Mapping[str, str] = os.environ) -> str:
    """The PostgreSQL address of the ledger. Raises Fatal where it is not set."""
    return _Reader(environment).required("LEDGER_URL")


def recentchange_url(environment: Mapping[str, str] = os.environ) -> str:
    """Where Wikimedia's recent changes are streamed from."""
    return _Reader(environment).text("RECENTCHANGE_URL", "https://stream.wikimedia.org/v2/stream/recentchange")


@dataclass(frozen=True)
class WikiCollector:
    """How recent changes are collected.

    `contact` is a URL or e-mail address under which the feed's operators can reach whoever runs this. A spool file is
    finished at `file_bytes` or `file_seconds` after its first change; all of them have at most `spool_bytes`. A
    connection on which nothing comes for `idle_seconds` is given up.
    """

    url: str
    contact: str
    folder: Path
    file_bytes: int
    file_seconds: int
    spool_bytes: int
    idle_seconds: int

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> WikiCollector:
        """All have defaults. Raises Fatal for a number that makes no sense."""
        read = _Reader(environment)
        made = cls(
            url=recentchange_url(environment),
            contact=read.text("WIKI_USER_AGENT_CONTACT", ""),
            folder=spool_folder(environment) / "wiki",
            file_bytes=read.number("WIKI_SPOOL_FILE_BYTES", 8 << 20),
            file_seconds=read.number("WIKI_SPOOL_FILE_SECONDS", 2),
            spool_bytes=read.number("WIKI_SPOOL_BYTES", 1 << 30),
            idle_seconds=read.number("WIKI_IDLE_SECONDS", 30),
        )
        if min(made.file_bytes, made.file_seconds, made.idle_seconds) < 1:
            raise Fatal("WIKI_SPOOL_FILE_BYTES, WIKI_SPOOL_FILE_SECONDS and WIKI_IDLE_SECONDS must be at least 1")
        if made.spool_bytes < 2 * made.file_bytes:
            raise Fatal(
                f"WIKI_SPOOL_BYTES is {made.spool_bytes}, too few for two files of WIKI_SPOOL_FILE_BYTES "
                f"({made.file_bytes}): raise the one, or lower the other"
            )
        return made


def wiki_lateness(environment: Mapping[str, str] = os.environ) -> int:
    """Seconds that a change may be older than the newest one and still be counted.

    Live, neighbours differ by milliseconds; what a collector catches up on comes in its order too.
    """
    return _Reader(environment).number("WIKI_LATENESS_SECONDS", 30)


@dataclass(frozen=True)
class StreamJob:
    """How a stream's Spark job runs.

    `checkpoint` is its folder on HDFS. A micro-batch begins every `trigger_seconds`, or when the last one is over, and
    has about `records_at_once` records at most. `properties_file` is Spark's own configuration, or None for that of its
    installation. `replication` is of the checkpoint's files.
    """

    checkpoint: str
    trigger_seconds: int
    records_at_once: int
    master: str
    properties_file: Path | None
    replication: int

    @classmethod
    def of(cls, stream: str, job: str, environment: Mapping[str, str] = os.environ) -> StreamJob:
        """The `job` that counts `stream`: the first three are STREAM_CHECKPOINT and so on. All have defaults."""
        read, prefix = _Reader(environment), stream.upper()
        properties_file = environment.get("PENSTOCK_SPARK_PROPERTIES")
        return cls(
            checkpoint=read.text(f"{prefix}_CHECKPOINT", f"/user/bigdata/checkpoints/{job}").rstrip("/"),
            trigger_seconds=read.number(f"{prefix}_TRIGGER_SECONDS", 5),
            records_at_once=read.number(f"{prefix}_RECORDS_AT_ONCE", 200_000),
            master=read.text("SPARK_MASTER", "local[2]"),
            properties_file=Path(properties_file) if properties_file else None,
            replication=read.number("HDFS_REPLICATION", 1),
        )


def web_logs_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of the web events' log files."""
    read = _Reader(environment)
    return Path(read.text("WEB_LOGS", f"{read.text('PENSTOCK_VAR', str(PROJECT / 'var'))}/data/logs")).absolute()


def flume_state_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder in which Flume agents write down how far they are."""
    read = _Reader(environment)
    return Path(read.text("FLUME_STATE", f"{read.text('PENSTOCK_VAR', str(PROJECT / 'var'))}/data/flume")).absolute()


def events_position_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the Flume agent events-tail says how far it is in each log file."""
    return flume_state_folder(environment) / "events-tail.json"


SMALLEST_LOG_FILE = 4096
"""Bytes that a log file of web events must be allowed to have: room for several events."""


@dataclass(frozen=True)
class WebEventLogs:
    """What the web event producer writes: `rate` events a second, in log files in `folder`.

    A file is finished when it has `file_bytes`, or after `file_seconds`. All files together have at most `total_bytes`:
    those are deleted of which `positions`, Flume's position file, says that they were taken.
    """

    rate: float
    folder: Path
    positions: Path
    total_bytes: int
    file_bytes: int
    file_seconds: float

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> WebEventLogs:
        """All have defaults. Raises Fatal where a number is none, or the bounds contradict each other."""
        read = _Reader(environment)
        logs = cls(
            rate=read.above_zero("PRODUCE_RATE_PER_SEC", 50),
            folder=web_logs_folder(environment),
            positions=events_position_file(environment),
            total_bytes=int(read.above_zero("WEB_LOGS_BYTES", 1 << 30)),
            file_bytes=int(read.above_zero("WEB_LOG_FILE_BYTES", 16 << 20)),
            file_seconds=read.above_zero("WEB_LOG_FILE_SECONDS", 60),
        )
        if logs.file_bytes < SMALLEST_LOG_FILE:
            raise Fatal(f"WEB_LOG_FILE_BYTES is {logs.file_bytes}: it must be at least {SMALLEST_LOG_FILE}")
        if logs.total_bytes < 2 * logs.file_bytes:
            raise Fatal(
                f"WEB_LOGS_BYTES is {logs.total_bytes}: it must be at least twice WEB_LOG_FILE_BYTES, "
                f"{logs.file_bytes}, because the file that is being written is never deleted"
            )
        return logs


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


@dataclass(frozen=True)
class Lineage:
    """Where events of lineage go: to files in `folder`, of `total_bytes` at most, and to the server at `url`, if any.

    `url` is the base address of a server of OpenLineage's HTTP API, which `api_key` opens.
    """

    folder: Path
    total_bytes: int
    url: str | None = None
    api_key: str | None = None

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> Lineage | None:
        """None where LINEAGE_FOLDER is not set, or `off`. Raises Fatal where a number makes no sense."""
        read = _Reader(environment)
        folder = read.text("LINEAGE_FOLDER", "off")
        if folder == "off":
            return None
        total_bytes = read.number("LINEAGE_BYTES", 64 << 20)
        if total_bytes < SMALLEST_LINEAGE:
            raise Fatal(f"LINEAGE_BYTES is {total_bytes}: it must be at least {SMALLEST_LINEAGE}")
        return cls(
            folder=Path(folder).absolute(),
            total_bytes=total_bytes,
            url=read.text("OPENLINEAGE_URL", "").rstrip("/") or None,
            api_key=read.text("OPENLINEAGE_API_KEY", "") or None,
        )

    def __repr__(self) -> str:
        return f"Lineage({self.folder}, {self.url})"


SMALLEST_LINEAGE = 1 << 20
"""Bytes that the files of lineage must be allowed to have: room for a hundred events."""


def lineage_namespace(environment: Mapping[str, str] = os.environ) -> str:
    """The namespace of this installation's jobs in lineage; datasets are named after their servers."""
    return _Reader(environment).text("OPENLINEAGE_NAMESPACE", "penstock")


_FIRST_RAW_COPY_PORT, _RAW_COPY_PORTS = 22_000, 1_000


def raw_copy_port(agent: str) -> int:
    """The port of an agent that no setting knows, unless another one has it: the same in each process and place."""
    return _FIRST_RAW_COPY_PORT + zlib.crc32(agent.encode()) % _RAW_COPY_PORTS


def raw_copy_ports_file(var: Path) -> Path:
    """Where the local stack notes {port's name: port} of such agents."""
    return var / "run" / "raw-copy-ports.json"


def raw_copy_metrics_url(agent: str, environment: Mapping[str, str] = os.environ) -> str:
    """Where an agent of a data set of the user's gives its counters.

    No setting says so: a new one would restart every program whose environment it is in.
    """
    read = _Reader(environment)
    try:
        kept = json.loads(raw_copy_ports_file(Path(read.text("PENSTOCK_VAR", str(PROJECT / "var")))).read_text())
    except FileNotFoundError:
        kept = {}
    port = kept.get(agent.replace("-", "_"), raw_copy_port(agent))
    return f"http://{read.text('RAW_COPY_AGENTS_HOST', '127.0.0.1')}:{port}/metrics"


def price_limits(environment: Mapping[str, str] = os.environ) -> tuple[float, float]:
    """The prices in USD from which a product is medium, and from which it is high. Raises Fatal for no such two."""
    read = _Reader(environment)
    medium, high = read.dollars("PRICE_MEDIUM_FROM", 20.0), read.dollars("PRICE_HIGH_FROM", 100.0)
    if not 0 < medium < high:
        raise Fatal(
            f"PRICE_MEDIUM_FROM is {medium:g} and PRICE_HIGH_FROM is {high:g}: "
            "give two prices above 0, the first below the second"
        )
    return medium, high


def events_ahead(environment: Mapping[str, str] = os.environ) -> int:
    """Seconds that a web event's time may be ahead of when it came onto the topic: more is a wrong clock."""
    return _Reader(environment).seconds("EVENTS_AHEAD_SECONDS", 60, least=0)


def lag_seconds(environment: Mapping[str, str] = os.environ) -> int:
    """Seconds between two measurements of the consumer groups' lags."""
    return _Reader(environment).seconds("LAG_SECONDS", 15, least=1)


def exporter_seconds(environment: Mapping[str, str] = os.environ) -> int:
    """Seconds between two looks of Penstock's own exporter."""
    return _Reader(environment).seconds("EXPORTER_SECONDS", 10, least=1)


@dataclass(frozen=True)
class WatchLimits:
    """Above which values somebody should be told.

    `population_change` is a ratio, up or down, from one year to the next: the United States have not changed by 3% in
    a year since 1900, so more is an error or another definition. `car_price_outliers` is a number of sales of a brand
    in 24 hours. `disk_free_bytes` is the least that should be free where programs leave their files.
    """

    population_change: float
    car_price_outliers: int
    disk_free_bytes: float

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> WatchLimits:
        """All have defaults. Raises Fatal for a number that makes no sense."""
        read = _Reader(environment)
        limits = cls(
            population_change=read.above_zero("POPULATION_CHANGE_LIMIT", 0.03),
            car_price_outliers=read.number("CAR_PRICE_OUTLIERS_LIMIT", 0),
            disk_free_bytes=read.above_zero("PENSTOCK_DISK_FREE_BYTES", 5 << 30),
        )
        if limits.car_price_outliers < 0:
            raise Fatal(f"CAR_PRICE_OUTLIERS_LIMIT is {limits.car_price_outliers}: give 0 or more")
        return limits
