"""The second step of a run: have Spark land what was produced."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import Popen
from typing import TYPE_CHECKING, Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException

from penstock.airflow.errors import airflow_errors
from penstock.airflow.handover import ProducedBatch, landed_by_id, produced_batches
from penstock.airflow.lineage import TellsLineage, parent_of_children
from penstock.airflow.lineage import landed as carried_by
from penstock.airflow.recording import attempt, ledger, run_of
from penstock.core.counts import Extent, Landed, Produced
from penstock.core.errors import Fatal, PenstockError, Retry
from penstock.core.pipeline import Pipeline
from penstock.core.settings import PROJECT, Landing

if TYPE_CHECKING:
    from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
    from airflow.sdk import Context

    from penstock.observe.lineage import Hop, Places

_FIRST_COMPILER_ONLY = {"spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1"}

_REQUEST, _REPORT, _ERROR = "request.json", "report.json", "error.json"

_KINDS: Mapping[str, type[PenstockError]] = {"Retry": Retry, "Fatal": Fatal}


class LandOperator(TellsLineage, SparkSubmitOperator):
    """Lands one batch, or all the batches of a mapped produce task, in a single Spark application.

    Addresses and secrets reach the driver in its environment, never in its arguments. What it is to do and what it
    did are files in `${PENSTOCK_VAR}/landing/<batch>/<run and try>/`, which stays there where the landing fails:
    `request.json`, then `report.json`, or `error.json` with `kind` (Retry or Fatal) and `message`.

    A worker that is killed outright may leave its driver running beside that of the next try. Both write the same
    rows with the same write timestamps, so that this changes nothing.

    Args:
        pipeline: What the batches are of.
        produced: The result of the produce task, or of all its mapped instances.
        kwargs: Those of SparkSubmitOperator; the connection must be for client mode, where driver and worker share
            files.
    """

    template_fields: Sequence[str] = (*SparkSubmitOperator.template_fields, "produced")

    def __init__(self, *, pipeline: Pipeline, produced: Any, **kwargs: Any) -> None:
        kwargs.setdefault("application", str(PROJECT / "spark_jobs" / "land_batch.py"))
        kwargs.setdefault("name", f"land-{pipeline.name}")
        super().__init__(**kwargs)
        self.pipeline = pipeline
        self.produced = produced

    def execute(self, context: Context) -> list[dict[str, Any]]:  # type: ignore[override]  # the stock one: nothing
        """Return the counts of each batch, as `Landed.to_json` gives them.

        Raises TryAgain for what may pass, AirflowFailException for what will not, both with the job's own sentence.
        """
        from penstock.ledger.store import Hop

        with airflow_errors():
            batches = produced_batches(self.produced, self.pipeline.name)
            run = run_of(context)
            with attempt(Hop.LAND, run, {each.batch: each.produced.as_of for each in batches}):
                landed = self._land(batches, context)
            with ledger() as open_ledger:
                for each in batches:
                    counts = landed[each.produced.batch_id]
                    open_ledger.landed(each.batch, counts, run, as_of=each.produced.as_of)
            self.carried = carried_by(batches, list(landed.values()))
            return [each.to_json() for each in landed.values()]

    def hop(self, places: Places) -> Hop:
        """From the topic to the sinks. The Spark job's own event says the same, of a run that is this one's child."""
        from penstock.observe.lineage import lands

        return lands(self.pipeline, places)

    def _land(self, batches: Sequence[ProducedBatch], context: Context) -> dict[str, Landed]:
        ids = [each.produced.batch_id for each in batches]
        landed = {batch_id: Landed(batch_id, read=0, landed=0, rejected=0) for batch_id in ids}
        if on_topic := [each for each in batches if each.produced.on_topic]:
            extents = [each.extent for each in on_topic]
            # A batch without an extent has none but others' records, which are looked up in any case.
            extent = Extent.around([each for each in extents if each])
            landed |= self._submit([each.produced for each in on_topic], extent, context)
        return landed

    def _submit(self, batches: Sequence[Produced], extent: Extent | None, context: Context) -> dict[str, Landed]:
        settings = Landing.from_env()
        folder = _new_folder(settings.folder, batches, context)
        (folder / _REQUEST).write_text(json.dumps(self._request(batches, extent)), encoding="utf-8")
        self._configure(settings, folder, sum(each.acked for each in batches))
        self.env_vars = {**(self.env_vars or {}), **parent_of_children(context["ti"])}
        try:
            super().execute(context)
        except AirflowException as failure:
            raise self._reason(folder, failure) from None
        landed = _report(folder / _REPORT, batches)
        shutil.rmtree(folder)
        with suppress(OSError):  # another run's try is in there
            folder.parent.rmdir()
        return landed

    def _request(self, batches: Sequence[Produced], extent: Extent | None) -> dict[str, Any]:
        from penstock.sinks.landing import Request

        request = Request(
            contract=self.pipeline.contract,
            topic=self.pipeline.topic,
            dead_letter_topic=self.pipeline.dead_letter_topic,
            sinks=self.pipeline.sinks,
            batches=tuple(batches),
            wire=self.pipeline.wire,
            normaliser=self.pipeline.normaliser,
            extent=extent,
        )
        return request.to_json()

    def _configure(self, settings: Landing, folder: Path, records: int) -> None:
        if settings.properties_file and not self.properties_file:
            self.properties_file = str(settings.properties_file)
        if records <= settings.small:
            self.conf = _FIRST_COMPILER_ONLY | (self.conf or {})
        self.application_args = ["--request", str(folder / _REQUEST), "--report", str(folder / _REPORT)]

    def _reason(self, folder: Path, failure: AirflowException) -> Exception:
        """Why the job failed, in its own words where it left some: the hook repeats a command and a stack trace."""
        if self._process is None:
            return failure
        try:
            said = json.loads((folder / _ERROR).read_text(encoding="utf-8"))
            return _KINDS.get(said["kind"], Fatal)(said["message"])
        except FileNotFoundError:
            return Retry(
                f"spark-submit for {self.pipeline} ended with exit code {self._process.returncode} and left no reason: "
                "its last words are above"
            )
        except (ValueError, KeyError, TypeError):
            return Retry(f"spark-submit for {self.pipeline} failed, and {folder / _ERROR} cannot be read")

    def _get_hook(self) -> SparkSubmitHook:
        """The provider's hook, which takes a missing connection for one to YARN: refuse that."""
        try:
            connection = BaseHook.get_connection(self._conn_id)
        except AirflowNotFoundException:
            raise Fatal(
                f"the Airflow connection {self._conn_id} does not exist: set AIRFLOW_CONN_{self._conn_id.upper()}, "
                'for example to {"conn_type": "spark", "host": "local[*]"}'
            ) from None
        if (self._deploy_mode or connection.extra_dejson.get("deploy-mode")) == "cluster":
            raise Fatal(
                f"the Airflow connection {self._conn_id} has the deploy-mode cluster: landing needs client, because "
                "its driver reads and writes files of the worker"
            )
        hook = super()._get_hook()
        if not shutil.which(str(hook.spark_binary)):
            raise Fatal(f"{hook.spark_binary} is not on the PATH of this worker: install pyspark, or set PATH")
        return hook

    @property
    def _process(self) -> Popen[str] | None:
        """The spark-submit under way, or the last one."""
        return self._hook._submit_sp if self._hook else None  # noqa: SLF001 - the hook gives it no public name

    def on_kill(self) -> None:
        """End Spark's whole process tree: the hook alone would leave the Python driver and its workers behind."""
        import psutil

        if self._process is None or self._process.poll() is not None:
            return
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self._process.pid)
            # Root first, so that nothing is started in place of what was killed. No grace: Airflow kills the task
            # itself after five seconds, and a driver that dies in the middle of a write does no harm.
            for process in [root, *root.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()


def _new_folder(parent: Path, batches: Sequence[Produced], context: Context) -> Path:
    """An empty folder of this try's own."""
    instance = context["ti"]
    first = batches[0].batch_id
    name = first if len(batches) == 1 else f"{first}_and_{len(batches) - 1}_more"
    folder = parent / _safe(name) / _safe(f"{instance.run_id}_{instance.try_number}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _safe(name: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", name)


def _report(path: Path, batches: Sequence[Produced]) -> dict[str, Landed]:
    """What the job did with each batch. Raises Retry where it left no account of one."""
    try:
        landed = landed_by_id(json.loads(path.read_text(encoding="utf-8"))["batches"])
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise Retry(f"Spark ended well but left no readable report at {path}: {type(error).__name__}") from None
    if missing := sorted({each.batch_id for each in batches} - landed.keys()):
        raise Retry(f"Spark's report at {path} says nothing of {', '.join(missing)}")
    return landed
