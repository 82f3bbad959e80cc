from __future__ import annotations

import errno
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from apps.minutes import minute_of
from apps.web_event_producer.catalogue import make_catalogue
from apps.web_event_producer.counts import MinuteCounts
from apps.web_event_producer.log_files import Full, LogFiles, only_producer
from apps.web_event_producer.pace import Pace
from apps.web_event_producer.producer import Producer
from apps.web_event_producer.visitors import Visitors
from penstock.core.contract import Contract
from penstock.core.errors import Fatal
from penstock.core.settings import INCLUDE, PROJECT, WebEventLogs

NOON = 1_763_812_800_000
MINUTE = 60_000


@pytest.fixture
def settings(tmp_path: Path) -> WebEventLogs:
    folder = tmp_path / "logs"
    folder.mkdir()
    return WebEventLogs(1000, folder, tmp_path / "positions.json", 10_000, 4096, 60)


def lines(*times: int) -> bytes:
    return b"".join(b'{"event_id":"%s","time":%d}\n' % (b"x" * 60, time) for time in times)


def files(settings: WebEventLogs) -> list[Path]:
    return sorted(settings.folder.glob("events-*.log"))


def content(settings: WebEventLogs) -> bytes:
    return b"".join(file.read_bytes() for file in files(settings))


def fill(log: LogFiles) -> str:
    """Write lines, numbered by their times, until no more can be, and return why."""
    for number in itertools.count():
        try:
            log.write(lines(number))
        except Full as full:
            return str(full)
    raise AssertionError


def taken(settings: WebEventLogs, *these: Path) -> None:
    """What Flume would say once it had taken these files."""
    entries = [{"inode": (at := file.stat()).st_ino, "pos": at.st_size, "file": str(file)} for file in these]
    settings.positions.write_text(json.dumps(entries))


class TestCatalogue:
    def test_it_is_the_same_each_time(self) -> None:
        assert make_catalogue() == make_catalogue()

    def test_it_has_hundreds_of_products_of_a_dozen_categories_at_all_prices(self) -> None:
        catalogue = make_catalogue()
        assert [product.id for product in catalogue] == list(range(1, 361))
        assert len({product.category for product in catalogue}) == 12
        prices = sorted(product.price for product in catalogue)
        assert 0.99 <= prices[0] < 10
        assert prices[-1] > 500
        mean = sum(prices) / len(prices)
        assert mean > 1.5 * prices[180], "prices are not skewed"


class TestVisitors:
    def test_events_keep_the_contract(self) -> None:
        contract = Contract.load(INCLUDE / "avro" / "events.avsc")
        for event in Visitors(make_catalogue()).events(range(NOON, NOON + 100)):
            record = {name: getattr(event, name) for name in event.__struct_fields__}
            assert set(record) == {field.name for field in contract.fields}
            assert contract.violation(record) is None

    def test_ids_are_uuids_that_never_repeat(self) -> None:
        one, other = Visitors(make_catalogue()), Visitors(make_catalogue())
        ids = [event.event_id for who in (one, other) for event in who.events([NOON] * 20_000)]
        assert len(set(ids)) == 40_000
        parsed = uuid.UUID(ids[0])
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
        assert parsed.int >> 80 == NOON

    def test_most_look_and_some_buy(self) -> None:
        kinds = Counter(event.event_type for event in Visitors(make_catalogue()).events([NOON] * 20_000))
        assert [kind for kind, _ in kinds.most_common()] == ["view", "add_to_cart", "purchase", "remove_from_cart"]
        assert 0.77 < kinds["view"] / 20_000 < 0.83


class TestPace:
    @pytest.fixture
    def now(self) -> list[float]:
        return [100.0]

    def test_it_keeps_the_rate(self, now: list[float]) -> None:
        pace = Pace(32, lambda: now[0])
        made = 0
        for _ in range(1000):
            made += pace.due(1000)
            assert pace.wait() == pytest.approx(0.05)
            now[0] += 1 / 16
        assert made == pytest.approx(2000, abs=2)

    def test_a_slow_rate_makes_single_events(self, now: list[float]) -> None:
        pace = Pace(0.5, lambda: now[0])
        made = []
        for _ in range(65):
            made.append(pace.due(1000))
            now[0] += 1 / 16
        assert [turn for turn, count in enumerate(made) if count] == [0, 32, 64]

    def test_more_than_a_second_is_not_made_up_for(self, now: list[float]) -> None:
        pace = Pace(100, lambda: now[0])
        now[0] += 60
        assert pace.due(1000) == 101

    def test_what_is_overdue_is_made_at_once(self, now: list[float]) -> None:
        pace = Pace(1000, lambda: now[0])
        now[0] += 0.5
        assert pace.due(200) == 200
        assert pace.wait() == 0


class TestLogFiles:
    def test_lines_are_there_at_once(self, settings: WebEventLogs) -> None:
        log = LogFiles(settings, MinuteCounts(settings.folder / ".counts.json"))
        assert log.write(lines(1, 2)) == len(lines(1, 2))
        assert content(settings) == lines(1, 2)

    def test_a_file_ends_by_size(self, settings: WebEventLogs) -> None:
        log = LogFiles(settings, MinuteCounts(settings.folder / ".counts.json"))
        for time in range(80):
            log.write(lines(time))
        first, *others = files(settings)
        assert first.stat().st_size >= settings.file_bytes
        assert len(others) == 1
        assert content(settings) == lines(*range(80))
        assert all(re.fullmatch(r"events-\d{8}T\d{6}\.\d{6}Z-\d+\.log", file.name) for file in (first, *others))

    def test_a_file_ends_by_age_and_none_is_begun_for_nothing(self, settings: WebEventLogs) -> None:
        log = LogFiles(replace(settings, file_seconds=0), MinuteCounts(settings.folder / ".counts.json"))
        log.write(lines(1))
        log.finish_if_due()
        assert len(files(settings)) == 1
        log.write(lines(2))
        assert len(files(settings)) == 2

    def test_without_room_nothing_is_written_and_nothing_deleted(self, settings: WebEventLogs) -> None:
        log = LogFiles(settings, MinuteCounts(settings.folder / ".counts.json"))
        reason = fill(log)
        assert reason.endswith(
            "of 10000 bytes (WEB_LOGS_BYTES), and Flume has not taken them: look at its agent events-tail"
        )
        count = content(settings).count(b"\n")
        assert content(settings) == lines(*range(count))
        assert log.total == len(content(settings)) <= settings.total_bytes

    def test_only_files_that_were_taken_are_deleted_and_no_more_than_needed(self, settings: WebEventLogs) -> None:
        log = LogFiles(settings, MinuteCounts(settings.folder / ".counts.json"))
        fill(log)
        first, second, current = files(settings)
        taken(settings, second, current)
        assert log.write(lines(2))
        assert files(settings) == [first, current]
        taken(settings, first, current)
        assert log.write(lines(3))
        assert files(settings) == [first, current]

    def test_a_file_that_is_partly_taken_stays(self, settings: WebEventLogs) -> None:
        log = LogFiles(settings, MinuteCounts(settings.folder / ".counts.json"))
        fill(log)
        first = files(settings)[0]
        entry = {"inode": first.stat().st_ino, "pos": first.stat().st_size - 1, "file": str(first)}
        settings.positions.write_text(json.dumps([entry]))
        with pytest.raises(Full):
            log.write(lines(1))
        assert first.exists()

    def test_while_flume_writes_its_positions_nothing_is_deleted(self, settings: WebEventLogs) -> None:
        log = LogFiles(settings, MinuteCounts(settings.folder / ".counts.json"))
        settings.positions.write_text('[{"inode":')
        fill(log)

    def test_a_full_disk_leaves_whole_lines_only(self, settings: WebEventLogs, monkeypatch: pytest.MonkeyPatch) -> None:
        log = LogFiles(settings, MinuteCounts(settings.folder / ".counts.json"))
        one = len(lines(NOON))
        write = os.write
        monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[: one + 10]))
        assert log.write(lines(NOON, NOON, NOON)) == one
        monkeypatch.setattr(os, "write", no_space)
        with pytest.raises(Full, match="No space left on device; free some space"):
            log.write(lines(NOON))
        monkeypatch.setattr(os, "write", write)
        assert log.write(lines(NOON + 1)) == one
        assert content(settings) == lines(NOON, NOON + 1)

    def test_a_full_disk_gives_up_what_was_taken(self, settings: WebEventLogs, monkeypatch: pytest.MonkeyPatch) -> None:
        log = LogFiles(settings, MinuteCounts(settings.folder / ".counts.json"))
        for _ in range(60):
            log.write(lines(1))
        first, current = files(settings)
        taken(settings, first, current)
        with monkeypatch.context() as full:
            full.setattr(os, "write", no_space)
            with pytest.raises(Full):
                log.write(lines(1))
        assert files(settings) == [current]

    def test_another_error_is_raised(self, settings: WebEventLogs, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(_handle: int, _data: bytes) -> int:
            raise OSError(errno.EIO, "Input/output error")

        log = LogFiles(settings, MinuteCounts(settings.folder / ".counts.json"))
        monkeypatch.setattr(os, "write", broken)
        with pytest.raises(OSError, match="Input/output"):
            log.write(lines(1))

    def test_the_end_of_a_line_that_a_kill_has_cut_is_cut_off(self, settings: WebEventLogs) -> None:
        file = settings.folder / "events-1.log"
        file.write_bytes(lines(1) + b'{"event_id":"ha')
        counts = MinuteCounts(settings.folder / ".counts.json")
        LogFiles(settings, counts)
        assert content(settings) == lines(1)
        assert counts.by_minute() == {0: 1}

    def test_a_half_line_that_flume_has_taken_stays_or_flume_would_read_all_again(self, settings: WebEventLogs) -> None:
        file = settings.folder / "events-1.log"
        file.write_bytes(lines(1) + b'{"event_id":"ha')
        taken(settings, file)
        LogFiles(settings, MinuteCounts(settings.folder / ".counts.json"))
        assert content(settings) == lines(1) + b'{"event_id":"ha'

    def test_one_producer_a_folder(self, settings: WebEventLogs) -> None:
        another = pytest.raises(Fatal, match="another producer writes to")
        with only_producer(settings.folder), another, only_producer(settings.folder):
            pass
        with only_producer(settings.folder):
            pass

    def test_a_folder_that_cannot_be_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(Fatal, match="can't be written"), only_producer(tmp_path / "file" / "logs"):
            pass


def no_space(_handle: int, _data: bytes) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


class TestCounts:
    @pytest.fixture
    def began(self, settings: WebEventLogs) -> Callable[[], tuple[LogFiles, MinuteCounts]]:
        """A producer's files and counts, as it has them after a start."""

        def begin() -> tuple[LogFiles, MinuteCounts]:
            counts = MinuteCounts(settings.folder / ".counts.json")
            return LogFiles(settings, counts), counts

        return begin

    def _write(self, log: LogFiles, counts: MinuteCounts, *times: int) -> None:
        log.write(lines(*times))
        counts.add(times)

    def test_a_kill_at_any_moment_changes_no_count(self, began: Any, settings: WebEventLogs) -> None:
        written: Counter[int] = Counter()
        log, counts = began()
        for number in range(80):
            time = NOON + number * 10_000
            self._write(log, counts, time)
            written[minute_of(time)] += 1
            if number % 7 == 0:
                log, counts = began()
            assert counts.by_minute() == written
        assert len(files(settings)) > 10

    def test_counts_of_deleted_files_stay(self, began: Any, settings: WebEventLogs) -> None:
        log, counts = began()
        for number in range(150):
            self._write(log, counts, NOON + number)
            taken(settings, *files(settings))
        assert log.deleted
        assert counts.by_minute() == {NOON: 150}
        log, counts = began()
        assert counts.by_minute() == {NOON: 150}

    def test_a_file_whose_count_could_not_be_written_down_is_not_deleted(
        self, began: Any, settings: WebEventLogs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log, counts = began()

        def full(_path: Path, _target: Path) -> Path:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as disk:
            disk.setattr(Path, "replace", full)
            for _ in range(60):
                self._write(log, counts, NOON)
            taken(settings, *files(settings))
            with pytest.raises(Full):
                log.write(lines(*[NOON] * 60))
        assert log.deleted == 0
        before = counts.by_minute()
        assert began()[1].by_minute() == before
        self._write(log, counts, *[NOON] * 60)
        assert log.deleted == 1

    def test_lines_that_are_no_events_are_not_counted(self, began: Any, settings: WebEventLogs) -> None:
        (settings.folder / "events-1.log").write_bytes(b"hello\n" + lines(NOON) + b'{"time":"soon"}\n')
        assert began()[1].by_minute() == {NOON: 1}

    def test_counts_of_last_week_are_forgotten(self, began: Any, settings: WebEventLogs) -> None:
        log, counts = began()
        self._write(log, counts, NOON, NOON + 8 * 86_400_000)
        log.finish()
        assert counts.by_minute() == {NOON + 8 * 86_400_000: 1}

    @pytest.mark.parametrize("text", ["", "[]", '{"minutes": {"soon": 1}, "files": []}'])
    def test_a_broken_state_is_told(self, began: Any, settings: WebEventLogs, text: str) -> None:
        (settings.folder / ".counts.json").write_text(text)
        with pytest.raises(Fatal, match=r"\.counts\.json can't be read .* counted anew"):
            began()


class TestProducer:
    def test_it_waits_where_there_is_no_room_and_goes_on_once_there_is(self, settings: WebEventLogs) -> None:
        registry = CollectorRegistry()
        producer = Producer(replace(settings, rate=5000), registry)
        stopping = threading.Event()
        running = threading.Thread(target=producer.run, args=(stopping,))
        running.start()
        try:
            wait_until(lambda: producer.health().status == HTTPStatus.SERVICE_UNAVAILABLE)
            assert "Flume has not taken them" in producer.health().detail["reason"]
            assert registry.get_sample_value("web_event_producer_waits") == 1
            first = files(settings)[0]
            taken(settings, *files(settings))
            wait_until(lambda: not first.exists() and producer.health().status == HTTPStatus.OK)
        finally:
            stopping.set()
            running.join()
        created = registry.get_sample_value("web_events_created_total")
        assert created == sum(producer.counts({})["minutes"].values())
        assert created > content(settings).count(b"\n")

    def test_after_its_end_every_event_is_in_a_file_and_in_the_counts(self, settings: WebEventLogs) -> None:
        settings = replace(settings, total_bytes=1 << 30)
        producer = Producer(settings, CollectorRegistry())
        stopping = threading.Event()
        running = threading.Thread(target=producer.run, args=(stopping,))
        running.start()
        wait_until(lambda: content(settings).count(b"\n") > 300)
        stopping.set()
        running.join()
        events = [json.loads(line) for line in content(settings).splitlines()]
        times = Counter(minute_of(event["time"]) for event in events)
        assert sum(times.values()) == sum(producer.counts({})["minutes"].values())
        again = Producer(settings, CollectorRegistry())
        assert again.counts({}) == producer.counts({})


def wait_until(reached: Callable[[], bool]) -> None:
    finished = threading.Event()
    for _ in range(3000):
        if reached():
            return
        finished.wait(0.01)
    raise AssertionError("it did not happen within 30 s")


class TestSettings:
    @pytest.mark.parametrize(
        ("environment", "message"),
        [
            ({"PRODUCE_RATE_PER_SEC": "0"}, "PRODUCE_RATE_PER_SEC is '0': it must be a number above 0"),
            ({"PRODUCE_RATE_PER_SEC": "-3"}, "PRODUCE_RATE_PER_SEC is '-3': it must be a number above 0"),
            ({"PRODUCE_RATE_PER_SEC": "fast"}, "PRODUCE_RATE_PER_SEC is 'fast': it must be a number above 0"),
            ({"PRODUCE_RATE_PER_SEC": "inf"}, "PRODUCE_RATE_PER_SEC is 'inf': it must be a number above 0"),
            ({"WEB_LOG_FILE_BYTES": "10"}, "WEB_LOG_FILE_BYTES is 10: it must be at least 4096"),
            ({"WEB_LOGS_BYTES": "20000000"}, "must be at least twice WEB_LOG_FILE_BYTES, 16777216"),
        ],
    )
    def test_a_bad_number_is_told(self, environment: dict[str, str], message: str) -> None:
        with pytest.raises(Fatal, match=re.escape(message)):
            WebEventLogs.from_env(environment)

    def test_a_rate_may_be_a_fraction(self) -> None:
        assert WebEventLogs.from_env({"PRODUCE_RATE_PER_SEC": "0.5"}).rate == 0.5


class TestProcess:
    """The program itself, as supervisord runs it."""

    @pytest.fixture
    def begin(self, settings: WebEventLogs) -> Iterator[Callable[[], subprocess.Popen[str]]]:
        """begin(): start it, and return once it writes."""
        environment = {**os.environ, "PYTHONPATH": f"{PROJECT / 'plugins'}:{PROJECT}", "WEB_LOGS": str(settings.folder)}
        environment |= {"FLUME_STATE": str(settings.folder.parent), "PRODUCE_RATE_PER_SEC": "20000"}
        command = [sys.executable, "-m", "apps.web_event_producer", "--port", "0"]
        with ExitStack() as started:

            def start() -> subprocess.Popen[str]:
                size = len(content(settings))
                process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
                started.enter_context(process)
                started.callback(process.kill)
                wait_until(lambda: len(content(settings)) > size or process.poll() is not None)
                return process

            yield start

    def test_killed_and_ended_it_has_counted_each_whole_line_once(
        self, begin: Callable[[], subprocess.Popen[str]], settings: WebEventLogs
    ) -> None:
        for _ in range(2):
            killed = begin()
            killed.kill()
            killed.wait()
        ended = begin()
        ended.terminate()
        assert ended.wait(30) == 0
        events = [json.loads(line) for line in content(settings).splitlines()]
        counts = MinuteCounts(settings.folder / ".counts.json")
        assert counts.by_minute() == Counter(minute_of(event["time"]) for event in events)
        assert len({event["event_id"] for event in events}) == len(events)
        assert len(files(settings)) == 3

    def test_a_second_one_says_why_it_does_not_start(
        self, begin: Callable[[], subprocess.Popen[str]], settings: WebEventLogs
    ) -> None:
        begin()
        second = begin()
        assert second.wait(30) == 1
        assert second.stderr
        assert second.stderr.read().startswith(f"another producer writes to {settings.folder}")
