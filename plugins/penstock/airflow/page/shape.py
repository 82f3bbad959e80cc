"""The ledger's rows as the JSON that the page draws."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from penstock.core.service import Desired, State
from penstock.ledger.freshness import Freshness
from penstock.ledger.overview import BatchHops, HopRow
from penstock.ledger.services import ServiceRow
from penstock.ledger.store import Hop, LedgerRow
from penstock.ledger.stream_verdicts import StreamRow
from penstock.services.service import Service

_OPEN = re.compile(rf"({'|'.join(Hop)}|replay of \d+ dead letters?) (in progress|not started)")


def batch_state(row: LedgerRow) -> str:
    """`whole`, `open` while a hop is still to come, or `not_whole`."""
    if row.whole:
        return "whole"
    return "open" if _OPEN.fullmatch(row.verdict) else "not_whole"


def batch(row: LedgerRow) -> dict[str, Any]:
    """A row of a table of batches, and a bar of a chart."""
    took = row.took.total_seconds() if row.took is not None else None
    return row.to_json() | {"state": batch_state(row), "seconds": took}


def interval(row: StreamRow) -> dict[str, Any]:
    """An interval of a stream."""
    return row.to_json() | {"state": "whole" if row.whole else "not_whole"}


def fresh(judged: Freshness | None) -> dict[str, Any] | None:
    """The age of the newest landed data against its limit, in seconds; None for a data set without a limit."""
    if judged is None:
        return None
    return {
        "fresh": judged.fresh,
        "newest": _time(judged.newest),
        "age": _seconds(judged.age),
        "limit": _seconds(judged.limit),
    }


def service(row: ServiceRow, declared: Service) -> dict[str, Any]:
    """A service as its watch last saw it, with what a person can do about it."""
    wanted = row.desired is Desired.STARTED
    return row.to_json() | {
        "title": declared.title,
        "dag_id": declared.dag_id,
        "runbook": declared.runbook,
        "fine": (row.state is State.HEALTHY) if wanted else (row.state is State.STOPPED),
    }


@dataclass(frozen=True)
class Step:
    """One place on the way of a batch's records. `records` is None where the batch has not come there yet.

    `missing` are the records that should be here and are not, negative where there are too many. `kind` is `through`
    for a place that all records pass, `aside` for one where some are left, `back` for those that came from there.
    """

    name: str
    hop: Hop
    records: int | None
    missing: int = 0
    kind: str = "through"
    note: str = ""


def steps(found: BatchHops) -> list[dict[str, Any]]:
    """The way of the records of a batch, in the order in which they go."""
    return [asdict(each) for each in _steps(found)]


def _steps(found: BatchHops) -> Iterator[Step]:
    produce = found.hops.get(Hop.PRODUCE)
    land = _same_attempt(found.hops.get(Hop.LAND), produce)
    reconcile = _same_attempt(found.hops.get(Hop.RECONCILE), produce)
    yield from _at_produce(produce)
    yield from _at_land(produce, land)
    landed = found.row.landed if land else None
    replayed = _less(landed, land.landed) if land else 0
    if replayed:
        yield Step("replayed from the dead letters", Hop.LAND, replayed, kind="back", note="landed since")
    yield from _at_reconcile(landed, reconcile)


def _same_attempt(hop: HopRow | None, produce: HopRow | None) -> HopRow | None:
    """A hop's counts say something only of the attempt that they were counted of."""
    return hop if hop and produce and hop.as_of is not None and hop.as_of == produce.as_of else None


def _at_produce(produce: HopRow | None) -> Iterator[Step]:
    fetched, acked, rejected = (produce.fetched, produce.acked, produce.rejected) if produce else (None, None, None)
    taken_up = produce.taken_up if produce else 0
    note = f"{taken_up} of them written to the topic by others" if taken_up else ""
    yield Step("fetched", Hop.PRODUCE, fetched, note=note)
    yield Step("acknowledged by Kafka", Hop.PRODUCE, acked, missing=_less(fetched, acked))
    yield Step("set aside before the topic", Hop.PRODUCE, rejected, kind="aside", note="dead letters")


def _at_land(produce: HopRow | None, land: HopRow | None) -> Iterator[Step]:
    on_topic = produce.acked - (produce.rejected or 0) if produce and produce.acked is not None else None
    empty = Step("", Hop.LAND, None)
    if land is None:
        yield replace(empty, name="read from the topic")
        yield replace(empty, name="landed")
        return
    yield Step("read from the topic", Hop.LAND, land.read, missing=_less(on_topic, land.read))
    yield Step("set aside at landing", Hop.LAND, land.rejected, kind="aside", note="dead letters")
    yield Step("repeated a key", Hop.LAND, land.duplicates, kind="aside", note="duplicates, landed once")
    fates = (land.landed or 0) + (land.rejected or 0) + (land.duplicates or 0)
    yield Step("landed", Hop.LAND, land.landed, missing=_less(land.read, fates))


def _at_reconcile(landed: int | None, reconcile: HopRow | None) -> Iterator[Step]:
    if reconcile is None:
        yield Step("counted by the sink", Hop.RECONCILE, None)
        return
    for sink, count in (reconcile.sinks or {}).items():
        present, missing = count["own"] + count["newer"], _less(landed, count["own"])
        if missing > 0:  # a later attempt wrote the same keys
            missing = max(0, missing - count["newer"])
        note = ", ".join(f"{count[each]} by {each} attempts" for each in ("newer", "older") if count[each])
        yield Step(f"counted by {sink}", Hop.RECONCILE, present, missing=missing, note=note)
    if reconcile.raw_copied is not None:
        missing = _less(landed, reconcile.raw_copied)
        yield Step("in the raw copy on HDFS", Hop.RECONCILE, reconcile.raw_copied, missing=missing)


def _less(before: int | None, after: int | None) -> int:
    return 0 if before is None or after is None else before - after


def hop(row: HopRow) -> dict[str, Any]:
    """The latest attempt at a hop."""
    took = None if row.finished is None else (row.finished - row.started).total_seconds()
    return {
        "hop": row.hop,
        "state": row.state,
        "attempts": row.attempts,
        "run_id": row.run_id,
        "try_number": row.try_number,
        "started": _time(row.started),
        "seconds": took,
        "error": row.error,
        "as_of": _time(row.as_of),
        "topic": row.topic,
        "schema_id": row.schema_id,
        "ranges": _ranges(row.ranges),
        "claimed": _ranges(row.claimed),
        "foreign_read": row.foreign_read,
        "verdict": row.verdict,
    }


def _ranges(ranges: Sequence[Mapping[str, int]] | None) -> list[Mapping[str, int]]:
    return sorted(ranges or (), key=lambda each: (each["partition"], each["start"]))


def _time(time: datetime | None) -> str | None:
    return time.isoformat() if time else None


def _seconds(time: timedelta | None) -> float | None:
    return time.total_seconds() if time is not None else None
