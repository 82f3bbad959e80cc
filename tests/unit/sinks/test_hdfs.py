from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import requests
import responses
from hypothesis import given
from hypothesis import strategies as st

from penstock.core import settings
from penstock.core.errors import Fatal, Retry
from penstock.sinks import hdfs as raw_copy
from penstock.sinks.hdfs import read_lines
from penstock.sinks.webhdfs import LeaseHeld, Missing, RecoveryUnderWay, WebHdfs

HDFS = settings.Hdfs("hdfs://localhost:8020", "http://localhost:9870", "tester")

Reply = tuple[int, dict[str, str], str | bytes]


class FakeHdfs:
    """Answers as WebHDFS does, from {path: content}. `before_open` is called with each path that is opened."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.before_open: Callable[[str], None] = lambda path: None
        self.users: set[str] = set()
        self.opened: list[str] = []
        self.listed: list[str] = []

    def answer(self, request: requests.PreparedRequest) -> Reply:
        address = urlsplit(str(request.url))
        query = parse_qs(address.query)
        path = unquote(address.path).removeprefix("/webhdfs/v1")
        self.users.update(query["user.name"])
        if query["op"] == ["LISTSTATUS"]:
            self.listed.append(path)
            return self._list(path)
        assert query["op"] == ["OPEN"]
        self.before_open(path)
        self.opened.append(path)
        return (200, {}, self.files[path]) if path in self.files else remote("FileNotFoundException", 404)

    def _list(self, folder: str) -> Reply:
        below = sorted(path.removeprefix(f"{folder}/") for path in self.files if path.startswith(f"{folder}/"))
        if not below:
            return remote("FileNotFoundException", 404)
        kinds = {rest.split("/")[0]: "DIRECTORY" if "/" in rest else "FILE" for rest in below}
        found = [{"pathSuffix": name, "type": kind, "length": 0, "modificationTime": 0} for name, kind in kinds.items()]
        return 200, {}, json.dumps({"FileStatuses": {"FileStatus": found}})


def remote(kind: str, status: int = 403, message: str = "because\n\tat Some.java") -> Reply:
    return status, {}, json.dumps({"RemoteException": {"exception": kind, "message": message}})


@pytest.fixture
def fake() -> Iterator[FakeHdfs]:
    answers = FakeHdfs()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.add_callback(responses.GET, re.compile(r"http://localhost:9870/webhdfs/v1/.*"), answers.answer)
        yield answers


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def lines(first: str, last: str, folder: str = "/Cars") -> list[bytes]:
    return list(read_lines(HDFS, folder, at(first), at(last)))


def test_lines_of_finished_files_and_of_those_in_progress_are_read(fake: FakeHdfs) -> None:
    fake.files = {
        "/Cars/2026-11-22/07/a.jsonl": b'{"a":1}\n{"a":2}\n',
        "/Cars/2026-11-22/07/b.jsonl.tmp": '{"a":"Zoë"}\n'.encode(),
    }
    assert lines("2026-11-22T07:15", "2026-11-22T07:30") == [b'{"a":1}', b'{"a":2}', '{"a":"Zoë"}'.encode()]
    assert fake.users == {"tester"}


def test_an_unfinished_last_line_is_left_out(fake: FakeHdfs) -> None:
    fake.files = {"/Cars/2026-11-22/07/a.jsonl.tmp": b'{"a":1}\n{"a":'}
    assert lines("2026-11-22T07:00", "2026-11-22T07:00") == [b'{"a":1}']


def test_a_range_is_of_whole_hours_both_ends_included(fake: FakeHdfs) -> None:
    hours = ["2026-11-21/23", "2026-11-22/00", "2026-11-22/01", "2026-11-22/02"]
    fake.files = {f"/Cars/{hour}/a.jsonl": f"{hour}\n".encode() for hour in hours}
    assert lines("2026-11-21T23:59:59.999", "2026-11-22T01:00") == [hour.encode() for hour in hours[:3]]


def test_a_range_of_decades_looks_only_at_hours_that_exist(fake: FakeHdfs) -> None:
    fake.files = {f"/case_pop/{year}-01-01/00/a.jsonl": b"{}\n" for year in (1790, 1969, 2012, 2023, 2024)}
    assert lines("1790-01-01T00:00", "2023-01-01T00:00", "/case_pop") == [b"{}"] * 4
    assert len(fake.listed) == 1 + 4 + 4


def test_a_folder_that_does_not_exist_has_no_lines(fake: FakeHdfs) -> None:
    assert lines("2026-11-22T00:00", "2026-11-22T01:00") == []


def test_a_reversed_range_is_refused() -> None:
    with pytest.raises(Fatal, match="reversed"):
        lines("2026-11-22T02:00", "2026-11-22T01:00")


def test_a_file_that_is_closed_between_listing_and_opening_is_read_once(fake: FakeHdfs) -> None:
    folder = "/Cars/2026-11-22/07"
    fake.files = {f"{folder}/a.jsonl": b"1\n", f"{folder}/b.jsonl.tmp": b"2\n", f"{folder}/c.jsonl.tmp": b"3\n"}

    def close(path: str) -> None:
        if path.endswith("b.jsonl.tmp"):
            fake.files[f"{folder}/b.jsonl"] = fake.files.pop(path)

    fake.before_open = close
    assert sorted(lines("2026-11-22T07:00", "2026-11-22T07:00")) == [b"1", b"2", b"3"]
    assert sorted(fake.opened) == sorted(
        [f"{folder}/a.jsonl", f"{folder}/b.jsonl.tmp", f"{folder}/b.jsonl", f"{folder}/c.jsonl.tmp"]
    )


def test_a_file_that_is_deleted_meanwhile_is_left_alone(fake: FakeHdfs) -> None:
    folder = "/Cars/2026-11-22/07"
    fake.files = {f"{folder}/a.jsonl": b"1\n", f"{folder}/b.jsonl.tmp": b""}
    fake.before_open = lambda path: fake.files.pop(f"{folder}/b.jsonl.tmp", None) and None
    assert lines("2026-11-22T07:00", "2026-11-22T07:00") == [b"1"]


@given(st.lists(st.binary(min_size=1).filter(lambda line: b"\n" not in line)), st.integers(1, 7))
def test_lines_are_whole_however_the_content_is_cut(wanted: list[bytes], size: int) -> None:
    content = b"".join(line + b"\n" for line in wanted)
    chunks = [content[start : start + size] for start in range(0, len(content), size)]
    assert list(raw_copy._lines(chunks)) == wanted


@pytest.mark.parametrize(
    ("kind", "error", "sentence"),
    [
        ("FileNotFoundException", Missing, "because"),
        ("AlreadyBeingCreatedException", LeaseHeld, "because"),
        ("RecoveryInProgressException", RecoveryUnderWay, "because"),
        ("SafeModeException", Retry, "could not do a APPEND of /a: because$"),
        ("IOException", Retry, "because$"),
        ("AccessControlException", Fatal, "give the user tester the right"),
    ],
)
def test_each_refusal_is_named_by_what_to_do(kind: str, error: type[Exception], sentence: str) -> None:
    with responses.RequestsMock() as mock, WebHdfs(HDFS) as client:
        status, _, body = remote(kind)
        mock.post("http://localhost:9870/webhdfs/v1/a", body=body, status=status)
        with pytest.raises(error, match=sentence):
            client.append("/a")


def test_an_answer_that_is_not_webhdfs_is_worth_another_try() -> None:
    with responses.RequestsMock() as mock, WebHdfs(HDFS) as client:
        mock.get("http://localhost:9870/webhdfs/v1/a", body="<html>", status=502)
        with pytest.raises(Retry, match="HTTP 502"):
            client.length("/a")


def test_a_server_that_is_away_is_worth_another_try() -> None:
    with responses.RequestsMock() as mock, WebHdfs(HDFS) as client:
        mock.get("http://localhost:9870/webhdfs/v1/a", body=requests.ConnectionError("refused"))
        with pytest.raises(Retry, match="did not answer a LISTSTATUS of /a"):
            client.entries("/a")


def test_content_goes_to_the_data_node_that_the_name_node_names() -> None:
    with responses.RequestsMock() as mock, WebHdfs(HDFS) as client:
        mock.put(
            "http://localhost:9870/webhdfs/v1/a%20b",
            json={"Location": "http://datanode:9864/webhdfs/v1/a%20b?op=CREATE&user.name=tester"},
            match=[responses.matchers.query_param_matcher({"noredirect": "true"}, strict_match=False)],
        )
        mock.put("http://datanode:9864/webhdfs/v1/a%20b", match=[responses.matchers.header_matcher({})], status=201)
        client.create("/a b", b"content")
        assert mock.calls[1].request.body == b"content"
        assert mock.calls[0].request.body is None
