"""What a landing is asked for, what it reads for that, and how it accounts for it."""

import json
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.counts import Landed, OffsetRange, Produced
from penstock.core.errors import Fatal, Retry
from penstock.core.pipeline import CassandraTable
from penstock.sinks.landing import Request, Tally, account, reads, write_error, write_report
from tests.conformance import AS_OF, CONTRACT


def produced(*ranges, batch_id="hourly:1", acked=10, rejected=0, topic="readings"):
    ranges = tuple(OffsetRange(*each) for each in ranges)
    return Produced(batch_id, topic, 7, AS_OF, acked, acked, rejected, ranges)


def request(*batches):
    return Request(CONTRACT, "readings", "readings.dlq", (CassandraTable("readings"),), batches)


RANGES = st.builds(
    lambda partition, start, length: (partition, start, start + length),
    st.integers(0, 2),
    st.integers(0, 300_000),
    st.integers(1, 60_000),
)


class TestReads:
    @given(st.lists(st.lists(RANGES, max_size=4), max_size=4))
    def test_each_offset_of_each_range_is_read_exactly_once(self, batches):
        found = [each for ranges in reads([produced(*ranges) for ranges in batches]) for each in ranges]
        for partition in range(3):
            spans = sorted((each.start, each.end) for each in found if each.partition == partition)
            assert all(before[1] < after[0] for before, after in pairwise(spans))
            for _, start, end in (each for ranges in batches for each in ranges if each[0] == partition):
                assert any(span[0] <= start and end <= span[1] for span in spans)

    @given(st.lists(RANGES, max_size=8))
    def test_a_read_has_one_range_a_partition(self, ranges):
        for each in reads([produced(*ranges)]):
            partitions = [one.partition for one in each]
            assert len(set(partitions)) == len(partitions) > 0

    def test_neighbours_are_read_together_and_the_distant_apart(self):
        batches = [produced((0, 0, 100), (1, 5, 6)), produced((0, 101, 200)), produced((0, 5_000_000, 5_000_100))]
        assert reads(batches) == [
            [OffsetRange(0, 0, 200), OffsetRange(1, 5, 6)],
            [OffsetRange(0, 5_000_000, 5_000_100)],
        ]


class TestAccount:
    def test_the_tallies_of_all_tasks_make_the_counts(self):
        batches = [produced((0, 0, 12)), produced((0, 12, 16), batch_id="hourly:2", acked=4, rejected=1)]
        tallies = [(0, Tally(6, 5, 1, 0, 2)), (1, Tally(3, 3)), (0, Tally(4, 3, 0, 1))]
        assert account(batches, tallies) == [
            Landed("hourly:1", read=10, landed=8, rejected=1, duplicates=1, foreign=2),
            Landed("hourly:2", read=3, landed=3, rejected=0),
        ]

    def test_missing_records_are_named_with_where_they_should_be(self):
        with pytest.raises(Fatal, match=r"hourly:1: 3 of its 10 records are missing .* readings .*0: \[5, 15\)"):
            account([produced((0, 5, 15))], [(0, Tally(7, 7))])

    def test_a_batch_that_no_task_saw_is_missing_whole(self):
        with pytest.raises(Fatal, match="10 of its 10 records are missing"):
            account([produced((0, 5, 15))], [])

    def test_too_many_records_are_no_success_either(self):
        with pytest.raises(Fatal, match="2 records too many"):
            account([produced((0, 5, 15))], [(0, Tally(12, 12))])

    def test_a_record_without_a_fate_fails_the_landing(self):
        with pytest.raises(Fatal, match="10 records were read and only 9 are accounted for"):
            account([produced((0, 5, 15))], [(0, Tally(10, 8, 1))])


class TestRequest:
    def test_it_survives_its_file(self, tmp_path):
        path = tmp_path / "request.json"
        asked = request(produced((0, 5, 15)), produced((1, 0, 1), batch_id="hourly:2"))
        path.write_text(json.dumps(asked.to_json()))
        assert Request.load(path) == asked

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"contract": {"name": "x"}}'])
    def test_a_file_that_is_none_is_refused(self, tmp_path, text):
        (tmp_path / "request.json").write_text(text)
        with pytest.raises(Fatal, match=r"request\.json is no landing request"):
            Request.load(tmp_path / "request.json")

    def test_a_file_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(Fatal, match="does not exist"):
            Request.load(tmp_path / "request.json")

    def test_two_attempts_of_one_batch_are_refused(self):
        with pytest.raises(Fatal, match="more than one attempt of hourly:1"):
            request(produced((0, 5, 15)), produced((0, 15, 25)))

    def test_a_batch_of_another_topic_is_refused(self):
        with pytest.raises(Fatal, match="batches on elsewhere"):
            request(produced((0, 5, 15), topic="elsewhere"))

    def test_records_that_went_to_the_dead_letters_are_not_expected(self):
        assert request(produced((0, 5, 15), acked=10, rejected=3)).records == 7


class TestFiles:
    def test_the_report_holds_the_counts(self, tmp_path):
        landed = [Landed("hourly:1", read=10, landed=8, rejected=1, duplicates=1, foreign=2)]
        write_report(tmp_path / "report.json", landed, {"starting": 4.5})
        report = json.loads((tmp_path / "report.json").read_text())
        assert [Landed.from_json(each) for each in report["batches"]] == landed
        assert report["seconds"] == {"starting": 4.5}
        assert [each.name for each in tmp_path.iterdir()] == ["report.json"]

    @pytest.mark.parametrize("error", [Retry("away", retry_after=3), Fatal("no")])
    def test_an_error_lies_beside_the_report(self, tmp_path, error):
        write_error(tmp_path / "report.json", error)
        said = json.loads((tmp_path / "error.json").read_text())
        assert said == {"kind": type(error).__name__, "message": str(error)}


def test_as_of_keeps_its_time_zone(tmp_path):
    (tmp_path / "request.json").write_text(json.dumps(request(produced((0, 5, 15))).to_json()))
    (batch,) = Request.load(tmp_path / "request.json").batches
    assert batch.as_of == datetime(2026, 11, 22, 9, 30, 0, 123456, UTC)
