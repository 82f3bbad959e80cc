"""Several sinks as one: a record has landed where it is in all of them."""

from dataclasses import dataclass, field

import pyarrow as pa
import pytest

from penstock.core import settings
from penstock.core.counts import Extent
from penstock.core.errors import Fatal
from penstock.core.pipeline import CassandraTable, InfluxMeasurement
from penstock.sinks.base import Written
from penstock.sinks.cassandra import CassandraSink
from penstock.sinks.catalogue import open_sinks
from penstock.sinks.influxdb import InfluxSink
from penstock.sinks.several import Several
from tests.conformance import AS_OF, CONTRACT

MICROS = 1_000_000


@dataclass
class Memory:
    """A sink that keeps its rows, and refuses some values and all repetitions."""

    refuses: set[int] = field(default_factory=set)
    kept: list[int] = field(default_factory=list)
    as_of: list[object] = field(default_factory=list)
    closed: bool = False

    def setup(self):
        self.kept = []

    def write(self, rows, as_of):
        values = rows.column("n").to_pylist()
        rejects = [(at, f"{value} is refused") for at, value in enumerate(values) if value in self.refuses]
        fresh = [value for value in dict.fromkeys(values) if value not in self.refuses]
        self.kept += fresh
        self.as_of += as_of.to_pylist() if isinstance(as_of, pa.Array) else [as_of]
        return Written(len(fresh), len(values) - len(fresh) - len(rejects), tuple(rejects))

    def close(self):
        self.closed = True


def rows(*values):
    return pa.RecordBatch.from_pydict({"n": pa.array(values, pa.int64())})


def test_a_record_is_written_to_each_and_counted_once():
    first, second = Memory(), Memory()
    assert Several((first, second)).write(rows(1, 2, 2, 3), AS_OF) == Written(3, duplicates=1)
    assert first.kept == second.kept == [1, 2, 3]


def test_what_one_refuses_the_next_does_not_get():
    first, second = Memory(refuses={2}), Memory()
    assert Several((first, second)).write(rows(1, 2, 3), AS_OF) == Written(2, 0, ((1, "2 is refused"),))
    assert second.kept == [1, 3]


def test_what_a_later_one_refuses_has_not_landed_and_is_named_by_its_place():
    first, second = Memory(refuses={1}), Memory(refuses={3})
    found = Several((first, second)).write(rows(1, 2, 3, 4), AS_OF)
    assert found == Written(2, 0, ((0, "1 is refused"), (2, "3 is refused")))


def test_each_row_keeps_its_as_of_time():
    first, second = Memory(refuses={2}), Memory()
    Several((first, second)).write(rows(1, 2, 3), pa.array([10, 20, 30], pa.int64()))
    assert second.as_of == [10, 30]


def test_all_are_set_up_and_closed_and_none_counts_for_the_others():
    first, second = Memory(kept=[1]), Memory(kept=[1])
    several = Several((first, second))
    several.setup()
    several.close()
    assert (first.kept, second.kept) == ([], [])
    assert first.closed
    assert second.closed
    with pytest.raises(Fatal, match="ask each of them"):
        several.count(Extent({}, 0, 1), AS_OF)


def test_influxdb_which_refuses_more_is_asked_first():
    sinks = (CassandraTable("a"), InfluxMeasurement("b"))
    where = (
        settings.Cassandra(("127.0.0.1",), 9042, "u", "p", "k", 1),
        settings.Influx("http://127.0.0.1:8086", "o", "b", "t"),
    )
    found = open_sinks(sinks, where, CONTRACT)
    assert [type(each) for each in found.sinks] == [InfluxSink, CassandraSink]
    assert isinstance(open_sinks(sinks[:1], where[:1], CONTRACT), CassandraSink)
