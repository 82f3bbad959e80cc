from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.counts import Count, Landed, OffsetRange, Produced
from penstock.core.errors import Fatal
from penstock.ledger.reconcile import WHOLE, verdict

BATCH = "weather_hourly:2026-11-01T06:00:00Z/2026-11-01T07:00:00Z"
counts = st.integers(0, 10**9)


def produced(fetched: int, acked: int, rejected: int = 0, batch_id: str = BATCH) -> Produced:
    as_of = datetime(2026, 11, 1, 7, tzinfo=UTC)
    return Produced(batch_id, "hourlymetrics", 1, as_of, fetched, acked, rejected, (OffsetRange(0, 0, acked),))


def landed(landed: int, rejected: int = 0, duplicates: int = 0, foreign: int = 0) -> Landed:
    return Landed(BATCH, landed + rejected + duplicates, landed, rejected, duplicates, foreign)


def in_table(own: int, newer: int = 0, older: int = 0) -> dict[str, Count]:
    return {"hourlydata": Count(own=own, newer=newer, older=older)}


def test_a_batch_of_which_everything_arrived_is_whole() -> None:
    judged = verdict(produced(24, 24), landed(24), in_table(24))
    assert judged.whole
    assert judged.text == WHOLE == "whole"
    assert judged.sinks == in_table(24)


def test_an_empty_batch_is_whole() -> None:
    assert verdict(produced(0, 0), landed(0), in_table(0)).whole


def test_records_that_landing_never_saw_are_missing_at_land() -> None:
    judged = verdict(produced(24, 24), landed(20), in_table(20))
    assert judged.text == "acked 24 of 24, landed 20, rejected 0: 4 missing at land"


def test_records_without_an_ack_are_missing_at_produce() -> None:
    judged = verdict(produced(24, 20), landed(20), in_table(20))
    assert judged.text == "acked 20 of 24, landed 20, rejected 0: 4 missing at produce"


def test_rows_that_the_sink_does_not_have_are_missing_in_it() -> None:
    judged = verdict(produced(24, 24), landed(24), in_table(20, older=4))
    assert judged.text == (
        "acked 24 of 24, landed 24, rejected 0: "
        "4 missing in hourlydata (rows by this attempt 20, later ones 0, earlier ones 4)"
    )


def test_every_hop_that_lost_something_is_named() -> None:
    judged = verdict(produced(30, 24), landed(20), in_table(19))
    for gap in ("6 missing at produce", "4 missing at land", "1 missing in hourlydata"):
        assert gap in judged.text


def test_rejected_records_of_both_hops_are_accounted_for() -> None:
    assert verdict(produced(24, 24, rejected=3), landed(20, rejected=1), in_table(20)).whole


def test_duplicates_are_accounted_for_and_named() -> None:
    assert verdict(produced(24, 24), landed(20, duplicates=4), in_table(20)).whole
    assert "duplicates 2" in verdict(produced(24, 24), landed(20, duplicates=2), in_table(20)).text


def test_rows_that_a_later_attempt_replaced_are_present() -> None:
    assert verdict(produced(24, 24), landed(24), in_table(0, newer=30)).whole


def test_more_rows_than_landed_are_named() -> None:
    assert "2 too many in hourlydata" in verdict(produced(24, 24), landed(24), in_table(26)).text
    assert "2 too many at land" in verdict(produced(24, 24), landed(26), in_table(26)).text


def test_a_landing_that_does_not_account_for_what_it_read_is_not_whole() -> None:
    judged = verdict(produced(24, 24), Landed(BATCH, read=23, landed=24, rejected=0), in_table(24))
    assert "land read 23 and accounts for 24" in judged.text


def test_one_of_two_sinks_is_named() -> None:
    sinks = {"hourlydata": Count(own=24, newer=0, older=0), "archive": Count(own=23, newer=0, older=0)}
    assert "1 missing in archive" in verdict(produced(24, 24), landed(24), sinks).text


def test_counts_of_two_batches_are_refused() -> None:
    with pytest.raises(Fatal, match="other:batch"):
        verdict(produced(1, 1, batch_id="other:batch"), landed(1), in_table(1))


@given(rows=counts, at_produce=counts, at_land=counts, duplicates=counts, foreign=counts, older=counts)
def test_whatever_the_counts_a_batch_that_adds_up_is_whole(
    rows: int, at_produce: int, at_land: int, duplicates: int, foreign: int, older: int
) -> None:
    total = rows + at_produce + at_land + duplicates
    judged = verdict(
        produced(total, total, at_produce), landed(rows, at_land, duplicates, foreign), in_table(rows, older=older)
    )
    assert judged.text == WHOLE


@given(
    rows=counts,
    rejected=counts,
    lost_at_produce=counts,
    lost_at_land=counts,
    in_sink=counts,
    newer=counts,
    older=counts,
)
def test_a_batch_is_whole_if_and_only_if_nothing_is_missing(
    rows: int, rejected: int, lost_at_produce: int, lost_at_land: int, in_sink: int, newer: int, older: int
) -> None:
    acked = rows + rejected + lost_at_land
    own = min(in_sink, rows)
    judged = verdict(
        produced(acked + lost_at_produce, acked), landed(rows, rejected), in_table(own, newer=newer, older=older)
    )
    missing = (lost_at_produce, lost_at_land, max(0, rows - own - newer))
    assert judged.whole == (not any(missing))
    for number, where in zip(missing, ("at produce", "at land", "in hourlydata"), strict=True):
        assert (f"{number} missing {where}" in judged.text) == (number > 0)
