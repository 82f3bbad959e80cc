"""Files of Parquet put behind one another, on local bytes."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.sinks.aggregates import batch_name, merged_name, parquet
from penstock.sinks.compaction import dead_bytes, footed


def table(first: int, count: int) -> pa.Table:
    numbers = range(first, first + count)
    return pa.table({"minute": list(numbers), "wiki": [f"wiki{number % 7}" for number in numbers]})


@pytest.mark.parametrize("sizes", [(1,), (3, 400), (50_000, 1, 2)])
def test_files_and_a_footed_one_behind_them_are_one_file_with_the_rows_of_the_last(sizes: tuple[int, ...]) -> None:
    parts, first = [], 0
    for size in sizes:
        parts.append(table(first, size))
        first += size
    before = b"".join([parquet(parts[0].slice(0, 0)), *map(parquet, parts)])
    rows = pa.concat_tables(parts)
    whole = before + footed(rows, len(before))
    assert pq.read_table(io.BytesIO(whole)).equals(rows)
    assert pq.ParquetFile(io.BytesIO(whole)).read(columns=["wiki"]).num_rows == first
    assert dead_bytes(whole) == len(before) - 4


def test_a_plain_file_has_no_dead_bytes() -> None:
    assert dead_bytes(parquet(table(0, 10))) == 0
    assert dead_bytes(parquet(table(0, 0))) == 0


def test_the_newest_merged_file_comes_first_among_the_names() -> None:
    names = [
        merged_name("ffffffff", 7),
        merged_name("ffffffff", 8),
        batch_name("00000000-1", 0),
        batch_name("a" * 8, 1),
    ]
    assert sorted(names) == names
