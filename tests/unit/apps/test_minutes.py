import pytest

from apps.minutes import answer, from_text, minute_of, to_text
from apps.status_server import BadQuestion

ONE = from_text("2026-11-22T15:01:00Z")
COUNTS = {ONE + 60_000: 2, ONE: 1, ONE + 120_000: 3}


def test_minutes_are_told_in_order():
    assert list(answer(COUNTS, {})["minutes"].items()) == [
        ("2026-11-22T15:01:00Z", 1),
        ("2026-11-22T15:02:00Z", 2),
        ("2026-11-22T15:03:00Z", 3),
    ]


def test_from_is_included_and_to_is_not():
    question = {"from": "2026-11-22T15:02:00Z", "to": "2026-11-22T16:03:00+01:00"}
    assert answer(COUNTS, question) == {"minutes": {"2026-11-22T15:02:00Z": 2}}


@pytest.mark.parametrize("text", ["", "now", "2026-11-22T15:02:00", "12"])
def test_a_bad_time_is_told(text):
    with pytest.raises(BadQuestion, match=r"from is .*: give a time in ISO 8601 with its UTC offset"):
        answer(COUNTS, {"from": text})


def test_times_before_the_epoch_have_minutes_too():
    assert to_text(minute_of(-1)) == "1969-12-31T23:59:00Z"
