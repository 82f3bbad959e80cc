"""What holds for every Flume agent's configuration.

Flume takes nearly any conf: where one is wrong, it leaves the component out and runs on, or loses data in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from penstock.core.settings import INCLUDE

FOLDER = INCLUDE / "flume"

KAFKA_CHANNEL = "org.apache.flume.channel.kafka.KafkaChannel"
EVENT_TIME_CHANNEL = "penstock.flume.EventTimeKafkaChannel"
KAFKA_SOURCE = "org.apache.flume.source.kafka.KafkaSource"
HDFS_SINK = "penstock.flume.RecoveringHdfsSink"
KAFKA_SINK = "org.apache.flume.sink.kafka.KafkaSink"

KNOWN_TYPES = {
    "sources": {"spooldir", "TAILDIR", KAFKA_SOURCE},
    "channels": {"file", KAFKA_CHANNEL, EVENT_TIME_CHANNEL},
    "sinks": {HDFS_SINK, KAFKA_SINK},
}
LOSING_TYPES = {
    "exec": "an exec source does not know what it has already read",
    "hdfs": "Flume's own HDFS sink cannot close a file whose DataNode was away",
    "memory": "a memory channel loses what it holds when the agent dies",
}
ENVIRONMENT = {
    "CARS_HDFS_FOLDER",
    "CARS_TOPIC",
    "EVENTS_HDFS_FOLDER",
    "EVENTS_TOPIC",
    "FLUME_STATE",
    "HDFS_URL",
    "KAFKA_BOOTSTRAP_SERVERS",
    "PENSTOCK_SPOOL",
    "POPULATION_HDFS_FOLDER",
    "POPULATION_TOPIC",
    "RAW_COPY_EVENT_TIME",
    "RAW_COPY_FOLDER",
    "RAW_COPY_GROUP",
    "RAW_COPY_NAME",
    "RAW_COPY_TOPIC",
    "WEB_LOGS",
    "WIKI_HDFS_FOLDER",
    "WIKI_TOPIC",
}
"""What every agent finds in its environment."""

OF_EACH_DATA_SET = "${RAW_COPY_GROUP}"
"""The group of one data set's agent, where one conf serves several."""

# The defaults of https://flume.apache.org/releases/content/1.11.0/FlumeUserGuide.html
_BATCH_SIZES = {"spooldir": ("batchSize", 100), "TAILDIR": ("batchSize", 100), KAFKA_SOURCE: ("batchSize", 1000)} | {
    HDFS_SINK: ("hdfs.batchSize", 100),
    KAFKA_SINK: ("flumeBatchSize", 100),
}
_TRANSACTION_CAPACITY = 10_000
_MIB = 1 << 20
_LONGEST_LINE = 1_000_000


@dataclass(frozen=True)
class Component:
    """A source, channel or sink with its settings, named as below `agent.kind.name.`."""

    kind: str
    name: str
    settings: Mapping[str, str]

    @property
    def type(self) -> str:
        return self.settings.get("type", "")

    @property
    def is_kafka_channel(self) -> bool:
        return self.type in {KAFKA_CHANNEL, EVENT_TIME_CHANNEL}

    @property
    def channels(self) -> list[str]:
        return (self.settings.get("channels") or self.settings.get("channel") or "").split()

    def number(self, setting: str, default: int) -> int:
        return int(self.settings.get(setting, default))

    def __str__(self) -> str:
        return f"{self.kind.removesuffix('s')} {self.name}"


@dataclass
class Conf:
    """One agent's configuration."""

    agent: str
    settings: Mapping[str, str]
    components: list[Component] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, agent: str, text: str) -> Conf:
        pairs = (line.split("=", 1) for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
        settings = {name.strip(): value.strip() for name, value in pairs}
        conf = cls(agent, settings)
        declared = {
            (kind, name): dict[str, str]()
            for kind in KNOWN_TYPES
            for name in settings.get(f"{agent}.{kind}", "").split()
        }
        for name, value in settings.items():
            parts = name.split(".", 3)
            if name in {f"{agent}.{kind}" for kind in KNOWN_TYPES}:
                continue
            if len(parts) == 4 and parts[0] == agent and (parts[1], parts[2]) in declared:
                declared[parts[1], parts[2]][parts[3]] = value
            else:
                conf.strangers.append(name)
        conf.components = [Component(kind, name, found) for (kind, name), found in declared.items()]
        return conf

    def of(self, kind: str) -> list[Component]:
        return [each for each in self.components if each.kind == kind]

    def users(self, channel: Component, kind: str) -> list[Component]:
        return [each for each in self.of(kind) if channel.name in each.channels]


def violations(agent: str, text: str) -> list[str]:
    """What is wrong with a conf, one phrase each."""
    conf = Conf.parse(agent, text)
    rules = (_wiring, _types, _environment, _batches, _producers, _consumers, _hdfs, _spooled, _tailed)
    return [found for rule in rules for found in rule(conf)]


def _wiring(conf: Conf) -> Iterator[str]:
    yield from (f"{name} belongs to no declared component of {conf.agent}" for name in conf.strangers)
    channels = {channel.name for channel in conf.of("channels")}
    for each in (*conf.of("sources"), *conf.of("sinks")):
        if not each.channels or not set(each.channels) <= channels:
            yield f"{each} is on channel {' '.join(each.channels) or 'none'}, which is not declared"
    for channel in conf.of("channels"):
        filled, drained = conf.users(channel, "sources"), conf.users(channel, "sinks")
        if not (filled or drained) or not (channel.is_kafka_channel or (filled and drained)):
            yield f"{channel} is filled or drained by nothing"
    if not conf.components:
        yield f"nothing is declared for an agent {conf.agent}"


def _types(conf: Conf) -> Iterator[str]:
    for each in conf.components:
        if each.type in LOSING_TYPES:
            yield f"{each}: {LOSING_TYPES[each.type]}"
        elif each.type not in KNOWN_TYPES[each.kind]:
            yield f"{each} has the unknown type {each.type!r}"
    for name, value in conf.settings.items():
        for own in re.findall(r"penstock\.flume\.(\w+)", value):
            if not (FOLDER / "src" / "penstock" / "flume" / f"{own}.java").exists():
                yield f"{name} names the class {own}, which does not exist"


def _environment(conf: Conf) -> Iterator[str]:
    for name, value in conf.settings.items():
        for variable in re.findall(r"\$\{(\w+)\}", value):
            if variable not in ENVIRONMENT:
                yield f"{name} needs {variable}, which no agent is told"


def _batches(conf: Conf) -> Iterator[str]:
    for each in (*conf.of("sources"), *conf.of("sinks")):
        size = each.number(*_BATCH_SIZES.get(each.type, ("batchSize", 100)))
        for channel in conf.of("channels"):
            capacity = channel.number("transactionCapacity", _TRANSACTION_CAPACITY)
            if channel.name in each.channels and not channel.is_kafka_channel and size > capacity:
                yield f"{each} has batches of {size}, more than the {capacity} of a transaction of {channel}"


def _producers(conf: Conf) -> Iterator[str]:
    writing = [each for each in conf.of("sinks") if each.type == KAFKA_SINK]
    writing += [each for each in conf.of("channels") if each.is_kafka_channel and conf.users(each, "sources")]
    for each in writing:
        if each.settings.get("kafka.producer.acks") != "all":
            yield f"{each} does not wait for all replicas: set kafka.producer.acks = all"
        if each.settings.get("kafka.producer.enable.idempotence") != "true":
            yield f"{each} may repeat and reorder: set kafka.producer.enable.idempotence = true"
        if each.is_kafka_channel and each.settings.get("parseAsFlumeEvent") != "false":
            yield f"{each} wraps records in Avro: set parseAsFlumeEvent = false"


def _consumers(conf: Conf) -> Iterator[str]:
    reading = [each for each in conf.of("sources") if each.type == KAFKA_SOURCE]
    reading += [each for each in conf.of("channels") if each.is_kafka_channel and conf.users(each, "sinks")]
    for each in reading:
        if each.settings.get("kafka.consumer.isolation.level") != "read_committed":
            yield f"{each} reads aborted transactions: set kafka.consumer.isolation.level = read_committed"
        if each.settings.get("kafka.consumer.auto.offset.reset") != "earliest":
            yield f"{each} leaves out what came before it: set kafka.consumer.auto.offset.reset = earliest"
        group = each.settings.get("kafka.consumer.group.id", "")
        if conf.agent not in group and group != OF_EACH_DATA_SET:
            yield f"{each} shares its offsets: set kafka.consumer.group.id to one with the agent's name"


def _hdfs(conf: Conf) -> Iterator[str]:
    sinks = [each for each in conf.of("sinks") if each.type == HDFS_SINK]
    for sink in sinks:
        yield from (f"{sink}: {wrong}" for wrong in _hdfs_settings(sink))
        for channel in conf.of("channels"):
            if channel.name in sink.channels and channel.type != EVENT_TIME_CHANNEL:
                yield f"{sink} is on a {channel.type}, whose events have no event time"
    names = [(each.settings.get("hdfs.path"), each.settings.get("hdfs.filePrefix")) for each in sinks]
    if len(set(names)) < len(names):
        yield "two sinks write files of the same names, and would overwrite each other's"


def _hdfs_settings(sink: Component) -> Iterator[str]:
    exact = {
        "hdfs.rollCount": ("0", "rolls by number of events"),
        "hdfs.timeZone": ("UTC", "names folders by local time"),
        "hdfs.fileType": ("DataStream", "writes no plain lines"),
        "hdfs.writeFormat": ("Text", "writes no plain lines"),
        "hdfs.minBlockReplicas": ("1", "begins a new file wherever a replica is missing"),
        "hdfs.closeTries": ("0", "gives up a file that it cannot close"),
    }
    for setting, (value, otherwise) in exact.items():
        if sink.settings.get(setting) != value:
            yield f"{otherwise}: set {setting} = {value}"
    if sink.number("hdfs.rollSize", 1024) < 64 * _MIB:
        yield "makes small files: set hdfs.rollSize to 64 MiB or more"
    if sink.number("hdfs.rollInterval", 0) <= 0:
        yield "keeps a file open for good where little comes: set hdfs.rollInterval"
    if sink.number("hdfs.idleTimeout", 0) <= 0:
        yield "keeps the files of past hours open: set hdfs.idleTimeout"
    if "/%Y-%m-%d/%H" not in sink.settings.get("hdfs.path", ""):
        yield "does not sort records by date and hour: end hdfs.path in /%Y-%m-%d/%H"
    if "%{writer}" not in sink.settings.get("hdfs.filePrefix", ""):
        yield "may overwrite the files of another agent: put %{writer} into hdfs.filePrefix"
    if sink.settings.get("hdfs.inUseSuffix", ".tmp") != ".tmp":
        yield "hides from recovery which files are in progress: leave hdfs.inUseSuffix at .tmp"


def _spooled(conf: Conf) -> Iterator[str]:
    for source in conf.of("sources"):
        if source.type != "spooldir":
            continue
        if source.settings.get("deserializer", "LINE") == "LINE":
            yield from (f"{source} {wrong}" for wrong in _spooled_lines(source))
        if source.settings.get("deletePolicy") != "immediate":
            yield f"{source} stops for good at a file name that it has seen: set deletePolicy = immediate"
        if r"^\\." not in source.settings.get("ignorePattern", ""):
            yield f"{source} reads files that are still being written: ignore hidden names by ignorePattern"


def _spooled_lines(source: Component) -> Iterator[str]:
    longest = source.number("deserializer.maxLineLength", 2048)
    if longest < _LONGEST_LINE:
        yield f"cuts lines at {longest} characters: set deserializer.maxLineLength to 1 MB or more"
    for setting in ("inputCharset", "deserializer.outputCharset"):
        if source.settings.get(setting, "UTF-8") != "ISO-8859-1":
            yield f"stops for good at a byte that is no UTF-8: set {setting} = ISO-8859-1, which passes all bytes"


def _tailed(conf: Conf) -> Iterator[str]:
    for source in conf.of("sources"):
        if source.type != "TAILDIR":
            continue
        if "${FLUME_STATE}/" not in source.settings.get("positionFile", ""):
            yield f"{source} forgets what it has taken: set positionFile to one in ${{FLUME_STATE}}"
        if source.settings.get("skipToEnd", "false") != "false":
            yield f"{source} leaves out what was written before it saw a file: set skipToEnd = false"
        for group in source.settings.get("filegroups", "").split() or ["none"]:
            if f"filegroups.{group}" not in source.settings:
                yield f"{source} reads no files: name a group in filegroups and its pattern in filegroups.{group}"
