"""Every Flume agent's configuration keeps the rules, and each rule catches a conf that breaks it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.flume_conf import ENVIRONMENT, FOLDER, violations

CONFS = sorted(FOLDER.glob("*.conf"))


def conf(name: str) -> str:
    return (FOLDER / f"{name}.conf").read_text(encoding="utf-8")


def changed(text: str, setting: str, value: str | None) -> str:
    """The conf with another value of a setting, or without it."""
    pattern = re.compile(rf"^(\S+\.{re.escape(setting)}) = .*\n", re.MULTILINE)
    assert pattern.search(text), setting
    return pattern.sub("" if value is None else rf"\1 = {value}\n", text)


def test_there_are_confs() -> None:
    assert [path.stem for path in CONFS] == [
        "cars-hdfs",
        "events-hdfs",
        "events-tail",
        "pop-hdfs",
        "pop-spool",
        "raw-copy",
        "wiki-hdfs",
        "wiki-spool",
    ]


@pytest.mark.parametrize("path", CONFS, ids=lambda path: path.stem)
def test_a_conf_keeps_the_rules(path: Path) -> None:
    assert violations(path.stem, path.read_text(encoding="utf-8")) == []


def test_what_the_confs_need_from_the_environment_is_known() -> None:
    used = {name for path in CONFS for name in re.findall(r"\$\{(\w+)\}", path.read_text(encoding="utf-8"))}
    assert used == ENVIRONMENT


@pytest.mark.parametrize(
    ("agent", "setting", "value", "found"),
    [
        ("pop-spool", "kafka.producer.acks", None, "does not wait for all replicas"),
        ("pop-spool", "kafka.producer.acks", "1", "does not wait for all replicas"),
        ("pop-spool", "kafka.producer.enable.idempotence", "false", "may repeat and reorder"),
        ("pop-spool", "parseAsFlumeEvent", None, "wraps records in Avro"),
        ("pop-spool", "deserializer", None, "cuts lines at 2048 characters"),
        ("pop-spool", "deserializer", "LINE", "cuts lines at 2048 characters"),
        ("pop-spool", "deserializer", "penstock.flume.Rows$Builder", "class Rows, which does not exist"),
        ("pop-spool", "deletePolicy", None, "stops for good at a file name"),
        ("pop-spool", "ignorePattern", None, "still being written"),
        ("pop-spool", "sources.responses.type", "exec", "does not know what it has already read"),
        ("pop-spool", "sources.responses.type", "spoldir", "unknown type 'spoldir'"),
        ("pop-spool", "channels.kafka.type", "memory", "loses what it holds"),
        ("pop-spool", "sources.responses.channels", "kafla", "channel kafla, which is not declared"),
        ("pop-spool", "sources.responses.spoolDir", "${SPOOL}", "SPOOL, which no agent is told"),
        ("pop-spool", "sources", "answers", "belongs to no declared component"),
        ("pop-hdfs", "sinks.hdfs.type", "hdfs", "cannot close a file"),
        ("pop-hdfs", "sinks.hdfs.channel", None, "is on channel none"),
        ("pop-hdfs", "sinks", "", "filled or drained by nothing"),
        ("pop-hdfs", "kafka.consumer.isolation.level", None, "reads aborted transactions"),
        ("pop-hdfs", "kafka.consumer.auto.offset.reset", "latest", "leaves out what came before"),
        ("pop-hdfs", "kafka.consumer.group.id", "flume", "shares its offsets"),
        ("cars-hdfs", "hdfs.rollCount", None, "rolls by number of events"),
        ("cars-hdfs", "hdfs.rollSize", None, "makes small files"),
        ("cars-hdfs", "hdfs.rollSize", "1048576", "makes small files"),
        ("cars-hdfs", "hdfs.rollInterval", "0", "keeps a file open for good"),
        ("cars-hdfs", "hdfs.idleTimeout", None, "keeps the files of past hours open"),
        ("cars-hdfs", "hdfs.timeZone", None, "local time"),
        ("cars-hdfs", "hdfs.fileType", None, "writes no plain lines"),
        ("cars-hdfs", "hdfs.minBlockReplicas", None, "wherever a replica is missing"),
        ("cars-hdfs", "hdfs.closeTries", "1", "gives up a file"),
        ("cars-hdfs", "hdfs.filePrefix", "cars", "overwrite the files of another agent"),
        ("cars-hdfs", "hdfs.path", "${HDFS_URL}/Cars", "by date and hour"),
        ("cars-hdfs", "channels.kafka.type", "file", "no event time"),
        ("wiki-spool", "deserializer.maxLineLength", None, "cuts lines at 2048 characters"),
        ("wiki-spool", "inputCharset", None, "stops for good at a byte that is no UTF-8: set inputCharset"),
        ("wiki-spool", "deserializer.outputCharset", "UTF-8", "set deserializer.outputCharset"),
        ("wiki-spool", "interceptors.key.type", "penstock.flume.Key$Builder", "class Key, which does not exist"),
        ("wiki-spool", "kafka.producer.acks", "1", "does not wait for all replicas"),
        ("wiki-hdfs", "kafka.consumer.group.id", "flume-cars-hdfs", "shares its offsets"),
        ("events-tail", "positionFile", None, "forgets what it has taken"),
        ("events-tail", "positionFile", "/tmp/positions.json", "forgets what it has taken"),
        ("events-tail", "filegroups.events", None, "reads no files"),
        ("events-tail", "kafka.producer.enable.idempotence", None, "may repeat and reorder"),
        ("events-hdfs", "hdfs.rollSize", "1024", "makes small files"),
    ],
)
def test_a_broken_conf_is_found(agent: str, setting: str, value: str | None, found: str) -> None:
    broken = violations(agent, changed(conf(agent), setting, value))
    assert [each for each in broken if found in each], broken


FILE_CHANNEL = """
a.sources = in
a.channels = c
a.sinks = out
a.sources.in.type = spooldir
a.sources.in.channels = c
a.sources.in.deserializer.maxLineLength = 1048576
a.sources.in.inputCharset = ISO-8859-1
a.sources.in.deserializer.outputCharset = ISO-8859-1
a.sources.in.deletePolicy = immediate
a.sources.in.ignorePattern = ^\\\\..*
a.sources.in.batchSize = SIZE
a.channels.c.type = file
a.channels.c.transactionCapacity = 1000
a.sinks.out.type = org.apache.flume.sink.kafka.KafkaSink
a.sinks.out.channel = c
a.sinks.out.kafka.producer.acks = all
a.sinks.out.kafka.producer.enable.idempotence = true
a.sinks.out.flumeBatchSize = SIZE
"""


def test_a_batch_must_fit_its_channel_s_transaction() -> None:
    assert violations("a", FILE_CHANNEL.replace("SIZE", "1000")) == []
    broken = violations("a", FILE_CHANNEL.replace("SIZE", "5000"))
    assert [each.split(",")[0] for each in broken] == ["source in has batches of 5000", "sink out has batches of 5000"]


def test_a_tailing_source_begins_at_the_beginning() -> None:
    skipping = conf("events-tail") + "events-tail.sources.logs.skipToEnd = true\n"
    assert [each for each in violations("events-tail", skipping) if "leaves out what was written before" in each]


def test_two_sinks_need_different_file_names() -> None:
    text = conf("cars-hdfs")
    second = "\n".join(
        line.replace("sinks.hdfs.", "sinks.two.") for line in text.splitlines() if ".sinks.hdfs." in line
    )
    both = changed(text, "sinks", "hdfs two") + second
    assert [each for each in violations("cars-hdfs", both) if "the same names" in each]


def test_a_conf_of_another_agent_declares_nothing() -> None:
    assert "nothing is declared for an agent pop" in violations("pop", conf("pop-hdfs"))
