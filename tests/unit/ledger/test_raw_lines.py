"""Records looked up in the raw copy, line by line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from penstock.core.errors import Fatal
from penstock.core.settings import Hdfs
from penstock.ledger import raw_lines
from penstock.ledger.raw_lines import RawLines
from penstock.pipelines import PIPELINES

WHERE = Hdfs("hdfs://h:1", "http://h:2", "penstock")
CARS, POPULATION = PIPELINES["car_transactions"], PIPELINES["population"]
HOUR = 3_600_000


class Copy:
    """In the place of HDFS: lines by their hour, and which hours were asked for."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, bytes]] = []
        self.asked: list[tuple[int, int]] = []

    def read(self, hdfs: Hdfs, folder: str, first: int, last: int) -> Iterator[bytes]:
        assert (hdfs, folder[0]) == (WHERE, "/")
        self.asked.append((first, last))
        return (line for time, line in self.lines if first <= time <= last)


@pytest.fixture
def copy(monkeypatch: pytest.MonkeyPatch) -> Copy:
    copy = Copy()
    monkeypatch.setattr(raw_lines, "read_lines", copy.read)
    return copy


def lacking(pipeline: Any, *keys: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    return list(RawLines(WHERE, pipeline).lacking(dict.fromkeys(keys, 0)))


def test_records_are_found_by_their_keys_however_often_they_are_there(copy: Copy) -> None:
    for number in (1, 1, 3):
        copy.lines.append((number, json.dumps({"transaction_id": number, "time": number, "year": 2020}).encode()))
    assert lacking(CARS, (1, 1), (2, 2), (3, 3)) == [(2, 2)]


def test_only_the_hours_of_the_records_are_read(copy: Copy) -> None:
    lacking(CARS, (0, 1), (HOUR, 2), (HOUR + 5, 3), (90 * HOUR, 4))
    assert copy.asked == [(0, 2 * HOUR - 1), (90 * HOUR, 91 * HOUR - 1)]


def test_lines_that_are_no_records_are_passed_over(copy: Copy) -> None:
    copy.lines += [(0, b"junk"), (0, b"[]"), (0, b"{}"), (0, b'{"transaction_id": 1, "time": 0}')]
    assert lacking(CARS, (0, 1)) == []


def test_rows_as_others_spooled_them_are_normalised(copy: Copy) -> None:
    row = {"Nation ID": "01000US", "Nation": "United States", "Year": 1970, "Population": 203392031.0}
    copy.lines.append((0, json.dumps(row).encode()))
    assert lacking(POPULATION, (0, "01000US")) == []


def test_a_key_is_named_by_its_fields() -> None:
    assert RawLines(WHERE, CARS).named((0, 7)) == "(time 1970-01-01T00:00:00Z, transaction_id 7)"


def test_a_pipeline_without_a_raw_copy_is_refused() -> None:
    with pytest.raises(Fatal, match="weather_hourly has no raw copy"):
        RawLines(WHERE, PIPELINES["weather_hourly"])
