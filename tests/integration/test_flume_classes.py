"""Our Java classes, called as Flume and Kafka call them by flume/Probe.java. Needs Flume's jars, but no server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.stack.artifacts import java_home
from penstock.stack.layout import Layout
from penstock.stack.servers.flume import CLASSES, JARS

pytestmark = pytest.mark.integration

Probe = Callable[..., list[str]]


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Probe:
    """probe(mode, content, *arguments): the lines that Probe prints for a file with this content."""
    cache = Layout.from_env().cache
    JARS.ensure(cache, print)
    CLASSES.ensure(cache, print)
    folder = tmp_path_factory.mktemp("probe")
    class_path = f"{folder}:{CLASSES.path(cache)}/*:{JARS.path(cache)}/*"
    java = java_home() / "bin"
    probe = str(Path(__file__).parent / "flume" / "Probe.java")
    command = [str(java / "javac"), "-proc:none", "-cp", class_path, "-d", str(folder), probe]
    subprocess.run(command, check=True)
    count = 0

    def run(mode: str, content: str | bytes, *arguments: int) -> list[str]:
        nonlocal count
        count += 1
        file = folder / f"{count}.json"
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        command = [str(java / "java"), "-XX:TieredStopAtLevel=1", "-Xmx64m", "-cp", class_path, "penstock.flume.Probe"]
        done = subprocess.run([*command, mode, str(file), *map(str, arguments)], capture_output=True, check=True)
        return done.stdout.decode().splitlines()

    return run


def rows(probe: Probe, content: str | bytes, longest: int = 900_000) -> list[str]:
    return probe("rows", content, longest)


RESPONSE = """{
  "annotations": {"source_name": "Census \\u00fc", "note": "{[\\"}"},
  "page": {"limit": 0, "total": 2},
  "data": [
    {"Nation ID": "01000US", "Year": 2013, "Population": 316128839.0},
    {
      "Nation": "Île\\u0301 \\"x\\\\",
      "Population": 1.10e5
    }
  ],
  "columns": ["a", "b"]
}
"""
RESPONSE_ROWS = [
    '{"Nation ID":"01000US","Year":2013,"Population":316128839.0}',
    '{"Nation":"Île\\u0301 \\"x\\\\","Population":1.10e5}',
]


@pytest.mark.parametrize(
    "content",
    [
        RESPONSE,
        json.dumps(json.loads(RESPONSE.replace("1.10e5", '"1.10e5"'))).replace('"1.10e5"', "1.10e5"),
        RESPONSE.replace("\n", "\r\n"),
        "\ufeff" + RESPONSE,
    ],
    ids=["pretty", "one line", "Windows", "byte order mark"],
)
def test_a_response_becomes_its_rows(probe: Probe, content: str) -> None:
    found = rows(probe, content)
    assert [json.loads(row) for row in found] == [json.loads(row) for row in RESPONSE_ROWS]
    assert [row.count("\n") for row in found] == [0, 0]
    assert '"Population":316128839.0' in found[0]
    assert '"Population":1.10e5' in found[1]


def test_values_stay_as_they_are_written(probe: Probe) -> None:
    assert rows(probe, RESPONSE) == RESPONSE_ROWS


@pytest.mark.parametrize("between", ["", "\n", " \n\n "])
def test_several_documents_are_read_one_after_the_other(probe: Probe, between: str) -> None:
    assert rows(probe, between.join([RESPONSE, '[{"a": 1}, 2]', '{"b": 3}'])) == [
        *RESPONSE_ROWS,
        '{"a":1}',
        "2",
        '{"b":3}',
    ]


def test_json_lines_are_rows(probe: Probe) -> None:
    lines = [json.dumps({"a": number, "b": "x y"}, separators=(",", ":")) for number in range(1000)]
    assert rows(probe, "\n".join(lines)) == lines


@pytest.mark.parametrize(
    "document", ['{"data":[]}', "{}", "[]", '{"data":null}', '{"error":"busy"}', '{"error":true,"data":[1]}', "null"]
)
def test_a_document_without_rows_is_an_event_itself(probe: Probe, document: str) -> None:
    assert rows(probe, document) == [document]


def test_an_error_after_the_rows_follows_them(probe: Probe) -> None:
    assert rows(probe, '{"data": [{"a":1}], "error": {"why": "cut"}}') == ['{"a":1}', '{"error":{"why":"cut"}}']


@pytest.mark.parametrize(
    ("content", "events"),
    [
        ("<html>\nbusy</html>", ['"<html>\\nbusy</html>"']),
        ('{"data":[{"a":1},{"a":2},{"a":', ['{"a":1}', '{"a":2}', '",{\\"a\\":"']),
        ('{"a":1}\n{"a": nope}\n{"a":3}\n', ['{"a":1}', '"{\\"a\\": nope}"', '{"a":3}']),
        (
            '{\n "data": [\n  {"a": 1 2}\n ]\n}\n{"a":3}\n',
            ['"{\\n \\"data\\": [\\n  {\\"a\\": 1 2}\\n ]\\n}"', '{"a":3}'],
        ),
        ("", ['""']),
        (" \n\t", ['""']),
    ],
    ids=["HTML", "cut short", "a bad line", "a bad document", "empty", "blank"],
)
def test_what_is_no_json_is_an_event_too(probe: Probe, content: str, events: list[str]) -> None:
    assert rows(probe, content) == events


def test_other_encodings_are_not_guessed(probe: Probe) -> None:
    (event,) = rows(probe, RESPONSE.encode("utf-16"))
    assert isinstance(json.loads(event), str)


def test_what_is_too_long_is_cut(probe: Probe) -> None:
    long = json.dumps({"a": "x" * 50_000})
    events = rows(probe, f'{{"data":[{{"a":1}},{long},{{"a":2}}]}}', 10_000)
    assert (events[0], events[2]) == ('{"a":1}', '{"a":2}')
    assert json.loads(events[1]).startswith('{"a": "xxx')
    assert len(events[1]) <= 10_000


def test_rows_behind_much_else_are_whole(probe: Probe) -> None:
    notes = json.dumps(["x" * 1000] * 1000)
    assert rows(probe, f'{{"notes": {notes}, "data": [{{"a": 1}}, {{"a": 2}}]}}', 10_000) == ['{"a":1}', '{"a":2}']


def test_memory_is_bounded_by_rows_and_not_by_the_file(probe: Probe) -> None:
    row = json.dumps({"a": "x" * 1000})
    content = '{"data": [' + ",\n".join([row] * 100_000) + "]}"  # 100 MB, in a heap of 64 MB
    assert len(rows(probe, content)) == 100_000


MIXED = f'{RESPONSE}<html>\n{{"c": 1}}\n[1, 2, 3, {{"d": [4]}}]\n{{"data": [5, 6,\n{{"e": 1}}\n'


@pytest.mark.parametrize("seed", range(5))
def test_a_batch_that_the_channel_refuses_comes_again_and_nothing_else(probe: Probe, seed: int) -> None:
    assert probe("flaky", MIXED, seed) == rows(probe, MIXED)


@pytest.mark.parametrize(("before", "size"), [(1, 1), (2, 1), (3, 3), (5, 1), (6, 2), (9, 3)])
def test_after_a_crash_events_of_the_last_document_come_again(probe: Probe, before: int, size: int) -> None:
    every = rows(probe, MIXED)
    found = probe("crash", MIXED, before, size)
    crash = found.index("crash")
    first, second = found[:crash], found[crash + 1 :]
    assert first == every[:crash]
    assert second == every[len(every) - len(second) :]
    assert len(first) + len(second) >= len(every)


def test_a_crash_at_the_end_of_a_file_adds_no_empty_event(probe: Probe) -> None:
    assert probe("crash", '{"a":1}\n{"a":2}\n', 2, 2) == ['{"a":1}', '{"a":2}', "crash", '{"a":2}']


@pytest.mark.parametrize(
    ("record", "time"),
    [
        ('{"time":1763812800000,"a":1}', 1763812800000),
        ('{"a":{"b":1}, "time" : 1763812800000 }', 1763812800000),
        ('{"time":"1763812800000"}', 1763812800000),
        ('{"time":-5680281600000}', -5680281600000),
        ('{"Year":2021,"time":0}', 0),
        ('{"ID Year":2020,"Year":"2021"}', 1609459200000),
        ('{"ID Year": 2020}', 1577836800000),
        ('{"text":"\\"time\\":1","time":2}', 2),
        ('{"text":"time","time":2}', 2),
        ('{"time":1.5}', -1),
        ('{"time":12', -1),
        ('{"time":"soon","Year":20211}', -1),
        ('{"time":9999999999999999}', -1),
        ('{"Year":-2021}', -1),
        ("not JSON", -1),
        ('{"meta":{"id":"a","dt":"2026-08-04T15:24:29.813Z"},"type":"edit"}', 1785857069813),
        ('{"meta":{"dt":"2026-08-04T15:24:29Z"}}', 1785857069000),
        ('{"meta":{"dt":"2019-05-01T00:00:00+00:00"}}', 1556668800000),
        ('{"meta":{"dt":"2026-08-04T17:24:29.813456+02:00"}}', 1785857069813),
        (
            '{"dt":"2001-01-01T00:00:00Z","x":{"meta":{"dt":"2001-01-01T00:00:00Z"}},"meta":{"dt":"2026-08-04T15:24:29Z"}}',
            1785857069000,
        ),
        (
            '{"comment":"\\"meta\\":{\\"dt\\":\\"2001-01-01T00:00:00Z\\"}","meta":{"dt":"2026-08-04T15:24:29Z"}}',
            1785857069000,
        ),
        (
            '{"meta":{"uri":"{","x":["}",{"dt":"2001-01-01T00:00:00Z"}],"dt":"2026-08-04T15:24:29Z"},"broken":',
            1785857069000,
        ),
        ('{"meta":{"dt":"2026-08-04T15:24:29"}}', -1),
        ('{"meta":{"dt":"yesterday"}}', -1),
        ('{"meta":{"dt":1785857069813}}', -1),
        ('{"meta":{"dt":"+12026-08-04T15:24:29Z"}}', -1),
        ('{"meta":"dt"}', -1),
        ('{"meta":{}}', -1),
        ('{"comment":"half', -1),
        ('["meta"]', -1),
    ],
)
def test_the_event_time_is_that_of_the_record(probe: Probe, record: str, time: int) -> None:
    assert probe("times", record) == [str(time)]


@pytest.mark.parametrize(
    ("record", "key"),
    [
        (
            '{"meta":{"domain":"a","id":"c96f2492-58e5-4cad-ae11-5b43b8916ddc"},"id":667645}',
            "c96f2492-58e5-4cad-ae11-5b43b8916ddc",
        ),
        ('{"id":"other","log_params":{"meta":{"id":"another"}},"meta":{"id":"Ünique-𝄞"}}', "Ünique-𝄞"),
        ('{"comment":"{\\"meta\\":{\\"id\\":\\"no\\"}}","meta":{"id":"yes"},"cut', "yes"),
        ('{"meta":{"id":5}}', "null"),
        ('{"meta":{"dt":"2026-08-04T15:24:29Z"}}', "null"),
        ("no JSON", "null"),
        ("", "null"),
    ],
)
def test_the_key_is_that_of_the_record(probe: Probe, record: str, key: str) -> None:
    assert probe("keys", record + "\n") == [key]


def test_neighbours_of_one_hour_become_a_block_with_the_last_offset(probe: Probe) -> None:
    noon, one = 1763812800000, 1763816400000
    records = [f"0 {noon}", f"0 {noon + 1}", f"1 {one}", f"0 {one}", f"0 {noon + 2}", f"1 {one - 1}"]
    content = "\n".join(f'{record[:2]}{{"time":{record[2:]}}}' for record in records)
    assert probe("blocks", content) == [
        f'0 1 {noon} {{"time":{noon}}}\\n{{"time":{noon + 1}}}',
        f'0 2 {one} {{"time":{one}}}',
        f'0 3 {noon + 2} {{"time":{noon + 2}}}',
        f'1 0 {one} {{"time":{one}}}',
        f'1 1 {one - 1} {{"time":{one - 1}}}',
    ]


def test_a_record_is_one_line(probe: Probe) -> None:
    assert probe("blocks", '0 {"time":\\n5,\\r\\n"a":1}\n0 null\n0 {"time":6}') == [
        '0 0 5 {"time": 5,  "a":1}',
        "0 1 -1 ",
        '0 2 6 {"time":6}',
    ]
