"""Events of lineage as OpenLineage has them (https://openlineage.io/docs/spec), made of hops and of our own counts.

They are plain dicts: OpenLineage's own Python client takes half a second to import, and a Spark driver should not wait
for it. A test holds each facet against the client's classes.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self, TypeAlias

from penstock.core.batch import Interval
from penstock.core.contract import Contract
from penstock.core.errors import Fatal, PenstockError
from penstock.core.settings import lineage_namespace
from penstock.observe import lineage_outlet
from penstock.observe.lineage import Dataset, Hop, Places

Json: TypeAlias = dict[str, Any]
Counts: TypeAlias = Mapping[Dataset, int]
"""{dataset: records read from it, or written to it}."""

log = logging.getLogger(__name__)

PRODUCER = "urn:penstock"
"""Who made an event or a facet, as OpenLineage's `producer` and `_producer`: a URI."""

BATCHES = "penstock_batches"
"""Our own facet of a run: see include/openlineage/batches-run-facet.json."""

MOST_BATCHES = 100
"""Batches that one event names: a historic run may have thousands."""

RUNNING_SECONDS = 600.0
"""How often a run that never ends tells that it goes on."""

_EVENT_SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS = "https://openlineage.io/spec/facets"
_BATCHES_SCHEMA = "urn:penstock:openlineage:1-0-0:batches-run-facet"


class RunState(StrEnum):
    """What an event says of a run, of those that we tell."""

    START = "START"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    FAIL = "FAIL"


class Processing(StrEnum):
    """Whether a job comes to an end."""

    BATCH = "BATCH"
    STREAMING = "STREAMING"


@dataclass(frozen=True)
class Job:
    """A run, named by its job and its id."""

    namespace: str
    name: str
    run_id: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}/{self.run_id}"

    @classmethod
    def parse(cls, text: str) -> Job:
        """Read NAMESPACE/JOB/RUN, as `str` and OpenLineage's OPENLINEAGE_PARENT_ID have it. Raises Fatal for others."""
        parts = text.split("/")
        if len(parts) != len(("namespace", "name", "run")) or not all(parts):
            raise Fatal(f"OPENLINEAGE_PARENT_ID is {text!r}: it must be NAMESPACE/JOB/RUN")
        return cls(*parts)


@dataclass(frozen=True)
class BatchCounts:
    """What an event says of one batch: its id, its data interval, and its counts by name."""

    id: str
    interval: Interval
    counts: Mapping[str, int]


def _facet(schema: str, **fields: Any) -> Json:
    return {"_producer": PRODUCER, "_schemaURL": schema, **fields}


def _standard(name: str, version: str, **fields: Any) -> Json:
    return _facet(f"{_FACETS}/{version}/{name}.json#/$defs/{name}", **fields)


def schema_facet(contract: Contract) -> Json:
    """The fields of a contract, with what they mean and their units."""
    fields = []
    for each in contract.fields:
        told = "; ".join(part for part in (each.doc, f"unit: {each.unit}" if each.unit else "") if part)
        fields.append({"name": each.name, "type": str(each.kind)} | ({"description": told} if told else {}))
    return _standard("SchemaDatasetFacet", "1-2-0", fields=fields)


def dataset_facets(dataset: Dataset) -> Json:
    """{name: facet} of a dataset."""
    facets = {"datasetType": _standard("DatasetTypeDatasetFacet", "1-0-1", datasetType=str(dataset.type))}
    return facets | ({"schema": schema_facet(dataset.contract)} if dataset.contract else {})


def input_facets(dataset: Dataset, counts: Counts) -> Json:
    """{name: facet} of a dataset as an input: the records that were read, where that is known."""
    if dataset not in counts:
        return {}
    return {"inputStatistics": _standard("InputStatisticsInputDatasetFacet", "1-0-0", rowCount=counts[dataset])}


def output_facets(dataset: Dataset, counts: Counts) -> Json:
    """{name: facet} of a dataset as an output: the records that were written, where that is known."""
    if dataset not in counts:
        return {}
    return {"outputStatistics": _standard("OutputStatisticsOutputDatasetFacet", "1-0-2", rowCount=counts[dataset])}


def batches_facet(batches: Sequence[BatchCounts]) -> Json:
    """{name: facet} of a run that names its batches, the first of them where there are many; nothing without any."""
    if not batches:
        return {}
    named = [
        {
            "id": each.id,
            "intervalStart": each.interval.start.isoformat(),
            "intervalEnd": each.interval.end.isoformat(),
            "counts": dict(each.counts),
        }
        for each in batches[:MOST_BATCHES]
    ]
    return {BATCHES: _facet(_BATCHES_SCHEMA, total=len(batches), batches=named)}


def _parent_facet(parent: Job) -> Json:
    run, job = {"runId": parent.run_id}, {"namespace": parent.namespace, "name": parent.name}
    return {"parent": _standard("ParentRunFacet", "1-2-0", run=run, job=job)}


def counted(hop: Hop, read: int | None, written: Sequence[int]) -> Counts:
    """The counts of a hop: of its first input, and of its outputs in their order, as far as these are known."""
    inputs = {} if read is None else dict.fromkeys(hop.inputs[:1], read)
    return inputs | dict(zip(hop.outputs, written, strict=False))


class Run:
    """A run of a Spark driver, which tells its lineage: `with run:` around all that it does.

    It tells its beginning, its end and, where it does not end by itself, every ten minutes that it goes on. `send`
    takes an event as a line of JSON, and must not raise.
    """

    def __init__(
        self,
        hop: Hop,
        processing: Processing,
        *,
        namespace: str = "penstock",
        parent: Job | None = None,
        send: Callable[[str], None] = lineage_outlet.send,
    ) -> None:
        self.run_id = str(uuid.uuid4())
        self._hop, self._processing = hop, processing
        self._namespace, self._parent, self._send = namespace, parent, send
        self._read, self._written = 0, [0] * len(hop.outputs)
        self._told = time.monotonic()
        self._beginning = threading.Thread(target=self._tell, args=(RunState.START, {}), daemon=True)

    def count(self, read: int, written: Sequence[int]) -> None:
        """Add records that were read from the input, and written to each output in the hop's order."""
        self._read += read
        self._written = [sum(each) for each in zip(self._written, written, strict=False)]
        endless = self._processing is Processing.STREAMING
        if endless and time.monotonic() - self._told >= RUNNING_SECONDS:
            self._tell(RunState.RUNNING, self._counts)

    def __enter__(self) -> Self:
        self._beginning.start()  # beside the start of the JVM
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._beginning.join()
        if error is None or (isinstance(error, SystemExit) and not error.code):
            self._tell(RunState.COMPLETE, self._counts)
            return
        # Only our own messages are known to hold no secret.
        said = str(error) if isinstance(error, PenstockError) else type(error).__name__
        told = _standard("ErrorMessageRunFacet", "1-0-1", message=said, programmingLanguage="python")
        self._tell(RunState.FAIL, {}, {"errorMessage": told})

    @property
    def _counts(self) -> Counts:
        return counted(self._hop, self._read, self._written)

    def _tell(self, state: RunState, counts: Counts, run_facets: Json | None = None) -> None:
        self._told = time.monotonic()
        if self._hop.inputs or self._hop.outputs:
            self._send(json.dumps(self._event(state, counts, run_facets or {})))

    def _event(self, state: RunState, counts: Counts, run_facets: Json) -> Json:
        job_type = {"processingType": str(self._processing), "integration": "SPARK", "jobType": "JOB"}
        return {
            "eventType": str(state),
            "eventTime": datetime.now(UTC).isoformat(),
            "producer": PRODUCER,
            "schemaURL": _EVENT_SCHEMA,
            "run": {
                "runId": self.run_id,
                "facets": (_parent_facet(self._parent) if self._parent else {}) | run_facets,
            },
            "job": {
                "namespace": self._namespace,
                "name": self._hop.job,
                "facets": {"jobType": _standard("JobTypeJobFacet", "2-0-4", **job_type)},
            },
            "inputs": [_with(each, inputFacets=input_facets(each, counts)) for each in self._hop.inputs],
            "outputs": [_with(each, outputFacets=output_facets(each, counts)) for each in self._hop.outputs],
        }


def spark_run(hop: Callable[[Places], Hop], processing: Processing, environment: Mapping[str, str] = os.environ) -> Run:
    """The run of this driver; its parent is the one that OPENLINEAGE_PARENT_ID names, if any.

    Where the environment does not say how to name the datasets, that is logged, and the run tells nothing.
    """
    namespace, parent = lineage_namespace(environment), environment.get("OPENLINEAGE_PARENT_ID")
    try:
        return Run(
            hop(Places(environment)), processing, namespace=namespace, parent=Job.parse(parent) if parent else None
        )
    except Fatal as error:
        log.warning("there will be no lineage of this run: %s", error)
        return Run(Hop("unknown", (), ()), processing, namespace=namespace)


def _with(dataset: Dataset, **facets: Json) -> Json:
    named = {"namespace": dataset.namespace, "name": dataset.name, "facets": dataset_facets(dataset)}
    return named | {name: found for name, found in facets.items() if found}
