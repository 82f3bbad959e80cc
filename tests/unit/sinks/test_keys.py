"""Which rows are the first of their key, within a window and over many."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from penstock.sinks.keys import KeyColumns, WrittenKeys, pairs

HOUR = 3_600_000


def key_columns(rows):
    """KeyColumns of (latitude, month, sensor, time) rows."""
    latitude, month, sensor, time = zip(*rows, strict=True)
    return KeyColumns(
        [pa.array(latitude, pa.float64()), pa.array(month)], [pa.array(sensor)], np.array(time, dtype=np.int64)
    )


def first_rows(windows):
    """For each window, the indices of its rows whose key is in no row before it."""
    seen = set()
    for rows in windows:
        first = []
        for at, row in enumerate(rows):
            if row not in seen:
                first.append(at)
                seen.add(row)
        yield first


ROWS = st.tuples(
    st.sampled_from([52.5, -33.9]), st.sampled_from(["2026-01", "2026-02"]), st.sampled_from("ab"), st.integers(-6, 6)
)


@given(st.lists(st.lists(ROWS, min_size=1, max_size=20), max_size=5))
def test_only_the_first_row_of_a_key_is_kept(windows):
    keys = WrittenKeys()
    found = [sorted(keys.first_only(key_columns(rows)).tolist()) for rows in windows]
    assert found == list(first_rows(windows))


@given(st.lists(ROWS, min_size=1, max_size=30))
def test_kept_rows_are_grouped_by_partition_and_in_order_of_time(rows):
    columns = key_columns(rows)
    kept = WrittenKeys().first_only(columns)
    bounds = columns.boundaries(kept, of_series=False)
    partitions = [{rows[row][:2] for row in kept[begin:end]} for begin, end in pairs(bounds)]
    assert all(len(each) == 1 for each in partitions)
    assert len(set().union(*partitions)) == len(partitions)
    for begin, end in pairs(columns.boundaries(kept, of_series=True)):
        times = [rows[row][3] for row in kept[begin:end]]
        assert times == sorted(times)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=6, unique=True))
def test_the_farthest_times_are_told_apart(times):
    keys = WrittenKeys()
    rows = [(0.0, "m", "s", time) for time in times]
    assert len(keys.first_only(key_columns(rows))) == len(times)
    assert len(keys.first_only(key_columns(rows))) == 0


def test_evenly_spaced_times_take_no_memory():
    keys = WrittenKeys()
    for day in range(50):
        keys.first_only(key_columns([(52.5, "m", "s", (24 * day + hour) * HOUR) for hour in range(24)]))
    (series,) = keys._series.values()
    assert series.runs == [range(0, (50 * 24 - 1) * HOUR + 1, HOUR)]


def test_a_gap_that_is_filled_later_is_new_and_then_known():
    keys = WrittenKeys()
    assert len(keys.first_only(key_columns([(1.0, "m", "s", time) for time in (0, 1, 5, 6)]))) == 4
    late = [(1.0, "m", "s", time) for time in (1, 2, 3, 5)]
    assert keys.first_only(key_columns(late)).tolist() == [1, 2]
    assert keys.first_only(key_columns(late)).tolist() == []
