from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from penstock.core.batch import Batch, Interval
from penstock.core.counts import Count, Landed, OffsetRange, Produced
from penstock.core.errors import Fatal, Retry
from penstock.ledger import store
from penstock.ledger.freshness import freshness
from penstock.ledger.locks import held_lock, lock_key
from penstock.ledger.reconcile import Verdict, verdict
from penstock.ledger.store import Hop, Ledger, LedgerRow, Run

pytestmark = pytest.mark.integration

START = datetime(2026, 11, 1, 6, tzinfo=UTC)
AS_OF = datetime(2026, 11, 1, 7, 0, 1, 123456, tzinfo=UTC)
LATER = AS_OF + timedelta(minutes=5)
FIRST = Run("weather_hourly/scheduled__2026-11-01", 1)
SECOND = Run("weather_hourly/scheduled__2026-11-01", 2)
OTHER = Run("weather_hourly/backfill__2026-11-01", 1)


def batch(hour: int = 0, pipeline: str = "weather_hourly", **options: object) -> Batch:
    start = START + timedelta(hours=hour)
    return Batch(pipeline, Interval(start, start + timedelta(hours=1)), options)


BATCH = batch()


def produced(of: Batch = BATCH, as_of: datetime = AS_OF, fetched: int = 24, rejected: int = 0) -> Produced:
    ranges = (OffsetRange(0, 5, 20), OffsetRange(2, 0, 12))
    return Produced(of.id, "hourlymetrics", 7, as_of, fetched, fetched, rejected, ranges)


def landed(of: Batch = BATCH, rows: int = 24, rejected: int = 0, duplicates: int = 0) -> Landed:
    return Landed(of.id, rows + rejected + duplicates, rows, rejected, duplicates, foreign=3)


def judged(fetched: int = 24, rows: int = 24) -> Verdict:
    return verdict(produced(fetched=fetched), landed(rows=rows), {"hourlydata": Count(own=rows, newer=0, older=0)})


def run_through(ledger: Ledger, of: Batch = BATCH, as_of: datetime = AS_OF, run: Run = FIRST, rows: int = 24) -> None:
    ledger.started(of, Hop.PRODUCE, run, as_of=as_of)
    ledger.produced(of, produced(of, as_of, rows), run)
    ledger.started(of, Hop.LAND, run, as_of=as_of)
    ledger.landed(of, landed(of, rows), run, as_of=as_of)
    ledger.started(of, Hop.RECONCILE, run, as_of=as_of)
    ledger.reconciled(of, judged(rows, rows), run, as_of=as_of)


@pytest.fixture
def ledger(ledger_url: str) -> Ledger:
    ledger = Ledger(ledger_url)
    ledger.migrate()
    return ledger


def row_of(ledger: Ledger) -> LedgerRow:
    (row,) = ledger.batches()
    return row


def test_a_batch_that_went_through_is_whole(ledger: Ledger) -> None:
    run_through(ledger)
    row = row_of(ledger)
    assert row.to_json() | {"started": None, "finished": None} == {
        "pipeline": "weather_hourly",
        "batch_id": BATCH.id,
        "interval_start": "2026-11-01T06:00:00+00:00",
        "interval_end": "2026-11-01T07:00:00+00:00",
        "fetched": 24,
        "acked": 24,
        "landed": 24,
        "rejected": 0,
        "duplicates": 0,
        "raw_copied": None,
        "verdict": "whole",
        "started": None,
        "finished": None,
    }
    assert row.whole
    assert row.took is not None
    assert row.took >= timedelta(0)
    assert row.started.tzinfo is UTC


def test_calls_in_a_with_block_share_one_session(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[psycopg.Connection] = []
    connect = store.postgres.connect
    monkeypatch.setattr(store.postgres, "connect", lambda address: opened.append(connect(address)) or opened[-1])
    with ledger:
        run_through(ledger)
        assert len(opened) == 1
    assert opened[0].closed
    ledger.batches()
    ledger.batches()
    assert len(opened) == 3
    assert all(each.closed for each in opened)


@pytest.mark.parametrize(
    ("done", "stands"),
    [(0, "produce in progress"), (1, "land not started"), (2, "reconcile not started"), (3, "whole")],
)
def test_an_unfinished_batch_says_where_it_stands(ledger: Ledger, done: int, stands: str) -> None:
    ledger.started(BATCH, Hop.PRODUCE, FIRST, as_of=AS_OF)
    steps = [
        lambda: ledger.produced(BATCH, produced(rejected=1), FIRST),
        lambda: ledger.landed(BATCH, landed(rows=20, rejected=2, duplicates=1), FIRST, as_of=AS_OF),
        lambda: ledger.reconciled(BATCH, judged(), FIRST, as_of=AS_OF),
    ]
    for step in steps[:done]:
        assert step()
    row = row_of(ledger)
    assert row.verdict == stands
    assert (row.finished is None) == (done < 3)
    assert row.fetched == row.acked == (24 if done >= 1 else None)
    assert row.landed == (20 if done >= 2 else None)
    assert row.rejected == (None if done == 0 else 1 if done == 1 else 3)


@pytest.mark.parametrize("hop", Hop)
def test_a_failed_hop_shows_its_error_on_one_line(ledger: Ledger, hop: Hop) -> None:
    run_through(ledger)
    assert ledger.started(BATCH, hop, SECOND, as_of=AS_OF)
    assert row_of(ledger).verdict == f"{hop} in progress"
    assert ledger.failed(BATCH, hop, Retry("Cassandra is away:\n  no\0 host"), SECOND)
    row = row_of(ledger)
    assert row.verdict == f"{hop} failed: Cassandra is away: no host"
    assert row.finished is not None
    assert row.landed == 24, "what an earlier attempt landed is still there"


def test_an_error_without_a_text_is_still_named(ledger: Ledger) -> None:
    ledger.started(BATCH, Hop.PRODUCE, FIRST, as_of=AS_OF)
    ledger.failed(BATCH, Hop.PRODUCE, KeyboardInterrupt(), FIRST)
    assert row_of(ledger).verdict == "produce failed: KeyboardInterrupt()"


def test_a_retry_replaces_the_failed_attempt_and_is_counted(ledger: Ledger, ledger_url: str) -> None:
    ledger.started(BATCH, Hop.PRODUCE, FIRST, as_of=AS_OF)
    ledger.failed(BATCH, Hop.PRODUCE, "broker away", FIRST)
    assert ledger.started(BATCH, Hop.PRODUCE, SECOND, as_of=LATER)
    assert ledger.started(BATCH, Hop.PRODUCE, SECOND, as_of=LATER), "telling it twice changes nothing"
    assert ledger.produced(BATCH, produced(as_of=LATER), SECOND)
    with psycopg.connect(ledger_url) as session:
        hop = session.execute("SELECT attempts, run_id, try_number, state, error, as_of FROM hops").fetchall()
    assert hop == [(2, SECOND.id, 2, "done", None, LATER)]


def test_a_zombie_s_older_attempt_changes_nothing(ledger: Ledger) -> None:
    ledger.started(BATCH, Hop.PRODUCE, FIRST, as_of=AS_OF)
    run_through(ledger, as_of=LATER, run=SECOND, rows=30)
    assert not ledger.failed(BATCH, Hop.PRODUCE, "fenced", FIRST)
    assert not ledger.produced(BATCH, produced(), FIRST)
    assert not ledger.started(BATCH, Hop.LAND, FIRST, as_of=AS_OF)
    assert not ledger.landed(BATCH, landed(), FIRST, as_of=AS_OF)
    assert not ledger.reconciled(BATCH, judged(24, 20), FIRST, as_of=AS_OF)
    row = row_of(ledger)
    assert (row.fetched, row.landed, row.verdict) == (30, 30, "whole")


def test_a_zombie_landing_of_the_same_records_changes_nothing(ledger: Ledger) -> None:
    ledger.produced(BATCH, produced(), FIRST)
    ledger.started(BATCH, Hop.LAND, FIRST, as_of=AS_OF)
    ledger.started(BATCH, Hop.LAND, SECOND, as_of=AS_OF)
    assert not ledger.landed(BATCH, landed(rows=23), FIRST, as_of=AS_OF)
    assert ledger.landed(BATCH, landed(), SECOND, as_of=AS_OF)
    assert not ledger.failed(BATCH, Hop.LAND, "killed", FIRST)
    assert row_of(ledger).landed == 24


def test_a_later_try_on_a_worker_with_a_slow_clock_is_the_later_attempt(ledger: Ledger) -> None:
    ledger.started(BATCH, Hop.PRODUCE, FIRST, as_of=LATER)
    assert ledger.started(BATCH, Hop.PRODUCE, SECOND, as_of=AS_OF)
    assert ledger.produced(BATCH, produced(as_of=AS_OF), SECOND)
    assert row_of(ledger).verdict == "land not started"


def test_a_run_beside_a_live_run_leaves_the_later_data_s_row(ledger: Ledger) -> None:
    ledger.started(BATCH, Hop.PRODUCE, FIRST, as_of=AS_OF)
    ledger.produced(BATCH, produced(), FIRST)
    ledger.started(BATCH, Hop.PRODUCE, OTHER, as_of=LATER)
    ledger.produced(BATCH, produced(as_of=LATER, fetched=30), OTHER)
    ledger.landed(BATCH, landed(), FIRST, as_of=AS_OF)
    row = row_of(ledger)
    assert (row.fetched, row.landed, row.verdict) == (30, None, "land not started")
    ledger.landed(BATCH, landed(rows=30), OTHER, as_of=LATER)
    ledger.reconciled(BATCH, judged(), FIRST, as_of=AS_OF)
    assert row_of(ledger).verdict == "reconcile not started"
    ledger.reconciled(BATCH, judged(30, 30), OTHER, as_of=LATER)
    assert row_of(ledger).verdict == "whole"


def test_a_verdict_from_before_the_latest_landing_does_not_count(ledger: Ledger) -> None:
    run_through(ledger)
    ledger.started(BATCH, Hop.LAND, SECOND, as_of=AS_OF)
    ledger.landed(BATCH, landed(), SECOND, as_of=AS_OF)
    assert row_of(ledger).verdict == "reconcile not started"


def test_what_was_produced_is_read_back(ledger: Ledger) -> None:
    assert ledger.last_produced(BATCH.id) is None
    ledger.started(BATCH, Hop.PRODUCE, FIRST, as_of=AS_OF)
    assert ledger.last_produced(BATCH.id) is None
    ledger.produced(BATCH, produced(), FIRST)
    assert ledger.last_produced(BATCH.id) == produced()
    ledger.started(BATCH, Hop.PRODUCE, SECOND, as_of=LATER)
    ledger.failed(BATCH, Hop.PRODUCE, "broker away", SECOND)
    assert ledger.last_produced(BATCH.id) == produced(), "the committed records are still on the topic"


def test_batches_are_chosen_by_pipeline_and_overlap_oldest_first(ledger: Ledger) -> None:
    with ledger:
        for each in (*map(batch, range(5)), batch(2, "weather_daily"), batch(2, latitudes=[1.5], days=3)):
            ledger.started(each, Hop.PRODUCE, FIRST, as_of=AS_OF)
    hours = START + timedelta(hours=1), START + timedelta(hours=3)
    assert [row.batch_id for row in ledger.batches("weather_daily")] == [batch(2, "weather_daily").id]
    assert [row.batch_id for row in ledger.batches("weather_hourly", *hours)] == [
        batch(1).id,
        batch(2).id,
        batch(2, latitudes=[1.5], days=3).id,
    ]
    within_an_hour = START + timedelta(minutes=20), START + timedelta(minutes=40)
    assert [row.batch_id for row in ledger.batches(None, *within_an_hour)] == [batch(0).id]
    assert [row.batch_id for row in ledger.batches(limit=2)] == [batch(3).id, batch(4).id]


def test_the_options_of_a_batch_are_kept(ledger: Ledger, ledger_url: str) -> None:
    ledger.started(batch(latitudes=[52.5], until=START), Hop.PRODUCE, FIRST, as_of=AS_OF)
    with psycopg.connect(ledger_url) as session:
        assert session.execute("SELECT options FROM ledger").fetchall() == [
            ({"latitudes": [52.5], "until": str(START)},)
        ]


def test_the_sinks_counts_are_kept(ledger: Ledger, ledger_url: str) -> None:
    run_through(ledger)
    with psycopg.connect(ledger_url) as session:
        assert session.execute("SELECT sinks FROM hops WHERE hop = 'reconcile'").fetchall() == [
            ({"hourlydata": {"own": 24, "newer": 0, "older": 0}},)
        ]


@pytest.mark.parametrize(
    ("nonsense", "rule"),
    [
        (replace(produced(), fetched=25), "every_fetched_record_is_acked"),
        (replace(produced(), rejected=25), "rejected_are_among_the_acked"),
        (replace(produced(), rejected=-1), "rejected"),
        (replace(produced(), topic=""), "topic"),
    ],
)
def test_nonsense_from_produce_is_refused_by_the_name_of_the_rule(
    ledger: Ledger, nonsense: Produced, rule: str
) -> None:
    with pytest.raises(Fatal, match=rule):
        ledger.produced(BATCH, nonsense, FIRST)
    assert ledger.batches() == []


@pytest.mark.parametrize(
    ("nonsense", "rule"),
    [
        (replace(landed(), read=23), "every_read_record_has_a_fate"),
        (replace(landed(), landed=-1, read=-1), "hops_(read|landed)"),
        (replace(landed(), foreign=-1), "foreign"),
    ],
)
def test_nonsense_from_land_is_refused_by_the_name_of_the_rule(ledger: Ledger, nonsense: Landed, rule: str) -> None:
    with pytest.raises(Fatal, match=rule):
        ledger.landed(BATCH, nonsense, FIRST, as_of=AS_OF)


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("state", "'failed'", "failed_has_an_error"),
        ("state", "'running'", "running_has_no_end"),
        ("finished", "started - interval '1 second'", "an_attempt_ends_after_its_start"),
        ("as_of", "NULL", "(done_has_counts|counts_of)"),
        ("landed", "1", "counts_of_land"),
        ("verdict", "'whole'", "counts_of_reconcile"),
        ("attempts", "0", "attempts"),
        ("ranges", "'{}'", "ranges"),
        ("hop", "'fetch'", "hop"),
    ],
)
def test_the_tables_cannot_hold_nonsense(ledger: Ledger, ledger_url: str, column: str, value: str, rule: str) -> None:
    ledger.produced(BATCH, produced(), FIRST)
    with psycopg.connect(ledger_url) as session, pytest.raises(psycopg.errors.CheckViolation, match=rule):
        session.execute(f"UPDATE hops SET {column} = {value}")


def test_an_interval_cannot_end_before_it_starts(ledger: Ledger, ledger_url: str) -> None:
    ledger.started(BATCH, Hop.PRODUCE, FIRST, as_of=AS_OF)
    with psycopg.connect(ledger_url) as session, pytest.raises(psycopg.errors.CheckViolation, match="interval_ends"):
        session.execute("UPDATE batches SET interval_end = interval_start")


def test_counts_of_another_batch_are_refused(ledger: Ledger) -> None:
    with pytest.raises(Fatal, match="cannot be written for the batch"):
        ledger.produced(BATCH, produced(batch(1)), FIRST)


def test_attempts_at_the_same_time_leave_the_latest(ledger: Ledger, ledger_url: str) -> None:
    def attempt(number: int) -> None:
        as_of = AS_OF + timedelta(seconds=number % 8)
        run_through(Ledger(ledger_url), as_of=as_of, run=Run(f"run {number}"), rows=number % 8)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(attempt, range(32)))
    row = row_of(ledger)
    assert (row.fetched, row.landed) == (7, 7)
    assert row.verdict in {"whole", "reconcile not started"}


def test_migrating_again_does_nothing(ledger: Ledger) -> None:
    assert ledger.migrate() == []


def test_many_may_migrate_at_once(ledger_url: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        applied = list(pool.map(lambda _: Ledger(ledger_url).migrate(), range(6)))
    all_of_them = sorted(each.name for each in Path(store.__file__).parent.glob("migrations/*.sql"))
    assert sorted(filter(None, applied)) == [all_of_them]


def test_a_changed_migration_is_refused(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "001_batches_and_hops.sql").write_text("SELECT 1")
    monkeypatch.setattr(store, "_MIGRATIONS", tmp_path)
    with pytest.raises(Fatal, match=r"001_batches_and_hops\.sql has been changed"):
        ledger.migrate()


def test_a_migration_that_fails_leaves_nothing_behind(
    ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "001_good.sql").write_text("CREATE TABLE good ()")
    (tmp_path / "002_bad.sql").write_text("CREATE TABLE bad (; ")
    monkeypatch.setattr(store, "_MIGRATIONS", tmp_path)
    with pytest.raises(Fatal, match="syntax error"):
        Ledger(ledger_url).migrate()
    with psycopg.connect(ledger_url) as session:
        assert session.execute("SELECT to_regclass('good'), to_regclass('ledger_migrations')").fetchone() == (
            None,
            None,
        )


def test_a_ledger_without_tables_says_what_to_do(ledger_url: str) -> None:
    with pytest.raises(Fatal, match="has not been migrated"):
        Ledger(ledger_url).batches()


def test_a_wrong_password_is_not_worth_a_retry(ledger_url: str) -> None:
    password = psycopg.conninfo.conninfo_to_dict(ledger_url)["password"]
    with pytest.raises(Fatal, match="authentication failed") as raised:
        Ledger(ledger_url.replace(f":{password}@", ":n0tIt@")).batches()
    assert "n0tIt" not in f"{raised.value}{raised.value.__cause__!r}"


def test_a_session_that_the_server_ends_is_worth_a_retry(ledger: Ledger, ledger_url: str) -> None:
    with ledger:
        assert ledger._shared is not None
        with psycopg.connect(ledger_url) as other:
            other.execute("SELECT pg_terminate_backend(%s, 10000)", (ledger._shared.info.backend_pid,))
        with pytest.raises(Retry, match="the ledger at"):
            ledger.batches()


def test_freshness_is_that_of_the_newest_interval_that_landed_anything(ledger: Ledger) -> None:
    run_through(ledger, batch(0))
    run_through(ledger, batch(1))
    run_through(ledger, batch(2), rows=0)
    ledger.produced(batch(3), produced(batch(3)), FIRST)
    limits = {"weather_hourly": timedelta(days=36500), "weather_daily": timedelta(hours=1)}
    pipelines = [SimpleNamespace(name=name, freshness=limit, schedule="@x") for name, limit in limits.items()]
    by_hand = SimpleNamespace(name="weather_historic", freshness=timedelta(hours=1), schedule=None)
    hourly, daily = freshness(ledger, [*pipelines, by_hand])  # type: ignore[list-item]
    assert hourly.newest == START + timedelta(hours=2)
    assert hourly.age is not None
    assert hourly.fresh
    assert (daily.data_set, daily.newest, daily.fresh) == ("weather_daily", None, False)


def held(*ends: int, start: int = 0) -> list[OffsetRange]:
    return [OffsetRange(partition, start, end) for partition, end in enumerate(ends)]


class TestClaims:
    def test_a_claim_begins_where_the_last_one_ended(self, ledger: Ledger) -> None:
        assert ledger.claim(batch(0), "cars", "id", held(10, 0)) == [OffsetRange(0, 0, 10)]
        assert ledger.claim(batch(1), "cars", "id", held(15, 3)) == [OffsetRange(0, 10, 15), OffsetRange(1, 0, 3)]
        assert ledger.claim(batch(2), "cars", "id", held(15, 3)) == []

    def test_a_batch_keeps_its_claims_and_adds_what_has_come_since(self, ledger: Ledger) -> None:
        ledger.claim(batch(0), "cars", "id", held(10))
        ledger.claim(batch(1), "cars", "id", held(12))
        assert ledger.claim(batch(0), "cars", "id", held(20)) == [OffsetRange(0, 0, 10), OffsetRange(0, 12, 20)]

    def test_a_topic_made_anew_is_claimed_from_its_beginning(self, ledger: Ledger) -> None:
        ledger.claim(batch(0), "cars", "old", held(10))
        assert ledger.claim(batch(0), "cars", "new", held(4)) == [OffsetRange(0, 0, 4)]

    def test_offsets_that_have_expired_are_left_out(self, ledger: Ledger) -> None:
        ledger.claim(batch(0), "cars", "id", held(10))
        assert ledger.claim(batch(0), "cars", "id", held(10, start=6)) == [OffsetRange(0, 6, 10)]
        assert ledger.claim(batch(0), "cars", "id", held(30, start=20)) == [OffsetRange(0, 20, 30)]

    def test_each_offset_is_claimed_once_however_many_claim_at_once(self, ledger: Ledger) -> None:
        def claim(number: int) -> list[OffsetRange]:
            return ledger.claim(batch(number), "cars", "id", held(10 * number, 3 * number))

        with ThreadPoolExecutor(8) as pool:
            claims = [each for found in pool.map(claim, range(1, 17)) for each in found]
        for partition, end in ((0, 160), (1, 48)):
            offsets = [n for each in claims if each.partition == partition for n in range(each.start, each.end)]
            assert sorted(offsets) == list(range(end))

    def test_what_a_batch_took_up_is_part_of_what_it_produced(self, ledger: Ledger) -> None:
        took_up = produced().with_claim([OffsetRange(1, 3, 9)], 5)
        ledger.produced(BATCH, took_up, FIRST)
        assert ledger.last_produced(BATCH.id) == took_up
        assert (row_of(ledger).fetched, row_of(ledger).acked) == (29, 29)


def test_a_verdict_tells_how_many_are_in_the_raw_copy(ledger: Ledger) -> None:
    run_through(ledger)
    found = verdict(produced(), landed(), {"cars": Count(own=24)}, topic_keys=24, raw_copied=24)
    ledger.reconciled(BATCH, found, FIRST, as_of=AS_OF)
    assert (row_of(ledger).raw_copied, row_of(ledger).verdict) == (24, "whole")


def test_a_lock_is_held_by_one_and_let_go_by_its_end(ledger_url: str) -> None:
    with held_lock(ledger_url, "landing in cars", 0):
        with (
            pytest.raises(Retry, match="another process has been landing in cars"),
            held_lock(ledger_url, "landing in cars", 0),
        ):
            pass
        with held_lock(ledger_url, "landing in pop", 0):
            pass
    with held_lock(ledger_url, "landing in cars", 0):
        pass


def test_a_lock_that_was_lost_on_the_way_is_told_at_the_end(ledger_url: str) -> None:
    end_the_holder = (
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
        " AND (classid::bigint << 32) | objid::bigint = %s::bigint"
    )
    with (
        psycopg.connect(ledger_url, autocommit=True) as other,
        pytest.raises(Retry),
        held_lock(ledger_url, "landing in cars", 0),
    ):
        other.execute(end_the_holder, (lock_key("landing in cars"),))
