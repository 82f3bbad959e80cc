from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from penstock.sinks.points import Points, WrittenPoints, identities, key_checks

Record: TypeAlias = tuple[int, int, int]
"""(what makes the point, key, as-of time)"""


def points(*records: Record) -> Points:
    point, key, as_of = (np.array(each, np.int64) for each in zip(*records, strict=True))
    return Points(point.astype(np.uint64), key.astype(np.uint32), as_of, (int(point.min()), int(point.max())))


class Landing:
    """Writes all that is to be written."""

    def __init__(self) -> None:
        self.written = WrittenPoints()

    def land(self, *records: Record) -> tuple[list[int], int, int, list[int]]:
        """Rows written, how many of them fresh, duplicates, rows taken."""
        these = points(*records)
        verdict = self.written.judge(these)
        self.written.remember(these.take(verdict.write))
        return verdict.write.tolist(), int(verdict.is_fresh.sum()), verdict.duplicates, verdict.taken.tolist()


def test_different_points_are_all_written_in_the_order_they_came_in() -> None:
    assert Landing().land((9, 1, 5), (3, 2, 5), (7, 3, 5)) == ([0, 1, 2], 3, 0, [])


def test_of_repeats_the_newest_stands_and_of_equally_old_ones_the_first() -> None:
    assert Landing().land((1, 1, 5), (1, 1, 5), (2, 2, 5), (2, 2, 6), (2, 2, 6)) == ([0, 3], 2, 3, [])


def test_a_repeat_in_a_later_write_is_written_only_where_it_is_newer() -> None:
    landing = Landing()
    landing.land((1, 1, 5), (2, 2, 5), (3, 3, 5))
    assert landing.land((1, 1, 4), (2, 2, 5), (3, 3, 6), (4, 4, 1)) == ([2, 3], 1, 3, [])
    assert landing.land((3, 3, 6)) == ([], 0, 1, [])


def test_another_record_does_not_take_a_points_place_however_new_it_is() -> None:
    landing = Landing()
    assert landing.land((1, 1, 5), (1, 2, 9)) == ([0], 1, 0, [1])
    assert landing.land((1, 2, 9), (1, 1, 6)) == ([1], 0, 1, [0])


batches = st.lists(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 1), st.integers(0, 3)), min_size=1, max_size=12), max_size=8
)


@given(batches)
def test_any_batches_are_judged_as_one_record_at_a_time_would_be(landed: list[list[Record]]) -> None:
    landing = Landing()
    stands: dict[int, tuple[int, int]] = {}
    for batch in landed:
        before = dict(stands)
        taken = []
        for row, (point, key, as_of) in enumerate(batch):
            owner, newest = stands.get(point, (key, -1))
            if owner != key:
                taken.append(row)
            elif as_of > newest:
                stands[point] = (key, as_of)
        write, fresh, duplicates, found_taken = landing.land(*batch)
        assert {batch[row][0]: batch[row][1:] for row in write} == dict(stands.items() - before.items())
        assert fresh == len(stands) - len(before)
        assert found_taken == taken
        assert fresh + duplicates + len(taken) == len(batch)


def test_points_of_one_as_of_time_take_12_bytes_in_few_runs() -> None:
    written = WrittenPoints()
    draw = np.random.default_rng(1)
    for _ in range(100):
        fresh = draw.integers(0, 2**63, 1000).astype(np.uint64)
        written.remember(Points(fresh, fresh.astype(np.uint32), np.full(1000, 5), (0, 0)))
    held = [run.points for run in written._runs]
    assert sum(map(len, held)) == 100_000
    assert len(held) < 10
    assert all(each.as_of.strides == (0,) for each in held)


def test_hashes_tell_tags_times_and_keys_apart() -> None:
    tags = [pa.array(["a", "b", "", None, "ab", "a"]), pa.array(["b", "a", "x", "x", "", "b"])]
    found = identities(tags, np.array([1, 1, 1, 1, 1, 2])).tolist()
    assert found[2] == found[3], "a null tag is as good as an empty one"
    assert len(set(found)) == 5
    assert len(set(key_checks([pa.array([1, 2, 3]), pa.array([0.5, 0.5, 0.5])], 3).tolist())) == 3


def test_hashes_of_neighbours_do_not_collide() -> None:
    times = np.arange(1_000_000)
    tags = [pa.array(["same"]).take(pa.array(np.zeros(len(times), np.int64)))]
    assert len(np.unique(identities(tags, times))) == len(times)
