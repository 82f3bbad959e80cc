"""What an endless landing recalls of the points that it has written."""

import numpy as np
import pyarrow as pa

from penstock.core.contract import Contract
from penstock.core.settings import INCLUDE
from penstock.sinks.influxdb_http import Series
from penstock.sinks.influxdb_recall import recall
from penstock.sinks.points import Points, WrittenPoints, identities, key_checks

CARS = Contract.load(INCLUDE / "avro" / "car-transactions-logs.avsc")
POPULATION = Contract.load(INCLUDE / "avro" / "pop.avsc")
HOUR = 3_600_000_000_000
TAGS = ("Fiat", "500", "Italy", "Rome", "red")


class Influx:
    """Answers with the rows that it was given, in two chunks, and remembers the questions."""

    def __init__(self, *rows):
        self.rows, self.asked = rows, []

    def ask(self, query, read):
        self.asked += query.split("; ")
        half = len(self.rows) // 2
        return read(Series(0, {}, (), part) for part in (self.rows[:half], self.rows[half:]))


def points(contract, *records):
    """Points of (time in ns, tags, key) records."""
    times = np.array([time for time, _, _ in records], np.int64)
    tags = [pa.array(column) for column in zip(*(tags for _, tags, _ in records), strict=True)]
    key = [pa.array(column) for column in zip(*(key for _, _, key in records), strict=True)]
    found = Points(identities(tags, times), key_checks(key, len(records)), np.full(len(records), 5), (0, 0))
    return found, times


def test_a_point_that_is_there_is_known_by_its_record_and_as_of_time():
    wanted, times = points(CARS, (1, TAGS, (1,)), (2, TAGS, (2,)), (3, TAGS, (3,)))
    found = recall(Influx((1, 7, 1, *TAGS), (3, 9, 1_000_003, *TAGS)), "cars", CARS, wanted, times)
    assert found.identities.tolist() == wanted.identities[[0, 2]].tolist()
    assert found.as_of.tolist() == [7, 9]
    assert (found.keys == wanted.keys[[0, 2]]).tolist() == [True, False]


def test_memory_is_that_of_the_rows_however_many_points_lie_between_them():
    wanted, times = points(CARS, (0, TAGS, (1,)), (90_000, TAGS, (2,)))
    written = WrittenPoints()
    there = recall(Influx(*((at, 7, at, *TAGS) for at in range(90_001))), "cars", CARS, wanted, times)
    written.remember(there)
    assert len(there) == sum(len(run.points) for run in written._runs) == 2


def test_points_without_our_fields_are_another_programs():
    wanted, times = points(CARS, (1, TAGS, (1,)), (2, TAGS, (2,)))
    assert len(recall(Influx((1, None, 1, *TAGS), (2, 7, None, *TAGS)), "cars", CARS, wanted, times)) == 0


def test_an_event_time_in_the_key_is_that_of_the_point():
    year = 1_704_067_200_000
    tags = ("United States", "united-states")
    wanted, times = points(POPULATION, (year * 1_000_000, tags, ("01000US", year)))
    found = recall(Influx((year * 1_000_000, 7, "01000US", *tags)), "pop", POPULATION, wanted, times)
    assert found.keys.tolist() == wanted.keys.tolist()


def test_only_stretches_with_rows_are_looked_at_and_never_many():
    close, far = Influx(), Influx()
    recall(close, "cars", CARS, *points(CARS, (0, TAGS, (1,)), (HOUR, TAGS, (2,)), (3 * HOUR, TAGS, (3,))))
    assert [each.split("WHERE ")[1] for each in close.asked] == [
        f"time >= 0 AND time <= {HOUR}",
        f"time >= {3 * HOUR} AND time <= {3 * HOUR}",
    ]
    recall(far, "cars", CARS, *points(CARS, *((2 * HOUR * at, TAGS, (at,)) for at in range(1_000))))
    assert len(far.asked) == 32


def test_no_rows_ask_nothing():
    influx = Influx()
    nothing = Points(np.empty(0, np.uint64), np.empty(0, np.uint32), np.empty(0, np.int64), (0, 0))
    assert len(recall(influx, "cars", CARS, nothing, np.empty(0, np.int64))) == 0
    assert influx.asked == []
