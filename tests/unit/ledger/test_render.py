import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from penstock.ledger.render import render_rows
from penstock.ledger.store import LedgerRow

LONG = "acked 24 of 24, landed 20, rejected 0: 4 missing at land; 3 missing in hourlydata [/etc] (" + "x" * 300 + ")"


def row(**changes: object) -> LedgerRow:
    start = datetime(2026, 11, 1, 6, tzinfo=UTC)
    values = {
        "pipeline": "weather_hourly",
        "batch_id": "weather_hourly:2026-11-01T06:00:00Z/2026-11-01T07:00:00Z",
        "interval_start": start,
        "interval_end": start + timedelta(hours=1),
        "fetched": 24,
        "acked": 24,
        "landed": 24,
        "rejected": 0,
        "duplicates": 0,
        "raw_copied": None,
        "verdict": "whole",
        "started": start + timedelta(hours=1),
        "finished": start + timedelta(hours=1, seconds=12.34),
    }
    return LedgerRow(**values | changes)  # type: ignore[arg-type]


def printed(rows: list[LedgerRow], *, terminal: bool, width: int = 80) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=width, color_system=None, soft_wrap=True)
    console.print(render_rows(rows))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_file_gets_one_plain_line_a_batch() -> None:
    lines = printed([row(), row(verdict=LONG)], terminal=False).splitlines()
    assert lines[0].split("  ")[0] == "pipeline"
    assert lines[1].split() == [
        *("weather_hourly", "2026-11-01", "06:00", "-", "07:00"),
        *("24", "24", "24", "0", "12.3", "whole"),
    ]
    assert lines[2].rstrip().endswith(LONG)
    assert lines[3] == "2 batches, 1 whole, 1 not"
    assert len(lines) == 4
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize("verdict", [LONG, "land failed: " + "no word is long " * 20])
@pytest.mark.parametrize("width", [40, 80, 120, 500])
def test_a_terminal_gets_every_character_however_narrow_it_is(width: int, verdict: str) -> None:
    text = printed([row(verdict=verdict)], terminal=True, width=width)
    assert "…" not in text
    table_row = text.split("seconds", 1)[1].split("verdict", 1)[1].rsplit("1 batch", 1)[0]
    assert verdict.replace(" ", "") in "".join(table_row.replace("─", "").split())


def test_a_wide_terminal_wraps_the_verdict_in_its_column() -> None:
    lines = printed([row(verdict="land failed: " + "no word is long " * 20)], terminal=True, width=120).splitlines()
    assert max(map(len, lines)) <= 120
    assert sum("no word is long" in line for line in lines) > 1


def test_an_unfinished_batch_shows_what_is_not_known() -> None:
    unknown = row(fetched=None, acked=None, landed=None, rejected=None, finished=None, verdict="produce in progress")
    assert "  -  " in printed([unknown], terminal=False)
    assert "produce in progress" in printed([unknown], terminal=False)


def test_an_interval_beyond_one_day_shows_both_dates() -> None:
    day = row(
        interval_start=datetime(2026, 10, 31, tzinfo=UTC),
        interval_end=datetime(2026, 11, 1, tzinfo=UTC),
    )
    assert "2026-10-31 00:00 - 2026-11-01 00:00" in printed([day], terminal=False)


def test_raw_copies_are_shown_where_there_are_any() -> None:
    assert "raw copy" not in printed([row()], terminal=False)
    header, line, *_ = printed([row(raw_copied=17)], terminal=False).splitlines()
    assert header.split()[header.split().index("landed") + 1 :][:2] == ["raw", "copy"]
    assert line.split()[5:10] == ["24", "24", "24", "17", "0"]


def test_duplicates_are_shown_where_there_are_any() -> None:
    assert "duplicates" not in printed([row()], terminal=False)
    assert "duplicates" in printed([row(duplicates=2)], terminal=False)


def test_no_rows_give_a_header_and_a_summary() -> None:
    assert printed([], terminal=False).splitlines()[-1] == "0 batches, 0 whole, 0 not"


def test_a_row_serialises_to_plain_json() -> None:
    assert row(finished=None).to_json() == {
        "pipeline": "weather_hourly",
        "batch_id": "weather_hourly:2026-11-01T06:00:00Z/2026-11-01T07:00:00Z",
        "interval_start": "2026-11-01T06:00:00+00:00",
        "interval_end": "2026-11-01T07:00:00+00:00",
        "fetched": 24,
        "acked": 24,
        "landed": 24,
        "rejected": 0,
        "duplicates": 0,
        "raw_copied": None,
        "verdict": "whole",
        "started": "2026-11-01T07:00:00+00:00",
        "finished": None,
    }
