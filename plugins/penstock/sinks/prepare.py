"""What a landing needs before its first record, and what needs no Spark: it is done while Spark starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from penstock.core import settings
from penstock.kafka.registry import Registry
from penstock.sinks.cassandra import CassandraSink
from penstock.sinks.landing import Request
from penstock.sinks.patience import outlast

Writers: TypeAlias = Mapping[int, Mapping[str, Any]]
"""{schema id: the schema that records with this id were written by}"""


def prepare(request: Request, kafka: settings.Kafka, cassandra: settings.Cassandra) -> Writers:
    """Set the table up, and look up the schemas that the records were written by.

    Raises Retry where Cassandra or the registry stays away, Fatal where they refuse.
    """
    sink = CassandraSink(cassandra, request.table, request.contract, patience=request.patience)
    try:
        sink.setup()
    finally:
        sink.close()
    registry = Registry(kafka.registry_url)

    def look_up() -> Writers:
        return {each: registry.schema(each) for each in sorted({batch.schema_id for batch in request.batches})}

    return outlast(request.patience, look_up)
