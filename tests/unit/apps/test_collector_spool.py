from __future__ import annotations

import errno
import json
from contextlib import suppress
from pathlib import Path

import pytest

from apps.recentchange_collector import spool as spool_module
from apps.recentchange_collector.position import Position
from apps.recentchange_collector.spool import STATE_FOLDER, Full, Spool
from penstock.core.errors import Fatal

LIMIT = 1_000


class Killed(BaseException):
    """As good as kill -9: nobody handles it."""


def files(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.is_file())


def event_id(ms: int) -> str:
    return json.dumps([{"topic": "eqiad.mediawiki.recentchange", "partition": 0, "timestamp": ms}])


def test_a_file_and_its_position_are_there_together(tmp_path):
    with Spool(tmp_path, LIMIT) as spool:
        position = spool.position()
        position.advance(event_id(1_000))
        spool.hand_on([b"one", b"two"], position)
    (file,) = files(tmp_path)
    assert file.suffix == ".jsonl"
    assert file.read_bytes() == b"one\ntwo\n"
    with Spool(tmp_path, LIMIT) as spool:
        assert (spool.position().last_id, spool.position().files) == (event_id(1_000), 1)
        assert spool.bytes == 8


def test_a_position_may_be_stored_without_a_file(tmp_path):
    with Spool(tmp_path, LIMIT) as spool:
        position = spool.position()
        position.advance(event_id(1_000))
        spool.hand_on([], position)
        assert files(tmp_path) == []
        assert spool.position().last_id == event_id(1_000)


def test_names_differ_and_sort_by_age(tmp_path):
    with Spool(tmp_path, LIMIT) as spool:
        position = spool.position()
        for number in range(3):
            spool.hand_on([b"%d" % number], position)
    assert [file.read_bytes() for file in files(tmp_path)] == [b"0\n", b"1\n", b"2\n"]


def steps(monkeypatch: pytest.MonkeyPatch, until: int) -> None:
    """Kill before step `until` of those that change the disk."""
    left = iter(range(until))

    def killing(step):
        def run(*arguments, **named):
            if next(left, None) is None:
                raise Killed
            return step(*arguments, **named)

        return run

    for owner, name in ((spool_module, "_write"), (spool_module, "_sync"), (Path, "rename"), (Path, "unlink")):
        monkeypatch.setattr(owner, name, killing(getattr(owner, name)))


@pytest.mark.parametrize("step", range(12))
@pytest.mark.parametrize("torn", [False, True])
def test_a_crash_at_any_step_leaves_both_or_neither(tmp_path, step, torn):
    with Spool(tmp_path, LIMIT) as spool:
        spool.hand_on([b"before"], spool.position())
    with pytest.MonkeyPatch.context() as patched, Spool(tmp_path, LIMIT) as spool:
        position = spool.position()
        position.advance(event_id(2_000))
        steps(patched, step)
        with suppress(Killed):
            spool.hand_on([b"after"], position)
    state = tmp_path / STATE_FOLDER
    if torn and not (state / "prepared.json").exists():  # a write that was under way
        (state / "file").write_bytes(b"aft")
        (state / "draft").write_bytes(b'{"file":')
    with Spool(tmp_path, LIMIT) as spool:
        position = spool.position()
        written = [file.read_bytes() for file in files(tmp_path)]
        assert written == ([b"before\n", b"after\n"] if position.last_id else [b"before\n"])
        assert {each.name for each in state.iterdir()} <= {"lock", "position.json"}
        spool.hand_on([b"next"], position)
    assert files(tmp_path)[-1].read_bytes() == b"next\n"


@pytest.mark.parametrize("step", range(8))
def test_a_crash_during_recovery_is_recovered_from(tmp_path, step):
    with pytest.MonkeyPatch.context() as patched, Spool(tmp_path, LIMIT) as spool:
        position = spool.position()
        position.advance(event_id(2_000))
        steps(patched, 4)  # prepared, and nothing more
        with pytest.raises(Killed):
            spool.hand_on([b"after"], position)
    assert (tmp_path / STATE_FOLDER / "prepared.json").exists()
    with pytest.MonkeyPatch.context() as patched:
        steps(patched, step)
        with suppress(Killed), Spool(tmp_path, LIMIT):
            pass
    with Spool(tmp_path, LIMIT) as spool:
        assert spool.position().last_id == event_id(2_000)
    assert [file.read_bytes() for file in files(tmp_path)] == [b"after\n"]


def test_a_full_spool_takes_nothing_and_goes_on_when_there_is_room(tmp_path):
    with Spool(tmp_path, 20) as spool:
        position = spool.position()
        spool.hand_on([b"0123456789"], position)
        with pytest.raises(Full, match="the spool is full: Flume has 11 bytes"):
            spool.hand_on([b"0123456789"], position)
        (file,) = files(tmp_path)
        file.unlink()
        spool.hand_on([b"0123456789"], position)
        assert spool.bytes == 11


@pytest.mark.parametrize("call", [1, 2])
def test_a_full_disk_is_a_full_spool(tmp_path, monkeypatch, call):
    write, calls = spool_module._write, iter(range(1, 10))

    def full(path, content):
        if next(calls) == call:
            path.write_bytes(content[:1])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    with Spool(tmp_path, LIMIT) as spool:
        position = spool.position()
        monkeypatch.setattr(spool_module, "_write", full)
        with pytest.raises(Full, match="no room on the disk"):
            spool.hand_on([b"one"], position)
        assert files(tmp_path) == []
        spool.hand_on([b"one"], position)
        assert len(files(tmp_path)) == 1


def test_a_disk_that_fails_ends_it_and_a_new_start_completes_the_file(tmp_path, monkeypatch):
    with Spool(tmp_path, LIMIT) as spool:
        position, sync, calls = spool.position(), spool_module._sync, iter(range(1, 10))

        def failing(folder):
            if next(calls) == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            sync(folder)

        monkeypatch.setattr(spool_module, "_sync", failing)
        for _ in range(2):  # a second try could write the same lines again
            with pytest.raises(Fatal, match="cannot be written"):
                spool.hand_on([b"one"], position)
    with Spool(tmp_path, LIMIT):
        assert [file.read_bytes() for file in files(tmp_path)] == [b"one\n"]


def test_one_collector_at_a_time_has_the_folder(tmp_path):
    with Spool(tmp_path, LIMIT), pytest.raises(Fatal, match="another collector"):
        Spool(tmp_path, LIMIT).__enter__()
    with Spool(tmp_path, LIMIT):
        pass


def test_a_damaged_position_is_not_taken_for_a_new_one(tmp_path):
    with Spool(tmp_path, LIMIT) as spool:
        (tmp_path / STATE_FOLDER / "position.json").write_bytes(b'{"files":')
        with pytest.raises(Fatal, match=r"position.json cannot be read .* delete it to go on from now"):
            spool.position()


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Fatal, match="cannot be used"):
        Spool(tmp_path / "file", LIMIT).__enter__()


def test_a_new_position_has_nothing(tmp_path):
    assert Position().resume_id() is None
