"""Data sets are found, not listed: the platform's own, and those in a folder of the user's.

The user's folder has the same three kinds of files as the platform: `pipelines/NAME.py`, `sources/NAME.py` and
`avro/NAME.avsc`. Its modules are imported as if they were the platform's, as `penstock.pipelines.NAME` and
`penstock.sources.NAME`. One that is broken is left out, with the reason, and takes no other one down.
"""

from __future__ import annotations

import importlib
import re
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from penstock.core.contract import Contract
from penstock.core.errors import Fatal, PenstockError
from penstock.core.pipeline import CassandraTable, LandedBy, Pipeline, RawCopy
from penstock.core.settings import INCLUDE, data_sets_folder
from penstock.core.stream import Stream

PIPELINES, SOURCES, CONTRACTS = "pipelines", "sources", "avro"
"""The subfolders of the user's folder."""

_OWN = Path(__file__).resolve().parents[1]
_AGENT = re.compile(r"flume-[a-z0-9]+(-[a-z0-9]+)*-hdfs")
_FOLDER = re.compile(r"(/[\w.-]+)+")
_DAGS_OF_OURS = frozenset({"maintenance", "weather_historic"})
_WATCHES = "service_"


def contract(name: str) -> Contract:
    """The contract NAME.avsc of the platform or of the user's folder. Raises Fatal where there is none, or are two."""
    places = (INCLUDE / "avro" / f"{name}.avsc", data_sets_folder() / CONTRACTS / f"{name}.avsc")
    found = [each for each in places if each.is_file()]
    if not found:
        raise Fatal(f"there is no contract {name}.avsc: put it into {places[1].parent}")
    if len(found) > 1:
        raise Fatal(f"{found[1]} has the name of a contract of Penstock's own: rename it")
    return Contract.load(found[0])


@dataclass(frozen=True)
class BrokenDataSet:
    """A data set of the user's that is left out, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"the data set {self.name} is left out: {self.reason}"


@dataclass
class DataSets:
    """What was found: {name: pipeline}, {name: stream}, in the order in which they are shown.

    `modules` is {name: the module that declares it}; `broken` are those left out.
    """

    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    streams: dict[str, Stream] = field(default_factory=dict)
    modules: dict[str, ModuleType] = field(default_factory=dict)
    broken: list[BrokenDataSet] = field(default_factory=list)

    @property
    def every(self) -> list[Pipeline | Stream]:
        """Pipelines, then streams."""
        return [*self.pipelines.values(), *self.streams.values()]

    @property
    def dead_letter_topics(self) -> dict[str, str]:
        """{dead-letter topic: name of the pipeline or stream}."""
        return {each.dead_letter_topic: each.name for each in self.every}

    def users(self) -> list[str]:
        """The names of those in the user's folder."""
        return [name for name in self.modules if not self.file(name).is_relative_to(_OWN)]

    def file(self, name: str) -> Path:
        """The file that declares a data set."""
        return Path(str(self.modules[name].__file__)).resolve()

    def add(self, module: ModuleType, declared: Iterable[Pipeline | Stream]) -> None:
        """Take up what a module declares."""
        for each in declared:
            if isinstance(each, Pipeline):
                self.pipelines[each.name] = each
            else:
                self.streams[each.name] = each
            self.modules[each.name] = module


def discover(own: Iterable[str], folder: Path) -> DataSets:
    """The data sets of the modules `own` of penstock.pipelines, and of the user's folder.

    An error in one of ours is raised; one in the user's folder is noted. The user's modules are imported anew, so that
    a process which lives long sees what was added, changed or removed.
    """
    found = DataSets()
    for name in own:
        module = importlib.import_module(f"penstock.pipelines.{name}")
        found.add(module, _declared(module, found))
    _forget(folder)
    found.broken += [
        BrokenDataSet(path.stem, f"{path}: it has the name of a module of Penstock's own: rename it")
        for path in _files(folder, SOURCES)
        if (_OWN / SOURCES / path.name).exists()
    ]
    for path in _files(folder, PIPELINES):
        try:
            module = _imported(path)
            found.add(module, _users(module, found))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a user's module raises, the others go on
            found.broken.append(BrokenDataSet(path.stem, _explained(error, path, folder)))
    return found


def _files(folder: Path, kind: str) -> list[Path]:
    return sorted(each for each in (folder / kind).glob("*.py") if not each.name.startswith("_"))


def _forget(folder: Path) -> None:
    """Have the user's modules imported anew."""
    importlib.invalidate_caches()
    for name, module in list(sys.modules.items()):
        parent, _, _ = name.rpartition(".")
        file = getattr(module, "__file__", None)
        if parent in {"penstock.pipelines", "penstock.sources"} and file and Path(file).is_relative_to(folder):
            del sys.modules[name]


def _declared(module: ModuleType, found: DataSets) -> list[Pipeline | Stream]:
    """What the module declares itself, and does not only refer to."""
    others = [*found.pipelines.values(), *found.streams.values()]
    return [
        each
        for each in vars(module).values()
        if isinstance(each, Pipeline | Stream) and not any(each is other for other in others)
    ]


def _imported(path: Path) -> ModuleType:
    if (_OWN / PIPELINES / path.name).exists():
        raise Fatal("it has the name of a module of Penstock's own: rename it")
    return importlib.import_module(f"penstock.pipelines.{path.stem}")


def _users(module: ModuleType, found: DataSets) -> list[Pipeline]:
    """The pipelines of one of the user's modules. Raises Fatal where one cannot be beside those there are."""
    declared = _declared(module, found)
    pipelines: list[Pipeline] = []
    if not declared:
        raise Fatal("it declares no Pipeline")
    for each in declared:
        if isinstance(each, Stream):
            raise Fatal(f"{each} is a Stream, which needs services of its own; add a Pipeline")
        _check(each, [*found.pipelines.values(), *pipelines, *found.streams.values()])
        pipelines.append(each)
    return pipelines


def _check(pipeline: Pipeline, others: Iterable[Pipeline | Stream]) -> None:
    """Raise Fatal where the pipeline lacks something, or another data set has a name that it needs."""
    source: object = pipeline.source
    if isinstance(source, type) or not all(callable(getattr(source, name, None)) for name in ("fetch", "resolve")):
        raise Fatal(f"the source of {pipeline} is {source!r}, which is no object with fetch() and resolve()")
    if pipeline.landed_by is LandedBy.STREAM:
        raise Fatal(f"{pipeline} asks to be landed by a stream, which needs a service of its own: land it by batch")
    for sink in pipeline.sinks:
        if isinstance(sink, CassandraTable):
            pipeline.contract.cql_create_table("keyspace", sink.name)  # raises where there is no layout
            pipeline.contract.write_time_column()
    if copy := pipeline.raw_copy:
        _check_raw_copy(pipeline, copy)
    if pipeline.schedule is not None and not _is_cron(pipeline.schedule):
        raise Fatal(f"the schedule of {pipeline} is {pipeline.schedule!r}, which is no cron expression")
    if pipeline.name in _DAGS_OF_OURS or pipeline.name.startswith(_WATCHES):
        raise Fatal(f"{pipeline} is the name of a DAG of Penstock's own: choose another name")
    mine = _names(pipeline)
    for other in others:
        if taken := mine & _names(other):
            raise Fatal(f"{pipeline} and {other} share {', '.join(sorted(taken))}: each needs names of its own")


def _check_raw_copy(pipeline: Pipeline, copy: RawCopy) -> None:
    if not _AGENT.fullmatch(copy.agent):
        raise Fatal(f"the agent of {pipeline} is called {copy.agent!r}: call it flume-NAME-hdfs")
    if not _FOLDER.fullmatch(copy.folder):
        raise Fatal(f"the raw copy of {pipeline} is in {copy.folder!r}: give a folder like /{pipeline}")


def _is_cron(text: str) -> bool:
    from croniter import croniter

    return bool(croniter.is_valid(text))


def _names(data_set: Pipeline | Stream) -> set[str]:
    """What no two data sets may have in common, in words."""
    sinks = data_set.sinks if isinstance(data_set, Pipeline) else (data_set.aggregate.measurement,)
    copy = data_set.raw_copy
    return {
        f"the name {data_set.name}",
        f"the topic {data_set.topic}",
        f"the topic {data_set.dead_letter_topic}",
        *(f"the sink {each.name}" for each in sinks),  # a table and a measurement too: Airflow knows Assets by name
        *((f"the folder {copy.folder}", f"the agent {copy.agent}") if copy else ()),
    }


def _explained(error: BaseException, path: Path, folder: Path) -> str:
    """One sentence with the file and the line, as far as they are the user's."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f"{each.filename}, line {each.lineno}" for each in frames if Path(each.filename).is_relative_to(folder)]
    said = str(error) if isinstance(error, PenstockError) else f"{type(error).__name__}: {error}"
    return f"{lines[-1] if lines else path}: {said}"
