"""What a landing needs before its first record, and what needs no Spark: it is done while Spark starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from penstock.core import settings
from penstock.core.pipeline import Wire
from penstock.kafka.registry import Registry
from penstock.sinks.catalogue import Address, open_sink
from penstock.sinks.landing import Request
from penstock.sinks.patience import outlast

Writers: TypeAlias = Mapping[int, Mapping[str, Any]]
"""{schema id: the schema that records with this id were written by}"""


@dataclass(frozen=True)
class Prepared:
    """The schemas of the records, and whether rows newer than them may be where they belong."""

    writers: Writers = field(default_factory=dict)
    contested: bool = True


def prepare(request: Request, kafka: settings.Kafka, where: Sequence[Address]) -> Prepared:
    """Set the sinks up, look there for newer rows, and look up the schemas that the records were written by.

    Raises Retry where a sink or the registry stays away, Fatal where they refuse.
    """
    contested = False
    for each, at in zip(request.sinks, where, strict=True):
        with closing(open_sink(each, at, request.contract, patience=request.patience)) as sink:
            sink.setup()
            contested = _contested(request, sink) or contested
    return Prepared(_writers(request, kafka), contested)


def _contested(request: Request, sink: object) -> bool:
    """Others' records are as of times of their own, which no one question could cover."""
    from penstock.sinks.influxdb import InfluxSink

    if not isinstance(sink, InfluxSink) or request.extent is None or any(each.claimed for each in request.batches):
        return True
    newest = sink.newest(request.extent)
    return newest is not None and newest > min(each.as_of for each in request.batches)


def _writers(request: Request, kafka: settings.Kafka) -> Writers:
    if request.wire is Wire.JSON:
        return {}
    registry = Registry(kafka.registry_url)

    def look_up() -> Writers:
        return {each: registry.schema(each) for each in sorted({batch.schema_id for batch in request.batches})}

    return outlast(request.patience, look_up)
