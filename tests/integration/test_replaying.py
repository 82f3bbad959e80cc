"""Dead letters that are replayed, against the real broker, sinks and ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import Producer

from penstock import pipelines
from penstock.airflow import replaying
from penstock.core.errors import Fatal, Retry
from penstock.core.pipeline import InfluxMeasurement, RawCopy, Wire
from penstock.core.settings import Cassandra, Influx, Kafka
from penstock.core.stream import Aggregate, Stream
from penstock.kafka.dead_letters import DeadLetter, LetterBox, Origin
from penstock.kafka.reader import extent
from penstock.kafka.shared import topic_id
from penstock.ledger.dead_letters import LetterState
from penstock.ledger.store import Run
from tests import measurements, tables
from tests.dead_letters import AS_OF, FIRST_MS, RUN, Case, contract, killed_and_repeated, known, record

pytestmark = pytest.mark.integration

LATER = AS_OF + timedelta(hours=3)
GOOD = [record(0), record(1), record(0, place="Vadsø")]
HOT = record(2, value=99)
MENDED = {**HOT, "value": 9.9}


@pytest.fixture
def make(
    unique: str,
    kafka_settings: Kafka,
    ledger_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    def made(wire: Wire = Wire.AVRO) -> Case:
        monkeypatch.setenv("LEDGER_URL", ledger_url)
        case = Case.made(unique, wire, kafka_settings, ledger_url)
        known(monkeypatch, case.pipeline)
        return case

    return made


@pytest.fixture
def case(make: Any) -> Iterator[Case]:
    """An Avro data set that lands in Cassandra."""
    return make()


@pytest.fixture
def shared(make: Any) -> Iterator[Case]:
    """A JSON data set on a shared topic that lands in InfluxDB."""
    return make(Wire.JSON)


OF_PRODUCE, OF_LANDING = 60, 1000


@pytest.fixture
def with_letter(request: pytest.FixtureRequest, case: Case) -> Case:
    """A batch of four records, one of which was set aside, by landing unless the parameter says otherwise."""
    maximum = getattr(request, "param", OF_LANDING)
    case.run([*GOOD, HOT], maximum=maximum)
    assert case.counts() == (4, 4, 3, 1, 0, "whole")
    assert (case.letter().origin is None) == (maximum == OF_PRODUCE)
    return case


@pytest.mark.parametrize("with_letter", [OF_PRODUCE, OF_LANDING], indirect=True, ids=["of produce", "of landing"])
def test_a_mended_letter_lands_once_as_of_its_batch_and_the_batch_is_whole(
    with_letter: Case, cassandra_settings: Cassandra
) -> None:
    case = with_letter
    outcome = case.replay(case.letter().id, mended=MENDED)
    assert (outcome.replayed, outcome.refused) == ([case.letter().id], {})
    assert outcome.verdicts == {case.batch.id: "whole"}
    assert case.counts() == (4, 4, 4, 0, 0, "whole")
    assert case.verified() == "whole"
    assert (case.state(), case.letter().resolved_by) == (LetterState.REPLAYED, "somebody")
    (sent,) = case.replays()
    assert sent.batch_id == case.batch.id
    with tables.session(cassandra_settings) as session:
        query = f'SELECT value, WRITETIME(value) AS written FROM "{case.pipeline.name}" WHERE time = %s ALLOW FILTERING'
        (row,) = session.execute(query, (datetime.fromtimestamp(FIRST_MS / 1000 + 7200, UTC),))
    assert row == {"value": 9.9, "written": int(AS_OF.timestamp() * 1_000_000)}


def test_a_record_that_would_be_rejected_again_is_refused_and_nothing_changes(with_letter: Case) -> None:
    case = with_letter
    before = case.counts(), extent(case.kafka, case.pipeline.topic)
    for mended in (None, {**HOT, "value": 61}, {"place": "Bodø"}, [1]):
        (said,) = case.replay(case.letter().id, mended=mended).refused.values()
        assert "mend it" in said, said
    assert "value is 99.0, above its maximum of 60" in case.replay(case.letter().id).refused[case.letter().id]
    assert (case.counts(), extent(case.kafka, case.pipeline.topic)) == before
    assert case.state() is LetterState.OPEN


def test_a_letter_is_resolved_once(with_letter: Case) -> None:
    case = with_letter
    letter = case.letter().id
    case.replay(letter, mended=MENDED)
    again = case.replay(letter, mended=MENDED, run="maintenance/two")
    assert again.refused == {letter: f"letter {letter}: it was replayed already, by somebody"}
    dropped = replaying.drop([letter], Run("maintenance/three"), "somebody", "no need")
    assert dropped.refused == {letter: f"letter {letter}: it was replayed already, by somebody"}
    assert case.replay(letter, mended=MENDED, tries=2).replayed == [letter]  # a repeated try of the first run
    assert len(case.replays()) == 1


def test_a_dropped_letter_is_no_more_open_and_cannot_be_replayed(with_letter: Case) -> None:
    case = with_letter
    letter = case.letter().id
    assert replaying.drop([letter], Run("maintenance/one"), "somebody", "a broken thermometer").dropped == [letter]
    assert (case.state(), case.letter().why) == (LetterState.DROPPED, "a broken thermometer")
    assert case.letters.open_counts() == {}
    assert case.replay(letter, mended=MENDED).refused == {
        letter: f"letter {letter}: it was dropped already, by somebody"
    }
    assert case.counts() == (4, 4, 3, 1, 0, "whole")


def test_of_two_replays_at_once_one_wins(with_letter: Case) -> None:
    case = with_letter
    letter = case.letter().id
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda run: case.replay(letter, mended=MENDED, run=run), ["a/1", "a/2"]))
    assert sorted(len(each.replayed) for each in outcomes) == [0, 1]
    assert sorted(len(each.refused) for each in outcomes) == [0, 1]
    assert len(case.replays()) == 1
    assert case.counts() == (4, 4, 4, 0, 0, "whole")


def test_a_replay_that_is_killed_after_its_commit_and_repeated_lands_once(case: Case, stack: Any) -> None:
    case.run([*GOOD, HOT], maximum=OF_LANDING)
    killed_and_repeated(case, stack.environment(), "after the commit", MENDED)
    assert case.counts() == (4, 4, 4, 0, 0, "whole")


def test_a_batch_is_not_whole_while_a_letter_is_replayed_nor_after_that_failed(
    with_letter: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = with_letter
    seen = []

    def away(*_: Any) -> None:
        seen.append(case.counts())
        raise Retry("Cassandra is away")

    with monkeypatch.context() as patched:
        patched.setattr(replaying, "land_here", away)
        with pytest.raises(Retry, match="Cassandra is away"):
            case.replay(case.letter().id, mended=MENDED)
    assert seen == [(4, 4, 3, 1, 0, "replay of 1 dead letter in progress")]
    assert case.counts() == (4, 4, 3, 1, 0, "replay of 1 dead letter failed: Cassandra is away")

    case.replay(case.letter().id, mended=MENDED, run="maintenance/two")
    assert len(case.replays()) == 1
    assert case.counts() == (4, 4, 4, 0, 0, "whole")


def test_what_could_not_be_sent_leaves_the_batch_as_it_was(with_letter: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case = with_letter

    def broken(*_: Any) -> None:
        raise Retry("Kafka is away")

    with monkeypatch.context() as patched:
        patched.setattr(replaying.Sender, "send", broken)
        with pytest.raises(Retry, match="Kafka is away"):
            case.replay(case.letter().id, mended=MENDED)
    assert case.counts() == (4, 4, 3, 1, 0, "whole")
    assert case.replays() == []


def test_a_letter_of_an_attempt_that_was_produced_anew_is_refused(with_letter: Case) -> None:
    case = with_letter
    letter = case.letter().id
    produced = case.produce(GOOD, as_of=LATER)
    case.judge(produced, case.land(produced))
    (said,) = case.replay(letter, mended=MENDED).refused.values()
    assert "its batch was produced anew, as of 2026-11-01T15:00:01Z" in said
    assert case.replays() == []
    case.take_up()
    assert case.state() is LetterState.DROPPED
    assert case.counts() == (3, 3, 3, 0, 0, "whole")


def test_a_letter_that_a_newer_attempt_sets_aside_again_can_be_replayed_again(case: Case) -> None:
    case.run([*GOOD, HOT])
    case.replay(case.letter().id, mended=MENDED)
    case.run([*GOOD, HOT], as_of=LATER)
    assert case.counts() == (4, 4, 3, 1, 0, "whole")
    (letter,) = case.open_letters()
    case.replay(letter.id, mended=MENDED, run="maintenance/two")
    assert case.counts() == (4, 4, 4, 0, 0, "whole")
    assert case.verified() == "whole"


def test_a_letter_of_a_batch_that_has_not_landed_is_refused(case: Case) -> None:
    case.produce([*GOOD, HOT])
    case.take_up()
    (said,) = case.replay(case.letter().id, mended=MENDED).refused.values()
    assert "has not landed: replay it when it has" in said


def test_a_record_whose_key_its_batch_has_already_is_refused(with_letter: Case) -> None:
    case = with_letter
    (said,) = case.replay(case.letter().id, mended={**HOT, "value": 5.0, "time": FIRST_MS}).refused.values()
    assert "its batch has a record of its key already, (place Bodø, time 2026-10-31T22:00:00Z)" in said
    assert case.counts() == (4, 4, 3, 1, 0, "whole")


def test_of_letters_replayed_together_the_good_ones_land(case: Case) -> None:
    case.run([*GOOD, HOT, record(3, value=88), record(3, value=77, place="Vadsø")], maximum=1000)
    first, second, third = (row.id for row in case.open_letters())
    values = {first: MENDED, second: MENDED, third: None}
    outcome = replaying.replay([first, second, third], {k: v for k, v in values.items() if v}, RUN, "somebody")
    assert outcome.replayed == [first]
    assert "another letter of this replay has its key" in outcome.refused[second]
    assert "mend it" in outcome.refused[third]
    assert case.counts() == (6, 6, 4, 2, 0, "whole")
    assert case.verified() == "whole"


def test_a_batch_that_is_landed_again_after_a_replay_stays_whole(with_letter: Case) -> None:
    case = with_letter
    case.replay(case.letter().id, mended=MENDED)
    produced = case.ledger.last_produced(case.batch.id)
    assert produced is not None
    assert len(produced.replays) == 1
    landed = case.ledger.last_landed(case.batch.id)
    assert landed is not None
    case.ledger.landed(case.batch, landed, Run("some_dag/again"), as_of=AS_OF)
    case.judge(produced, landed.with_replays(produced.replays))
    case.take_up()
    assert case.counts() == (4, 4, 4, 0, 0, "whole")
    assert case.verified() == "whole"
    assert case.state() is LetterState.REPLAYED


def by_others(case: Case, value: Any, at: datetime) -> None:
    producer = Producer({"bootstrap.servers": case.kafka.bootstrap_servers})
    producer.produce(case.pipeline.topic, json.dumps(value).encode(), timestamp=int(at.timestamp() * 1000))
    producer.flush(30)


def claiming_run(case: Case) -> None:
    claimed = case.ledger.claim(
        case.batch,
        case.pipeline.topic,
        topic_id(case.kafka, case.pipeline.topic),
        extent(case.kafka, case.pipeline.topic),
    )
    others = sum(each.batch_id is None for each in case.messages())
    produced = case.produce(GOOD).with_claim(claimed, others)
    case.ledger.produced(case.batch, produced, RUN)
    case.judge(produced, case.land(produced))
    case.take_up()


def test_what_others_wrote_lands_with_the_batch_that_has_claimed_it_as_of_its_own_time(
    shared: Case, influx_settings: Influx
) -> None:
    at = datetime(2026, 11, 1, 3, tzinfo=UTC)
    by_others(shared, {"place": "Røros", "t": FIRST_MS // 1000, "value": 99}, at)
    claiming_run(shared)
    assert shared.counts() == (4, 4, 3, 1, 0, "whole")
    shared.write([record(0, value=30, place="Tromsø")], LATER)  # newer than the letter
    letter = shared.letter()
    assert (letter.batch_id, letter.as_of) == (None, None)

    mended = {"place": "Tromsø", "t": FIRST_MS // 1000, "value": 11.5}
    assert shared.replay(letter.id, mended=mended).verdicts == {shared.batch.id: "whole"}
    assert shared.counts() == (4, 4, 4, 0, 0, "whole")
    assert shared.verified() == "whole"
    points = measurements.points(influx_settings, shared.pipeline.name, *measurements.FOR_EVER)
    assert [each["value"] for each in points if each["place"] == "Tromsø"] == [30]
    (sent,) = shared.replays()
    assert sent.headers["as_of"].decode() == at.isoformat(timespec="microseconds")


def test_what_no_run_has_taken_up_yet_waits_on_the_topic_for_the_next(shared: Case) -> None:
    at = datetime(2026, 11, 1, 3, tzinfo=UTC)
    by_others(shared, {"place": "Røros", "t": FIRST_MS // 1000, "value": 99}, at)
    (original,) = shared.messages()
    letter = DeadLetter.of_message(original, "value is 99, above its maximum of 60")
    LetterBox(shared.kafka, shared.pipeline.dead_letter_topic).send([letter], timeout=30)
    shared.take_up()

    mended = {"place": "Røros", "t": FIRST_MS // 1000, "value": 9}
    outcome = shared.replay(shared.letter().id, mended=mended)
    assert outcome.waiting == outcome.replayed == [shared.letter().id]
    (sent,) = shared.replays()
    assert (sent.batch_id, sent.timestamp) == (None, original.timestamp)
    claiming_run(shared)
    assert shared.counts() == (5, 5, 4, 1, 0, "whole")
    assert shared.state() is LetterState.REPLAYED


def test_a_letter_whose_own_record_has_expired_is_refused(shared: Case) -> None:
    gone = DeadLetter("wrong", b'{"place":"x","t":1,"value":1}', None, None, Origin(shared.pipeline.topic, 0, 10_000))
    LetterBox(shared.kafka, shared.pipeline.dead_letter_topic).send([gone], timeout=30)
    shared.take_up()
    (said,) = shared.replay(shared.letter().id).refused.values()
    assert "has expired" in said


@pytest.fixture
def stream(shared: Case, monkeypatch: pytest.MonkeyPatch) -> Stream:
    """A stream on the topic of `shared`, whose records are those of others there."""
    name = shared.pipeline.name
    found = Stream(
        name,
        contract(),
        name,
        "nobody",
        "nobody",
        RawCopy("/nowhere", "nobody"),
        Aggregate(contract(), ("value",), InfluxMeasurement(name)),
        lateness=timedelta(minutes=2),
        freshness=timedelta(minutes=10),
        normaliser=shared.pipeline.normaliser,
    )
    monkeypatch.setattr(pipelines, "PIPELINES", {})
    monkeypatch.setattr(pipelines, "STREAMS", {name: found})
    return found


def test_a_stream_s_letter_goes_on_the_topic_once_with_its_id_as_key(shared: Case, stream: Stream) -> None:
    by_others(shared, {"place": "Røros", "t": 1, "value": 99}, AS_OF)
    (original,) = shared.messages()
    box = LetterBox(shared.kafka, stream.dead_letter_topic)
    box.send([DeadLetter.of_message(original, "value is 99")], timeout=30)
    shared.take_up()
    letter = shared.letter().id

    assert "mend it" in shared.replay(letter).refused[letter]
    mended = {"place": "Røros", "t": 1, "value": 9, "more": "of theirs"}
    assert shared.replay(letter, mended=mended).replayed == [letter]
    assert letter in shared.replay(letter, mended=mended, run="maintenance/two").refused
    (sent,) = shared.replays()
    assert (sent.key, json.loads(sent.value or b""), sent.batch_id) == ("Røros".encode(), mended, None)
    assert shared.state() is LetterState.REPLAYED


def test_a_letter_that_is_unknown_is_named(case: Case) -> None:
    with pytest.raises(Fatal, match=r"there is no dead letter 4711: `penstock dlq list` shows"):
        case.replay(4711)
