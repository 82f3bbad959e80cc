"""Data sets of the user's own: found in their folder, and left out with a reason where they are broken."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import penstock.pipelines
import penstock.sources
from penstock.core.data_sets import DataSets
from penstock.core.errors import Fatal
from penstock.core.pipeline import CassandraTable, InfluxMeasurement
from penstock.core.settings import PROJECT, data_sets_folder, raw_copy_metrics_url, raw_copy_port
from penstock.pipelines import find_data_sets
from penstock.services import raw_copies, service_now
from penstock.stack import jobs_conf
from tests import documented

OURS = ["car_transactions", "population", "weather_hourly", "weather_daily"]
AGENT = "flume-earthquakes-hdfs"

Write = Callable[..., DataSets]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a user who has no data set yet."""
    monkeypatch.setenv("PENSTOCK_DATA_SETS", str(tmp_path))
    monkeypatch.setattr(penstock.pipelines, "__path__", [*penstock.pipelines.__path__, str(tmp_path / "pipelines")])
    monkeypatch.setattr(penstock.sources, "__path__", [*penstock.sources.__path__, str(tmp_path / "sources")])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(("penstock.pipelines.", "penstock.sources.")):
            del sys.modules[name]


@pytest.fixture
def write(folder: Path) -> Write:
    """Put the documented data set, with `changes` of (file, old, new), into the folder, and look what is found."""

    def make(*changes: tuple[str, str, str], **more: str) -> DataSets:
        texts = documented.files()
        for name, old, new in changes:
            assert old in texts[name]
            texts[name] = texts[name].replace(old, new)
        documented.write(folder, texts | {name.replace("__", "/") + ".py": text for name, text in more.items()})
        return find_data_sets()

    return make


def the_reason(found: DataSets, name: str = "earthquakes") -> str:
    """Why the one broken data set is left out; all others are there."""
    (broken,) = found.broken
    assert broken.name == name
    assert set(OURS) <= set(found.pipelines)
    return broken.reason


DECLARATION, SOURCE, CONTRACT = "pipelines/earthquakes.py", "sources/earthquakes.py", "avro/earthquakes.avsc"


def test_the_page_has_three_files() -> None:
    assert sorted(documented.files()) == sorted([CONTRACT, DECLARATION, SOURCE])


def test_the_documented_data_set_is_found_beside_ours(write: Write) -> None:
    found = write()
    assert found.broken == []
    assert list(found.pipelines) == [*OURS, "earthquakes"]
    assert found.users() == ["earthquakes"]
    assert found.pipelines["earthquakes"].sinks == (
        CassandraTable("earthquakes"),
        InfluxMeasurement("earthquake_magnitudes"),
    )
    assert list(raw_copies(found)) == [AGENT]


def test_a_process_that_lives_long_finds_what_was_added_changed_and_removed(write: Write, folder: Path) -> None:
    assert find_data_sets().users() == []
    write()
    assert service_now(AGENT).title == "Flume: the topic earthquakes to HDFS"
    write((DECLARATION, 'topic="earthquakes"', 'topic="tremors.of.the.earth"'))
    assert service_now(AGENT).title == "Flume: the topic tremors.of.the.earth to HDFS"
    (folder / DECLARATION).unlink()
    assert find_data_sets().users() == []
    with pytest.raises(Fatal, match=f"there is no service '{AGENT}': its data set was removed, or is broken"):
        service_now(AGENT)


def test_two_threads_that_look_at_once_both_find_all(write: Write) -> None:
    write()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: find_data_sets(), range(40)))
    assert {(tuple(each.users()), len(each.broken)) for each in found} == {(("earthquakes",), 0)}


def test_a_folder_that_is_not_there_has_no_data_sets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_DATA_SETS", str(folder / "nowhere"))
    assert list(find_data_sets().pipelines) == OURS


def test_a_syntax_error_is_named_with_file_and_line(write: Write, folder: Path) -> None:
    found = write(pipelines__tides="TIDES = 1\nTIDES = Pipeline(name=)\n")
    assert the_reason(found, "tides") == f"{folder}/pipelines/tides.py, line 2: invalid syntax"
    assert found.users() == ["earthquakes"]


def test_an_error_in_a_source_is_named_where_it_is(write: Write, folder: Path) -> None:
    found = write((SOURCE, "\n\nSERVICE =", "\n\nSERVICE = PROTOCOL +"))
    assert the_reason(found) == f"{folder}/{SOURCE}, line 15: NameError: name 'PROTOCOL' is not defined"


def test_a_module_that_ends_the_process_ends_only_itself(write: Write, folder: Path) -> None:
    found = write(pipelines__tides="import sys\nsys.exit(3)\n")
    assert the_reason(found, "tides") == f"{folder}/pipelines/tides.py, line 2: SystemExit: 3"


def test_a_missing_source_is_named(write: Write, folder: Path) -> None:
    found = write((DECLARATION, "sources.earthquakes", "sources.tremors"))
    assert the_reason(found).endswith("ModuleNotFoundError: No module named 'penstock.sources.tremors'")


def test_a_missing_contract_is_named_with_the_place_for_it(write: Write, folder: Path) -> None:
    reason = the_reason(write((DECLARATION, 'contract("earthquakes")', 'contract("tremors")')))
    assert reason == f"{folder}/{DECLARATION}, line 13: there is no contract tremors.avsc: put it into {folder}/avro"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('name="earthquakes"', 'name="population"', "share the name population"),
        ('topic="earthquakes"', 'topic="pop"', "share the topic pop, the topic pop.dlq"),
        ('CassandraTable("earthquakes")', 'CassandraTable("hourlydata")', "share the sink hourlydata"),
        ('"earthquake_magnitudes"', '"population_data"', "share the sink population_data"),
        ('RawCopy("/earthquakes"', 'RawCopy("/Cars"', "share the folder /Cars"),
        ('CassandraTable("earthquakes")', 'CassandraTable("population_data")', "share the sink population_data"),
        ('RawCopy("/earthquakes"', 'RawCopy("earthquakes"', "is in 'earthquakes': give a folder like /earthquakes"),
        ('schedule="0 0 * * *"', 'schedule="daily"', "is 'daily', which is no cron expression"),
        ('"flume-earthquakes-hdfs"', '"flume-cars-hdfs"', "share the agent flume-cars-hdfs"),
        (
            '"flume-earthquakes-hdfs"',
            '"quakes"',
            "the agent of earthquakes is called 'quakes': call it flume-NAME-hdfs",
        ),
        ('name="earthquakes"', 'name="maintenance"', "maintenance is the name of a DAG of Penstock's own"),
        ('name="earthquakes"', 'name="service_x"', "service_x is the name of a DAG of Penstock's own"),
        ('name="earthquakes"', 'name="earth-quakes"', "'earth-quakes' is not an identifier"),
        ("source=Earthquakes()", "source=Earthquakes", "Earthquakes'>, which is no object with fetch() and resolve()"),
        (
            "source=Earthquakes()",
            "source=None",
            "the source of earthquakes is None, which is no object with fetch() and resolve()",
        ),
        ("wire=Wire.JSON", "wire=Wire.AVRO", "is of JSON lines: declare wire=Wire.JSON"),
        ("wire=Wire.JSON", "wire=Wire.JSON, shared=True", "shares its topic, and a table of Cassandra keeps one as-of"),
        ('"earthquake_magnitudes"', '"earthquakes"', "two sinks of the pipeline earthquakes have one name"),
    ],
)
def test_what_cannot_be_beside_the_others_is_left_out(write: Write, old: str, new: str, reason: str) -> None:
    assert reason in the_reason(write((DECLARATION, old, new)))


def test_a_second_data_set_that_takes_the_firsts_names_is_the_one_left_out(write: Write) -> None:
    found = write(
        pipelines__tremors=documented.files()[DECLARATION].replace('"earthquakes",\n    contract', '"t",\n    contract')
    )
    assert "t and earthquakes share the agent" in the_reason(found, "tremors")
    assert found.users() == ["earthquakes"]


@pytest.mark.parametrize(("kind", "name"), [("pipelines", "cars"), ("sources", "http")])
def test_a_name_of_a_module_of_ours_is_refused(write: Write, folder: Path, kind: str, name: str) -> None:
    found = write(**{f"{kind}__{name}": "X = 1\n"})
    said = "it has the name of a module of Penstock's own: rename it"
    assert the_reason(found, name) == f"{folder}/{kind}/{name}.py: {said}"


def test_a_declaration_that_declares_nothing_is_said(write: Write, folder: Path) -> None:
    reason = the_reason(write(pipelines__tides="from penstock.pipelines.cars import CARS\n"), "tides")
    assert reason == f"{folder}/pipelines/tides.py: it declares no Pipeline"


def test_a_table_without_a_layout_is_said(write: Write) -> None:
    layout = json.loads(documented.files()[CONTRACT])["penstock"]["cassandra"]
    assert layout
    found = write(
        (CONTRACT, '"cassandra": {', '"other": {'), (DECLARATION, 'InfluxMeasurement("earthquake_magnitudes")', "")
    )
    assert 'no "cassandra" layout' in the_reason(found)


def test_sinks_that_would_tell_records_apart_differently_are_refused(write: Write) -> None:
    found = write((CONTRACT, '"clusteringKey": ["time", "id"]', '"clusteringKey": ["time"]'))
    assert "would tell records apart by (network, time) while the key is (id, network, time)" in the_reason(found)


def test_the_folder_is_named_by_the_environment_or_by_the_env_file(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    told = {"PENSTOCK_ENV_FILE": str(env_file)}
    assert data_sets_folder(told) == PROJECT / "data_sets"
    env_file.write_text("A=1\nPENSTOCK_DATA_SETS='/mine'  # my own\n")
    assert data_sets_folder(told) == Path("/mine")
    assert data_sets_folder(told | {"PENSTOCK_DATA_SETS": "mine"}) == PROJECT / "mine"


def test_an_agents_counters_are_found_without_a_setting_for_each(tmp_path: Path) -> None:
    told = {"PENSTOCK_VAR": str(tmp_path)}
    port = raw_copy_port(AGENT)
    assert raw_copy_metrics_url(AGENT, told) == f"http://127.0.0.1:{port}/metrics"
    assert raw_copy_metrics_url(AGENT, told | {"RAW_COPY_AGENTS_HOST": "jobs"}) == f"http://jobs:{port}/metrics"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "raw-copy-ports.json").write_text('{"flume_earthquakes_hdfs": 5}')
    assert raw_copy_metrics_url(AGENT, told) == "http://127.0.0.1:5/metrics"


def test_the_container_of_the_agents_runs_that_of_each_data_set(write: Write) -> None:
    said = jobs_conf.programs(raw_copies(write()))
    assert "[program:flume-earthquakes-hdfs]\n" in said
    assert f"/entrypoint.sh flume raw-copy {raw_copy_port(AGENT)}\n" in said
    assert 'RAW_COPY_FOLDER="/earthquakes"' in said
    assert 'RAW_COPY_GROUP="flume-earthquakes-hdfs"' in said
