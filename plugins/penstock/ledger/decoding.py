"""Records from the bytes of messages, by a pipeline's wire format, one at a time and without Spark."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import cache
from io import BytesIO
from typing import Any, Protocol

from penstock.core.contract import Contract
from penstock.core.counts import Produced
from penstock.core.errors import PenstockError, Reject, Retry
from penstock.core.pipeline import Pipeline, Wire
from penstock.core.record import Record
from penstock.core.settings import Kafka
from penstock.kafka.registry import Registry
from penstock.sinks.json_rows import normaliser, parse

_FRAME = struct.Struct(">bI")  # a zero byte and the schema's id stand before the Avro body


class Decoder(Protocol):
    """Decodes the values of one topic."""

    def prepare(self, produced: Produced) -> None:
        """Look up what decoding a batch needs. Raises Retry or Fatal where the registry is away or refuses."""
        ...

    def decoded(self, value: bytes, *, by_others: bool) -> Record:
        """The record in `value`, which may break the contract. Raises Reject where there is none."""
        ...


def decoder(pipeline: Pipeline, kafka: Kafka) -> Decoder:
    """The decoder of the pipeline's topic."""
    return _Json(pipeline.normaliser) if pipeline.wire is Wire.JSON else _Avro(kafka, pipeline.contract)


class _Json:
    """Records that are JSON objects; those of others go through the pipeline's normaliser."""

    def __init__(self, normaliser_name: str | None) -> None:
        self._normalise = normaliser(normaliser_name)

    def prepare(self, produced: Produced) -> None:
        """Nothing to look up."""

    def decoded(self, value: bytes, *, by_others: bool) -> Record:
        found = parse(value)
        if by_others and self._normalise:
            found = self._normalise(found)
        if not isinstance(found, dict):
            raise Reject(f"the value is a JSON {type(found).__name__}, not an object")
        return found


class _Avro:
    """Records in the schema registry's framing."""

    def __init__(self, kafka: Kafka, contract: Contract) -> None:
        self._schema = _parsed(contract.schema)
        registry = Registry(kafka.registry_url)
        self._writer = cache(lambda schema_id: _parsed(registry.schema(schema_id)))

    def prepare(self, produced: Produced) -> None:
        """Look the schema up: a registry that refuses us must not make all records look corrupt."""
        self._writer(produced.schema_id)

    def decoded(self, value: bytes, *, by_others: bool) -> Record:  # noqa: ARG002 - one format for all
        from fastavro import schemaless_reader

        try:
            zero, schema_id = _FRAME.unpack_from(value)
        except struct.error:
            raise Reject(f"its {len(value)} bytes are no Avro record in the registry's framing") from None
        if zero != 0:
            raise Reject("the value does not begin with the id of a schema")
        writer = self._schema_of(schema_id)
        try:
            record = schemaless_reader(BytesIO(value[_FRAME.size :]), writer, self._schema)
        except Exception as error:  # fastavro has no error of its own for a corrupt body
            raise Reject(f"the value does not decode by schema {schema_id}: {error!r}") from error
        if not isinstance(record, dict):
            raise Reject(f"the value is an Avro {type(record).__name__}, not a record")
        return record

    def _schema_of(self, schema_id: int) -> Any:
        try:
            return self._writer(schema_id)
        except Retry:
            raise
        except PenstockError as error:
            raise Reject(f"the value names the schema {schema_id}, which is none: {error}") from error


def _parsed(schema: Mapping[str, Any]) -> Any:
    from fastavro import parse_schema

    return parse_schema(_physical(schema))


def _physical(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without its logical types, so that a timestamp is read as the number it is."""

    def plain(avro_type: Any) -> Any:
        if isinstance(avro_type, list):
            return [plain(each) for each in avro_type]
        return avro_type["type"] if isinstance(avro_type, dict) else avro_type

    return {**schema, "fields": [{**each, "type": plain(each["type"])} for each in schema["fields"]]}
