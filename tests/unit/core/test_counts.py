import json
from datetime import UTC, datetime

from penstock.core.counts import Landed, OffsetRange, Produced


def test_what_was_produced_survives_json():
    produced = Produced(
        batch_id="weather_hourly:a/b",
        topic="hourlymetrics",
        schema_id=1,
        as_of=datetime(2026, 11, 22, 8, 1, 2, 345678, tzinfo=UTC),
        fetched=5,
        acked=5,
        rejected=1,
        ranges=(OffsetRange(0, 10, 15),),
    )
    assert Produced.from_json(json.loads(json.dumps(produced.to_json()))) == produced


def test_what_was_landed_survives_json():
    landed = Landed(batch_id="weather_hourly:a/b", read=4, landed=3, rejected=1)
    assert Landed.from_json(json.loads(json.dumps(landed.to_json()))) == landed
