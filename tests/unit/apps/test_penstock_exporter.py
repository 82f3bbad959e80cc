from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from apps.penstock_exporter import outside
from apps.penstock_exporter.exporter import LEDGER, Exporter
from apps.penstock_exporter.outside import FlumePart, SpoolsPart
from apps.penstock_exporter.part import Part, Value
from penstock.core.errors import Fatal, Retry
from penstock.observe.metrics import FLUME_UP, FRESH, SERVICE_RESTARTS, SPOOL_BYTES, SPOOL_LIMIT


def fresh() -> Iterator[Value]:
    yield FRESH, {"data_set": "wiki"}, 1.0


def away() -> Iterator[Value]:
    yield SPOOL_BYTES, {"spool": "wiki"}, 7
    raise Retry("it is away")


def told(*parts: Part) -> str:
    registry = CollectorRegistry()
    registry.register(Exporter(parts))
    return generate_latest(registry).decode()


def test_a_part_that_is_away_hides_no_other_and_nothing_that_it_knows():
    parts = Part(LEDGER, fresh, 10), Part("spools", away, 10)
    for part in parts:
        part.refresh()
    lines = told(*parts).splitlines()
    assert 'penstock_fresh{data_set="wiki"} 1.0' in lines
    assert 'penstock_spool_bytes{spool="wiki"} 7.0' in lines
    assert 'penstock_exporter_part_up{part="ledger"} 1.0' in lines
    assert 'penstock_exporter_part_up{part="spools"} 0.0' in lines
    assert "penstock_ledger_up 1.0" in lines
    assert Exporter(parts).health() == (503, {"problems": {"spools": "it is away"}})


@pytest.mark.parametrize("error", [Retry("away"), Fatal("refused")])
def test_without_the_ledger_its_metrics_are_gone_and_it_is_told_to_be_down(error):
    def look() -> Iterator[Value]:
        raise error
        yield

    part = Part(LEDGER, look, 10)
    part.refresh()
    lines = told(part).splitlines()
    assert "penstock_ledger_up 0.0" in lines
    assert not any(line.startswith("penstock_fresh{") for line in lines)


def test_before_its_first_look_a_part_is_down():
    assert 'penstock_exporter_part_up{part="ledger"} 0.0' in told(Part(LEDGER, fresh, 10)).splitlines()


def test_a_part_that_fails_unforeseen_says_so_and_looks_again(caplog):
    errors = iter([ZeroDivisionError("division by zero")])
    found, stopping = threading.Event(), threading.Event()

    def look() -> Iterator[Value]:
        for error in errors:
            raise error
        yield from fresh()
        found.set()

    part = Part("totals", look, 0.01)
    part.refresh()
    assert part.problem == "it failed with ZeroDivisionError: division by zero"
    assert "ZeroDivisionError" in caplog.text

    errors = iter([ZeroDivisionError("division by zero")])
    looking = threading.Thread(target=part.run, args=(stopping,))
    looking.start()
    try:
        assert found.wait(30)
    finally:
        stopping.set()
        looking.join()
    assert part.problem is None


def test_a_look_that_hangs_keeps_no_scrape_waiting_and_what_was_found_before_grows_too_old():
    hangs, free = threading.Event(), threading.Event()

    def look() -> Iterator[Value]:
        if hangs.is_set():
            free.wait(30)
        yield from fresh()

    part = Part(LEDGER, look, 10)
    part.refresh()
    hangs.set()
    looking = threading.Thread(target=part.refresh)
    looking.start()
    try:
        assert 'penstock_fresh{data_set="wiki"} 1.0' in told(part).splitlines()
        assert part._found is not None
        part._found = replace(part._found, at=part._found.at - 46)
        assert "penstock_ledger_up 0.0" in told(part).splitlines()
        assert part.problem == "it has not answered for 46 s"
    finally:
        free.set()
        looking.join()
    assert part.problem is None


def test_counters_and_gauges_are_what_their_names_say():
    def look() -> Iterator[Value]:
        yield SERVICE_RESTARTS, {"service": "car-api"}, 3
        yield SERVICE_RESTARTS, {"service": "flume-pop-hdfs"}, 0

    part = Part(LEDGER, look, 10)
    part.refresh()
    text = told(part)
    assert text.count("# TYPE penstock_service_restarts_total counter") == 1
    assert 'penstock_service_restarts_total{service="car-api"} 3.0' in text
    assert "# TYPE penstock_ledger_up gauge" in text


def test_each_agent_tells_for_itself(monkeypatch):
    counters = {"CHANNEL.c": {"ChannelSize": "5", "EventPutSuccessCount": "9", "StartTime": "1"}, "SINK.s": {}}
    environment = {
        f"FLUME_{name}_METRICS_URL": name
        for name in ("POP_SPOOL", "POP_HDFS", "CARS_HDFS", "WIKI_SPOOL", "WIKI_HDFS", "EVENTS_TAIL", "EVENTS_HDFS")
    }
    monkeypatch.setattr(outside, "counters", lambda url: counters if url == "POP_SPOOL" else None)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = list(FlumePart().look())
    up = {labels["agent"]: value for metric, labels, value in found if metric is FLUME_UP}
    assert len(up) == len(environment)
    assert {agent for agent, value in up.items() if value} == {"pop-spool"}
    about = {(str(metric), *labels.values(), value) for metric, labels, value in found if metric is not FLUME_UP}
    assert about == {
        ("penstock_flume_channel_size", "pop-spool", "CHANNEL.c", 5.0),
        ("penstock_flume_events_total", "pop-spool", "CHANNEL.c", "EventPutSuccessCount", 9.0),
    }


def test_folders_are_measured_by_what_waits_in_them(tmp_path):
    environment = {"PENSTOCK_VAR": str(tmp_path), "WIKI_SPOOL_BYTES": str(32 << 20), "WEB_LOGS_BYTES": str(64 << 20)}
    (tmp_path / "spool" / "wiki").mkdir(parents=True)
    (tmp_path / "spool" / "wiki" / "changes.json").write_bytes(b"x" * 100)
    (tmp_path / "data" / "logs").mkdir(parents=True)
    (tmp_path / "data" / "logs" / "events-1.log").write_bytes(b"line\nhalf")
    found = [(metric, labels.get("spool"), value) for metric, labels, value in SpoolsPart(environment).look()]
    assert [(spool, value) for metric, spool, value in found if metric is SPOOL_BYTES] == [
        ("population", 0),
        ("wiki", 100),
        ("web_events", 5),
    ]
    assert {spool: value for metric, spool, value in found if metric is SPOOL_LIMIT} == {
        "wiki": 32 << 20,
        "web_events": 64 << 20,
    }
