from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.batch import Batch, Interval, digest
from penstock.core.errors import Fatal

HOUR = Interval(datetime(2026, 11, 22, 8, tzinfo=UTC), datetime(2026, 11, 22, 9, tzinfo=UTC))


def test_a_scheduled_batch_is_named_by_pipeline_and_interval():
    assert Batch("weather_hourly", HOUR).id == "weather_hourly:2026-11-22T08:00:00Z/2026-11-22T09:00:00Z"


def test_options_are_part_of_the_identity_whatever_their_order():
    one = Batch("weather_hourly", HOUR, {"latitudes": [1.0], "hourly": ["rain"]})
    same = Batch("weather_hourly", HOUR, {"hourly": ["rain"], "latitudes": [1.0]})
    other = Batch("weather_hourly", HOUR, {"hourly": ["rain"], "latitudes": [2.0]})
    assert one.id == same.id
    assert len({one.id, other.id, Batch("weather_hourly", HOUR).id}) == 3


def test_the_digest_does_not_change_between_releases():
    assert digest({"latitudes": [52.52], "longitudes": [13.41]}) == "ef8d531e"


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        (HOUR.start, HOUR.start, "not after its start"),
        (HOUR.end, HOUR.start, "not after its start"),
        (HOUR.start.replace(tzinfo=None), HOUR.end, "not in UTC"),
        (HOUR.start, HOUR.end.astimezone(timezone(timedelta(hours=1))), "not in UTC"),
    ],
)
def test_an_interval_that_is_none_is_refused(start, end, said):
    with pytest.raises(Fatal, match=said):
        Interval(start, end)


@given(st.integers(-(10**9), 4 * 10**9), st.integers(1, 10**7))
def test_an_interval_reads_back_what_it_wrote(epoch, seconds):
    begin = datetime.fromtimestamp(epoch, UTC)
    interval = Interval(begin, begin + timedelta(seconds=seconds))
    assert Interval.parse(str(interval)) == interval


def test_text_that_is_no_interval_is_refused_with_the_form_it_should_have():
    with pytest.raises(Fatal, match="START/END"):
        Interval.parse("yesterday")
