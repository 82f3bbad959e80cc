from dataclasses import replace
from datetime import timedelta

import pytest

from penstock.core.errors import Fatal
from penstock.pipelines import WIKI


@pytest.mark.parametrize("limit", [timedelta(0), WIKI.lateness, WIKI.lateness + timedelta(minutes=1)])
def test_a_stream_cannot_be_fresher_than_its_minutes_are_out(limit):
    with pytest.raises(Fatal, match=r"the stream wiki has a freshness limit of .*; give more than that"):
        replace(WIKI, freshness=limit)
    assert replace(WIKI, freshness=WIKI.lateness + timedelta(minutes=2)).freshness > WIKI.lateness
