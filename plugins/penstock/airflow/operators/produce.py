"""The first step of a run: fetch a batch and put it on its topic, every record acknowledged."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.apache.kafka.operators.produce import ProduceToTopicOperator
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from penstock.airflow.errors import airflow_errors
from penstock.airflow.extent import ExtentOf
from penstock.airflow.handover import ProducedBatch
from penstock.airflow.intervals import data_interval
from penstock.airflow.lineage import TellsLineage
from penstock.airflow.lineage import produced as carried_by
from penstock.airflow.recording import attempt, ledger, run_of
from penstock.core.batch import Batch, Interval
from penstock.core.counts import OffsetRange, Produced
from penstock.core.errors import Fatal
from penstock.core.pipeline import Pipeline, Source
from penstock.core.settings import Kafka, ledger_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from penstock.observe.lineage import Hop, Places

_DEFAULT_TIMEOUT = timedelta(minutes=10)

_REPORTING = 0.1
"""The share of the time-out that is kept for aborting, and for saying why."""


class ReliableProduceToTopicOperator(TellsLineage, ProduceToTopicOperator):
    """Produces one batch in one Kafka transaction: all of it, acknowledged and counted, or none of it.

    On a shared topic it first claims what others have written there since the last claim, so that this batch lands it
    with its own. The producer function is the pipeline's source. A batch is the run's data interval, or a `chunk` of a
    mapped task: `{"interval": "START/END", "options": {...}}`, whose options are part of the batch's identity.

    Args:
        pipeline: What to fetch and where to.
        options: For the source, of a run without a chunk: configuration, and no part of the batch's identity.
        chunk: The batch of a mapped task.
        kafka_config_id: The connection whose extras configure the producer.
        kwargs: Those of BaseOperator. `execution_timeout` bounds fetching and producing together.
    """

    template_fields = ("options", "chunk", "topic", "kafka_config_id")

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        options: Mapping[str, Any] | None = None,
        chunk: Mapping[str, Any] | None = None,
        kafka_config_id: str = "kafka_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            topic=pipeline.topic,
            producer_function=pipeline.source.fetch,
            kafka_config_id=kafka_config_id,
            **kwargs,
        )
        self.pipeline = pipeline
        self.options = options
        self.chunk = chunk

    def execute(self, context: Context) -> dict[str, Any]:  # type: ignore[override]  # the stock operator returns nothing
        """Return the counts and offset ranges, as `ProducedBatch.to_json` gives them.

        Raises TryAgain for what may pass, AirflowFailException for what will not.
        """
        from penstock.ledger.store import Hop

        with airflow_errors():
            batch = self._batch(context)
            run = run_of(context)
            as_of = datetime.now(UTC)
            place = ExtentOf(self.pipeline.contract)
            with attempt(Hop.PRODUCE, run, {batch: as_of}):
                produced = self._produce(batch, as_of, place)
            with ledger() as open_ledger:
                open_ledger.produced(batch, produced, run)
            self.log.info("%s: %d records, %d rejected", batch.id, produced.acked, produced.rejected)
            done = ProducedBatch(batch, produced, place.extent())
            self.carried = carried_by(done)
            return done.to_json()

    def hop(self, places: Places) -> Hop:
        """From the source to the topic."""
        from penstock.observe.lineage import produces

        return produces(self.pipeline, places)

    def _batch(self, context: Context) -> Batch:
        if self.chunk:
            return Batch(self.pipeline.name, Interval.parse(self.chunk["interval"]), self.chunk["options"])
        return Batch(self.pipeline.name, data_interval(context, self.pipeline.schedule))

    def _produce(self, batch: Batch, as_of: datetime, place: ExtentOf) -> Produced:
        from penstock.kafka.produce import produce
        from penstock.kafka.registry import Registry

        deadline = self._deadline()
        kafka, config = self._kafka()
        contract = self.pipeline.contract
        claimed, taken_up = self._claim(batch, kafka, config) if self.pipeline.shared else ([], 0)
        source = _within_budget(self.pipeline.source)
        options = source.resolve(self.chunk["options"] if self.chunk else self.options or {})
        schema_id = Registry(kafka.registry_url).register(f"{self.topic}-value", contract)
        produced = produce(
            batch,
            contract,
            topic=self.topic,
            dead_letter_topic=self.pipeline.dead_letter_topic,
            records=place.watch(source.fetch(batch.interval, options)),
            kafka=kafka,
            schema_id=schema_id,
            wire=self.pipeline.wire,
            as_of=as_of,
            deadline=deadline,
            config=config,
        )
        return produced.with_claim(claimed, taken_up)

    def _claim(self, batch: Batch, kafka: Kafka, config: Mapping[str, str]) -> tuple[list[OffsetRange], int]:
        """The offsets that this batch takes up of others' records, those of earlier tries included, and how many."""
        from penstock.kafka.reader import extent
        from penstock.kafka.shared import count_of_others, topic_id

        readable = extent(kafka, self.topic, config=config)
        with ledger() as open_ledger:
            claimed = open_ledger.claim(batch, self.topic, topic_id(kafka, self.topic, config=config), readable)
        taken_up = count_of_others(kafka, self.topic, claimed, config=config)
        if taken_up:
            self.log.info("%s: takes up %d records that others wrote to %s", batch.id, taken_up, self.topic)
        return claimed, taken_up

    def _deadline(self) -> float:
        """On the monotonic clock, a little before Airflow would interrupt the task in the middle of something."""
        timeout = self.execution_timeout or _DEFAULT_TIMEOUT
        return time.monotonic() + timeout.total_seconds() * (1 - _REPORTING)

    def _kafka(self) -> tuple[Kafka, dict[str, str]]:
        """The addresses, and librdkafka's further settings, of the connection."""
        try:
            config = dict(BaseHook.get_connection(self.kafka_config_id).extra_dejson)
        except AirflowNotFoundException:
            raise Fatal(
                f"the Airflow connection {self.kafka_config_id} does not exist: set "
                f"AIRFLOW_CONN_{self.kafka_config_id.upper()}, as .env.example says"
            ) from None
        kafka = Kafka.from_env()
        bootstrap_servers = config.pop("bootstrap.servers", kafka.bootstrap_servers)
        config.pop("group.id", None)
        return Kafka(bootstrap_servers, kafka.registry_url), config


def _within_budget(source: Source) -> Source:
    """The source with its calls counted against the one budget of all workers, where its host sets limits."""
    from penstock.sources.open_meteo import OpenMeteo

    if not isinstance(source, OpenMeteo):
        return source
    from penstock.ledger.limits import CallBudget

    return source.within(CallBudget.of(source.settings, ledger_url()))
