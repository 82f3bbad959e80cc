"""Whether a batch is whole: what was fetched, acked and landed, held against what the sinks themselves count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from penstock.core.counts import Count, Landed, Produced
from penstock.core.errors import Fatal

WHOLE = "whole"


@dataclass(frozen=True)
class Verdict:
    """`text` is `whole`, or names what is missing at which hop, with the numbers.

    `sinks` is what each sink counted, `raw_copied` how many distinct records the raw copy has, where there is one.
    """

    text: str
    sinks: Mapping[str, Count]
    raw_copied: int | None = None

    @property
    def whole(self) -> bool:
        """Whether every fetched record has arrived."""
        return self.text == WHOLE


def verdict(
    produced: Produced,
    landed: Landed,
    sinks: Mapping[str, Count],
    *,
    topic_keys: int | None = None,
    raw_copied: int | None = None,
) -> Verdict:
    """Judge one batch; `sinks` is {name of the sink: its count of the batch}.

    `topic_keys` is how many distinct valid records the topic has of it, `raw_copied` how many of them the raw copy has,
    where these were looked at.

    The batch is whole where fetched = acked = landed + rejected + duplicates and each sink has all that landed. Rows
    that a later attempt has written since count as present: it wrote the same keys. Rows that only an earlier attempt
    wrote don't, because this one's values never reached them. Raises Fatal where the counts are of different batches.
    """
    if produced.batch_id != landed.batch_id:
        raise Fatal(f"the batch {produced.batch_id} cannot be judged by the landing of {landed.batch_id}")
    gaps = [*_at_produce(produced), *_at_land(produced, landed), *_in_sinks(landed, sinks)]
    if topic_keys is not None and topic_keys != landed.landed:
        gaps.append(f"{produced.topic} has {topic_keys} valid keys of it")
    if raw_copied is not None:
        gaps += _gap(landed.landed - raw_copied, "in the raw copy")
    return Verdict(f"{_numbers(produced, landed)}: {'; '.join(gaps)}" if gaps else WHOLE, sinks, raw_copied)


def _at_produce(produced: Produced) -> Iterator[str]:
    yield from _gap(produced.fetched - produced.acked, "at produce")


def _at_land(produced: Produced, landed: Landed) -> Iterator[str]:
    on_topic = produced.acked - produced.rejected
    has_a_fate = landed.landed + landed.rejected + landed.duplicates
    yield from _gap(on_topic - has_a_fate, "at land")
    if landed.read != has_a_fate:
        yield f"land read {landed.read} and accounts for {has_a_fate}"


def _in_sinks(landed: Landed, sinks: Mapping[str, Count]) -> Iterator[str]:
    for name, count in sinks.items():
        missing = landed.landed - count.own
        if missing > 0:
            missing = max(0, missing - count.newer)
        for gap in _gap(missing, f"in {name}"):
            yield f"{gap} (rows by this attempt {count.own}, later ones {count.newer}, earlier ones {count.older})"


def _gap(missing: int, where: str) -> Iterator[str]:
    if missing > 0:
        yield f"{missing} missing {where}"
    elif missing < 0:
        yield f"{-missing} too many {where}"


def _numbers(produced: Produced, landed: Landed) -> str:
    duplicates = f", duplicates {landed.duplicates}" if landed.duplicates else ""
    return (
        f"acked {produced.acked} of {produced.fetched}, landed {landed.landed}, "
        f"rejected {produced.rejected + landed.rejected}{duplicates}"
    )
