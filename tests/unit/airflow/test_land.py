"""LandOperator against a spark-submit that is a small script: real processes, files and exit codes."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from airflow.sdk.exceptions import AirflowFailException

from penstock.airflow.errors import TryAgain
from penstock.airflow.operators.land import LandOperator
from penstock.core.batch import Interval
from penstock.pipelines.weather import WEATHER_HOURLY
from tests.unit.airflow.conftest import HOUR, FakeLedger, produced

LOCAL = '{"conn_type": "spark", "host": "local[2]"}'

PREAMBLE = f"""#!{sys.executable}
import json, os, subprocess, sys, time
from pathlib import Path
request, report = (Path(sys.argv[sys.argv.index(name) + 1]) for name in ("--request", "--report"))
told = json.loads(request.read_text())
Path(os.environ["SAW"]).write_text(json.dumps({{"arguments": sys.argv[1:], "request": told}}))
counts = {{each["batch_id"]: each["acked"] for each in told["batches"]}}
landed = [{{"batch_id": name, "read": count, "landed": count, "rejected": 0}} for name, count in counts.items()]
"""

LANDS = 'report.write_text(json.dumps({"batches": landed}))'


class Spark:
    """The spark-submit on the PATH, and what it was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.saw_file = folder / "saw.json"

    def does(self, code: str) -> None:
        binary = self.folder / "spark-submit"
        binary.write_text(PREAMBLE + code)
        binary.chmod(0o755)

    @property
    def saw(self) -> dict[str, Any]:
        return json.loads(self.saw_file.read_text())

    @property
    def arguments(self) -> str:
        return " ".join(self.saw["arguments"])


@pytest.fixture
def spark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spark:
    spark = Spark(tmp_path)
    spark.does(LANDS)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SAW", str(spark.saw_file))
    monkeypatch.setenv("PENSTOCK_VAR", str(tmp_path / "var"))
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", LOCAL)
    monkeypatch.setenv("CASSANDRA_PASSWORD", "s3cr3t-of-cassandra")
    monkeypatch.delenv("PENSTOCK_SPARK_PROPERTIES", raising=False)
    return spark


def operator(results: Any) -> LandOperator:
    return LandOperator(task_id="land", pipeline=WEATHER_HOURLY, produced=results)


def folders(tmp_path: Path) -> list[Path]:
    return [path.parent for path in tmp_path.glob("var/landing/*/*/request.json")]


def test_a_batch_is_landed_and_counted(
    spark: Spark, fake_ledger: FakeLedger, context: dict[str, Any], tmp_path: Path
) -> None:
    result = produced(acked=6)
    counts = operator(result).execute(context)
    assert counts == [
        {"batch_id": result["batch_id"], "read": 6, "landed": 6, "rejected": 0, "duplicates": 0, "foreign": 0}
    ]
    assert fake_ledger.methods() == ["started", "landed"]
    assert fake_ledger.told[0][2][:3] == ("land", "weather_hourly/scheduled__2026-03-01T10:00:00+00:00", 2)
    assert list((tmp_path / "var" / "landing").iterdir()) == []  # a folder is a landing that failed or is under way


def test_the_job_is_told_all_it_needs(spark: Spark, fake_ledger: FakeLedger, context: dict[str, Any]) -> None:
    result = produced()
    operator(result).execute(context)
    request = spark.saw["request"]
    assert request["contract"] == WEATHER_HOURLY.contract.schema
    assert (request["topic"], request["dead_letter_topic"]) == ("hourlymetrics", "hourlymetrics.dlq")
    assert request["sinks"] == [{"kind": "CassandraTable", "name": "hourlydata"}]
    assert (request["wire"], request["normaliser"]) == ("avro", None)
    assert request["extent"] == result["extent"]
    assert request["batches"] == [
        {name: value for name, value in result.items() if name not in {"interval", "options", "extent"}}
    ]
    assert "--master local[2]" in spark.arguments
    assert "spark_jobs/land_batch.py --request" in spark.arguments


def test_nothing_secret_is_among_the_arguments(spark: Spark, fake_ledger: FakeLedger, context: dict[str, Any]) -> None:
    task = operator(produced())
    task.execute(context)
    assert "s3cr3t" not in spark.arguments
    rendered = [str(getattr(task, name)) for name in task.template_fields]
    assert not any("s3cr3t" in each for each in rendered)


def test_all_mapped_batches_are_one_submission(
    spark: Spark, fake_ledger: FakeLedger, context: dict[str, Any], tmp_path: Path
) -> None:
    results = [
        produced(
            interval=Interval(HOUR.start + n * timedelta(days=1), HOUR.end + n * timedelta(days=1)), variables=["rain"]
        )
        for n in range(3)
    ]
    counts = operator(results).execute(context)
    assert [each["batch_id"] for each in counts] == [each["batch_id"] for each in results]
    assert len(spark.saw["request"]["batches"]) == 3
    assert fake_ledger.methods() == ["started"] * 3 + ["landed"] * 3


def test_a_batch_without_records_needs_no_spark(spark: Spark, fake_ledger: FakeLedger, context: dict[str, Any]) -> None:
    (counts,) = operator(produced(acked=0)).execute(context)
    assert (counts["read"], counts["landed"]) == (0, 0)
    assert not spark.saw_file.exists()
    assert fake_ledger.methods() == ["started", "landed"]


def test_a_batch_of_only_dead_letters_needs_no_spark(
    spark: Spark, fake_ledger: FakeLedger, context: dict[str, Any]
) -> None:
    (counts,) = operator(produced(acked=4, rejected=4)).execute(context)
    assert (counts["read"], counts["landed"], counts["rejected"]) == (0, 0, 0)
    assert not spark.saw_file.exists()


def test_only_small_batches_do_without_the_second_compiler(
    spark: Spark, fake_ledger: FakeLedger, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_SMALL_LANDING", "10")
    operator(produced(acked=10)).execute(context)
    assert "TieredStopAtLevel=1" in spark.arguments
    operator(produced(acked=11)).execute(context)
    assert "TieredStopAtLevel" not in spark.arguments


def test_spark_is_configured_by_the_stacks_properties_file(
    spark: Spark, fake_ledger: FakeLedger, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_SPARK_PROPERTIES", "/etc/spark.conf")
    operator(produced()).execute(context)
    assert "--properties-file /etc/spark.conf" in spark.arguments


JAVA_TRACE = 'print("Exception in thread \\"main\\" java.lang.Boom\\n" + "\\tat org.apache.spark.X\\n" * 50);'


@pytest.mark.parametrize(("kind", "raised"), [("Retry", TryAgain), ("Fatal", AirflowFailException)])
def test_a_failed_job_is_explained_in_its_own_sentence(
    spark: Spark,
    fake_ledger: FakeLedger,
    context: dict[str, Any],
    tmp_path: Path,
    kind: str,
    raised: type[Exception],
) -> None:
    error = json.dumps({"kind": kind, "message": "Cassandra at 127.0.0.1:9042 is away"})
    spark.does(f"{JAVA_TRACE} report.with_name('error.json').write_text({error!r}); sys.exit(1)")
    with pytest.raises(raised) as caught:
        operator(produced()).execute(context)
    assert str(caught.value) == "Cassandra at 127.0.0.1:9042 is away"
    assert fake_ledger.told[-1] == ("failed", produced()["batch_id"], ("land", "Cassandra at 127.0.0.1:9042 is away"))
    assert len(folders(tmp_path)) == 1


def test_a_job_that_dies_without_a_word_may_be_tried_again(
    spark: Spark, fake_ledger: FakeLedger, context: dict[str, Any]
) -> None:
    spark.does("os.kill(os.getpid(), 9)")
    with pytest.raises(TryAgain, match="ended with exit code -9 and left no reason"):
        operator(produced()).execute(context)


@pytest.mark.parametrize("code", ["pass", "report.write_text('{')", "report.write_text('{}')"])
def test_a_job_without_a_report_has_not_landed(
    spark: Spark, fake_ledger: FakeLedger, context: dict[str, Any], code: str
) -> None:
    spark.does(code)
    with pytest.raises(TryAgain, match="no readable report"):
        operator(produced()).execute(context)


def test_a_report_must_account_for_every_batch(spark: Spark, fake_ledger: FakeLedger, context: dict[str, Any]) -> None:
    spark.does("report.write_text(json.dumps({'batches': []}))")
    with pytest.raises(TryAgain, match=f"says nothing of {produced()['batch_id']}"):
        operator(produced()).execute(context)


def test_the_report_of_an_earlier_run_is_not_taken_for_this_ones(
    spark: Spark, fake_ledger: FakeLedger, context: dict[str, Any]
) -> None:
    spark.does(LANDS + "; sys.exit(1)")
    for code in (LANDS + "; sys.exit(1)", "pass"):
        spark.does(code)
        with pytest.raises(TryAgain):
            operator(produced()).execute(context)


def test_a_missing_connection_is_not_taken_for_one_to_yarn(
    spark: Spark, fake_ledger: FakeLedger, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_SPARK_DEFAULT")
    with pytest.raises(AirflowFailException, match="spark_default does not exist: set AIRFLOW_CONN_SPARK_DEFAULT"):
        operator(produced()).execute(context)


def test_cluster_mode_is_refused(
    spark: Spark, fake_ledger: FakeLedger, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = {"conn_type": "spark", "host": "yarn", "extra": {"deploy-mode": "cluster"}}
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", json.dumps(cluster))
    with pytest.raises(AirflowFailException, match="needs client"):
        operator(produced()).execute(context)


def test_a_worker_without_spark_says_so(spark: Spark, fake_ledger: FakeLedger, context: dict[str, Any]) -> None:
    (spark.folder / "spark-submit").unlink()
    with pytest.raises(AirflowFailException, match="spark-submit is not on the PATH"):
        operator(produced()).execute(context)


def test_a_killed_task_takes_sparks_whole_process_tree_along(
    spark: Spark, fake_ledger: FakeLedger, context: dict[str, Any]
) -> None:
    child = "import os, subprocess; os.setpgid(0, 0); subprocess.run(['sleep', '300'])"
    spark.does(f"subprocess.run([sys.executable, '-c', {child!r}])")
    task = operator(produced())
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(task.execute, context)
        tree: list[psutil.Process] = []
        while len(tree) < 3:  # spark-submit, its child in a process group of its own, and that one's sleep
            assert not running.done(), running.exception()
            if task._process:
                root = psutil.Process(task._process.pid)
                tree = [root, *root.children(recursive=True)]
        task.on_kill()
        assert isinstance(running.exception(timeout=60), TryAgain)
    _, alive = psutil.wait_procs(tree, timeout=60)
    assert alive == []


def test_a_task_that_is_killed_before_spark_starts_has_nothing_to_end(spark: Spark) -> None:
    operator(produced()).on_kill()
