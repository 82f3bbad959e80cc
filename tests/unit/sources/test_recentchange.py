import pytest

from penstock.core.errors import Reject
from penstock.pipelines import WIKI
from penstock.sources.recentchange import normalise

EVENT = {
    "$schema": "/mediawiki/recentchange/1.0.0",
    "meta": {"id": "4bf48bd0", "dt": "2026-10-05T13:42:02.245Z", "domain": "eo.wikipedia.org"},
    "type": "edit",
    "wiki": "eowiki",
    "title": "Internacia Kafa Organizaĵo",
}


def test_an_event_becomes_a_record_of_the_contract():
    record = normalise(EVENT)
    assert record == {"id": "4bf48bd0", "time": 1_791_207_722_245, "wiki": "eowiki", "type": "edit"}
    assert WIKI.contract.violation(record) is None


@pytest.mark.parametrize("dt", ["2021-09-14T14:39:43Z", "2019-01-01T00:00:00+00:00"])
def test_times_of_older_events_are_read(dt):
    assert normalise(EVENT | {"meta": EVENT["meta"] | {"dt": dt}})["time"] % 1000 == 0


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ([], "the event is a JSON list, not an object"),
        ({"type": "edit", "wiki": "eowiki"}, "meta is missing"),
        (EVENT | {"wiki": None}, "wiki is missing"),
        (EVENT | {"type": 7}, "type is 7, not a text"),
        (EVENT | {"meta": {"dt": "2021-09-14T14:39:43Z"}}, "meta.id is missing"),
        (EVENT | {"meta": {"id": "a", "dt": "yesterday"}}, "meta.dt is 'yesterday', not a time in ISO 8601"),
        (EVENT | {"meta": {"id": "a", "dt": "2021-09-14T14:39:43"}}, "without its UTC offset"),
    ],
)
def test_an_event_that_cannot_be_counted_is_rejected_with_its_reason(event, reason):
    with pytest.raises(Reject, match=reason.replace("(", r"\(")):
        normalise(event)
