"""What the page asks the ledger, against the real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from penstock.core.batch import Batch, Interval
from penstock.core.counts import Count, Landed, OffsetRange, Produced
from penstock.core.errors import Fatal, Retry
from penstock.ledger.overview import MOST_ROWS, Overview
from penstock.ledger.reconcile import verdict
from penstock.ledger.store import Hop, Ledger, Run
from penstock.ledger.stream_verdicts import StreamRow, StreamVerdicts

pytestmark = pytest.mark.integration

START = datetime(2026, 11, 1, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
RUN = Run("weather_hourly/scheduled__2026-11-01", 1)


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    made = Ledger(ledger_url)
    made.migrate()
    with made:
        yield made


@pytest.fixture
def overview(ledger: Ledger, ledger_url: str) -> Iterator[Overview]:
    with closing(Overview(ledger_url)) as opened:
        yield opened


def batch(hour: int, pipeline: str = "weather_hourly", **options: object) -> Batch:
    start = START + hour * HOUR
    return Batch(pipeline, Interval(start, start + HOUR), options)


def produce(ledger: Ledger, of: Batch, run: Run = RUN) -> Produced:
    as_of = of.interval.end
    ledger.started(of, Hop.PRODUCE, run, as_of=as_of)
    produced = Produced(of.id, "hourlymetrics", 7, as_of, 24, 24, 1, (OffsetRange(2, 5, 20), OffsetRange(0, 1, 9)))
    ledger.produced(of, produced, run)
    return produced


def run_through(ledger: Ledger, of: Batch, run: Run = RUN) -> None:
    produced = produce(ledger, of, run)
    landed = Landed(of.id, 23, 22, 0, 1, foreign=3)
    ledger.landed(of, landed, run, as_of=produced.as_of)
    judged = verdict(produced, landed, {"hourlydata": Count(20, 2, 1)}, raw_copied=22)
    ledger.reconciled(of, judged, run, as_of=produced.as_of)


def test_the_newest_of_each_pipeline_come_first(ledger: Ledger, overview: Overview) -> None:
    for hour in (2, 0, 1):
        run_through(ledger, batch(hour))
    produce(ledger, batch(0, "population"))
    produce(ledger, batch(0, "car_transactions"))
    found = overview.newest(["weather_hourly", "population", "weather_daily"], 2)
    assert {name: [row.batch_id for row in rows] for name, rows in found.items()} == {
        "weather_hourly": [batch(2).id, batch(1).id],
        "population": [batch(0, "population").id],
        "weather_daily": [],
    }
    (newest, _) = found["weather_hourly"]
    assert newest == ledger.batches("weather_hourly")[-1]
    assert newest.interval_end.tzinfo is UTC


def test_pages_show_each_batch_once(ledger: Ledger, overview: Overview) -> None:
    batches = [batch(hour, city=city) for hour in range(3) for city in ("Berlin", "Bern")]
    for each in batches:
        produce(ledger, each)
    shown: list[str] = []
    while page := overview.batches("weather_hourly", 4, shown[-1] if shown else None):
        shown += [row.batch_id for row in page]
    assert sorted(shown) == sorted(each.id for each in batches)
    assert overview.batches("weather_hourly", 4, "no such batch") == []


def test_a_question_for_too_many_is_bounded(ledger: Ledger, overview: Overview, ledger_url: str) -> None:
    with psycopg.connect(ledger_url, autocommit=True) as session:
        session.execute(
            "INSERT INTO batches (batch_id, pipeline, interval_start, interval_end, options)"
            " SELECT 'weather_hourly:' || n, 'weather_hourly', %(start)s, %(start)s::timestamptz + n * %(hour)s, '{}'"
            " FROM generate_series(1, %(rows)s) AS n",
            {"start": START, "hour": HOUR, "rows": MOST_ROWS + 5},
        )
    assert len(overview.newest(["weather_hourly"], 10**6)["weather_hourly"]) == MOST_ROWS
    assert len(overview.batches("weather_hourly", 0)) == 1


def test_a_batch_is_shown_hop_by_hop(ledger: Ledger, overview: Overview) -> None:
    run_through(ledger, batch(0, city="Berlin"))
    found = overview.batch(batch(0, city="Berlin").id)
    assert found is not None
    assert found.options == {"city": "Berlin"}
    assert set(found.hops) == set(Hop)
    produced, landed, reconciled = (found.hops[each] for each in Hop)
    assert (produced.fetched, produced.rejected, produced.schema_id) == (24, 1, 7)
    assert (produced.ranges or [])[0] == {"partition": 2, "start": 5, "end": 20}
    assert (landed.read, landed.duplicates, landed.foreign_read, landed.run_id) == (23, 1, 3, RUN.id)
    assert reconciled.sinks == {"hourlydata": {"own": 20, "newer": 2, "older": 1}}
    assert (reconciled.raw_copied, reconciled.verdict) == (22, found.row.verdict)
    assert overview.batch("no such batch") is None


def test_a_failed_hop_keeps_its_error_whatever_it_holds(ledger: Ledger, overview: Overview) -> None:
    ledger.started(batch(0), Hop.PRODUCE, RUN, as_of=START)
    ledger.failed(batch(0), Hop.PRODUCE, "<script>alert(1)</script>", RUN)
    found = overview.batch(batch(0).id)
    assert found is not None
    assert (found.hops[Hop.PRODUCE].state, found.hops[Hop.PRODUCE].error) == ("failed", "<script>alert(1)</script>")
    assert found.hops[Hop.PRODUCE].fetched is None


def test_a_run_has_the_batches_it_worked_on_last(ledger: Ledger, overview: Overview) -> None:
    other = Run("weather_historic/manual__1")
    run_through(ledger, batch(0))
    for hour in (2, 1):
        run_through(ledger, batch(hour), other)
    assert [row.batch_id for row in overview.of_run(other.id)] == [batch(1).id, batch(2).id]
    assert overview.of_run("weather_historic/manual__2") == []


def test_the_newest_intervals_of_each_stream_come_first(ledger: Ledger, overview: Overview, ledger_url: str) -> None:
    rows = [
        StreamRow(name, START + hour * HOUR, START + (hour + 1) * HOUR, None, 9, 9, {"influxdb": 9}, 0, "whole")
        for name in ("wiki", "other")
        for hour in range(3)
    ]
    for each in rows:
        StreamVerdicts(ledger_url).write(each)
    found = overview.intervals(["wiki", "web_events"], 2)
    assert [row.interval_start for row in found["wiki"]] == [START + 2 * HOUR, START + HOUR]
    assert found["web_events"] == []
    assert found["wiki"][0].aggregated == {"influxdb": 9}
    assert found["wiki"][0].judged is not None


def test_a_ledger_without_tables_or_away_is_said(ledger_url: str) -> None:
    with closing(Overview(ledger_url)) as overview, pytest.raises(Fatal, match="has not been migrated"):
        overview.newest(["weather_hourly"], 1)
    away = Overview("postgresql://penstock:secret@127.0.0.1:1/penstock")
    with pytest.raises(Retry, match=r"the ledger at 127\.0\.0\.1:1/penstock can't be reached") as raised:
        away.newest(["weather_hourly"], 1)
    assert "secret" not in str(raised.value)
