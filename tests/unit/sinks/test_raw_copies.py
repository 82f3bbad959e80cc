"""Recovery against answers like a NameNode's; tests/faults/test_flume_faults.py has a real one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Self

import pytest

from penstock.core import settings
from penstock.core.errors import Retry
from penstock.sinks import raw_copies
from penstock.sinks.raw_copies import Recovery, recover
from penstock.sinks.webhdfs import Entry, LeaseHeld, Missing, RecoveryUnderWay

HDFS = settings.Hdfs("hdfs://localhost:8020", "http://localhost:9870", "tester")
HOUR = "/Cars/2026-11-22/07"
LIVE, DEAD, CLOSED = "live", "dead", "closed"


@dataclass
class File:
    content: bytes
    writer: str = CLOSED
    age_seconds: float = 3600.0
    looks_until_closed: int = 0


class FakeHdfs:
    """What the methods of WebHdfs answer, from {name: file} of one hour's folder."""

    def __init__(self, files: dict[str, File]) -> None:
        self.files = {f"{HOUR}/{name}": file for name, file in files.items()}
        self.appended: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def entries(self, folder: str) -> list[Entry]:
        folders = {"/Cars": "/Cars/2026-11-22", "/Cars/2026-11-22": HOUR}
        if below := folders.get(folder):
            return [Entry(below, True, 0, 0)]
        now = time.time()
        return [
            Entry(path, False, len(file.content), round(1000 * (now - file.age_seconds)))
            for path, file in sorted(self.files.items())
        ]

    def _file(self, path: str) -> File:
        if path not in self.files:
            raise Missing(path)
        return self.files[path]

    def being_written(self, path: str) -> bool:
        file = self._file(path)
        if file.looks_until_closed:
            file.looks_until_closed -= 1
            if not file.looks_until_closed:
                file.writer = CLOSED
            return True
        return file.writer != CLOSED

    def append(self, path: str) -> None:
        file = self._file(path)
        self.appended.append(path)
        if file.writer == LIVE:
            raise LeaseHeld(path)
        file.looks_until_closed = file.looks_until_closed or 2
        raise RecoveryUnderWay(path)

    def length(self, path: str) -> int:
        return len(self._file(path).content)

    def read(self, path: str, offset: int = 0) -> list[bytes]:
        return [self._file(path).content[offset:]]

    def truncate(self, path: str, length: int) -> bool:
        file = self._file(path)
        file.content = file.content[:length]
        file.looks_until_closed = 2
        return False

    def rename(self, path: str, target: str) -> bool:
        if path not in self.files or target in self.files:
            return False
        self.files[target] = self.files.pop(path)
        return True

    def delete(self, path: str) -> bool:
        return self.files.pop(path, None) is not None

    @property
    def contents(self) -> dict[str, bytes]:
        return {path.removeprefix(f"{HOUR}/"): file.content for path, file in self.files.items()}


def run(monkeypatch: pytest.MonkeyPatch, files: dict[str, File], **options: Any) -> tuple[Recovery, FakeHdfs]:
    fake = FakeHdfs(files)
    monkeypatch.setattr(raw_copies, "WebHdfs", lambda hdfs: fake)
    return recover(HDFS, ["/Cars"], **options), fake


def test_a_closed_file_in_progress_gets_its_final_name(monkeypatch: pytest.MonkeyPatch) -> None:
    recovery, fake = run(monkeypatch, {"a.jsonl.tmp": File(b"1\n2\n"), "b.jsonl": File(b"3\n")})
    assert fake.contents == {"a.jsonl": b"1\n2\n", "b.jsonl": b"3\n"}
    assert recovery == Recovery(finished=1, finished_bytes=4)


def test_a_file_that_was_closed_just_now_is_left_to_its_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    recovery, fake = run(monkeypatch, {"a.jsonl.tmp": File(b"1\n", age_seconds=5)})
    assert (recovery, set(fake.contents)) == (Recovery(), {"a.jsonl.tmp"})


@pytest.mark.parametrize("age", [5.0, 3600.0])
def test_a_file_with_a_writer_that_lives_is_never_touched(monkeypatch: pytest.MonkeyPatch, age: float) -> None:
    recovery, fake = run(monkeypatch, {"a.jsonl.tmp": File(b"1\n2", LIVE, age)})
    assert (recovery, fake.contents) == (Recovery(in_use=1), {"a.jsonl.tmp": b"1\n2"})


def test_the_name_node_is_not_asked_for_a_young_file(monkeypatch: pytest.MonkeyPatch) -> None:
    _, fake = run(monkeypatch, {"a.jsonl.tmp": File(b"1\n", LIVE, 60)})
    assert fake.appended == []


def test_a_file_that_was_left_open_is_closed_and_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    recovery, fake = run(monkeypatch, {"a.jsonl.tmp": File(b"1\n2\n", DEAD)})
    assert (recovery, fake.contents) == (Recovery(finished=1, finished_bytes=4), {"a.jsonl": b"1\n2\n"})


def test_a_file_that_cannot_be_closed_is_left_for_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"a.jsonl.tmp": File(b"1\n", DEAD, looks_until_closed=10_000), "b.jsonl.tmp": File(b"2\n")}
    recovery, fake = run(monkeypatch, files, recovery_seconds=0.0)
    assert set(fake.contents) == {"a.jsonl.tmp", "b.jsonl"}
    assert recovery == Recovery(finished=1, finished_bytes=2, pending=1)


@pytest.mark.parametrize(("tail", "kept"), [(b'{"a":', b"1\n"), (b"x" * 3_000_000, b"1\n")])
def test_an_unfinished_last_line_is_cut(monkeypatch: pytest.MonkeyPatch, tail: bytes, kept: bytes) -> None:
    recovery, fake = run(monkeypatch, {"a.jsonl.tmp": File(kept + tail)})
    assert fake.contents == {"a.jsonl": kept}
    assert recovery == Recovery(finished=1, finished_bytes=len(kept), cut_bytes=len(tail))


@pytest.mark.parametrize("content", [b"", b'{"a":'])
def test_a_file_without_a_whole_line_is_deleted(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    recovery, fake = run(monkeypatch, {"a.jsonl.tmp": File(content)})
    assert (recovery, fake.contents) == (Recovery(deleted=1, cut_bytes=len(content)), {})


def test_nothing_is_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"a.jsonl.tmp": File(b"new\n"), "a.jsonl": File(b"old\n"), "a-1.jsonl": File(b"older\n")}
    _, fake = run(monkeypatch, files)
    assert fake.contents == {"a.jsonl": b"old\n", "a-1.jsonl": b"older\n", "a-2.jsonl": b"new\n"}


def test_a_file_that_another_finishes_meanwhile_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeHdfs({"a.jsonl.tmp": File(b"1\n"), "b.jsonl.tmp": File(b"2\n")})
    monkeypatch.setattr(raw_copies, "WebHdfs", lambda hdfs: fake)
    length = fake.length

    def vanish(path: str) -> int:
        if path.endswith("a.jsonl.tmp"):
            fake.files.pop(path, None)
        return length(path)

    fake.length = vanish  # type: ignore[method-assign]
    assert recover(HDFS, ["/Cars"]) == Recovery(finished=1, finished_bytes=2)


def test_hdfs_that_is_away_is_worth_another_try() -> None:
    nowhere = settings.Hdfs("hdfs://localhost:1", "http://127.0.0.1:1", "tester")
    with pytest.raises(Retry, match="did not answer"):
        recover(nowhere, ["/Cars"])
