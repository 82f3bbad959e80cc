"""A client of HDFS's HTTP interface: the few operations that the platform needs.

https://hadoop.apache.org/docs/r3.5.0/hadoop-project-dist/hadoop-hdfs/WebHDFS.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Any, Self
from urllib.parse import quote

import requests

from penstock.core import settings
from penstock.core.errors import Fatal, PenstockError, Retry

_TIMEOUT = (5.0, 60.0)
"""Seconds to connect, and until the next byte comes."""

_CHUNK_BYTES = 1 << 20
_FORBIDDEN = frozenset({"AccessControlException", "AuthorizationException", "SecurityException"})
_WRONG_REQUEST = frozenset({"IllegalArgumentException", "UnsupportedOperationException", "InvalidPathException"})


class Missing(PenstockError):
    """There is no such file or folder, or not any more."""


class LeaseHeld(PenstockError):
    """Another client is writing the file, and shows the NameNode that it lives."""


class RecoveryUnderWay(PenstockError):
    """The file's last block is being recovered: it will be closed soon."""


_SIGNIFICANT: Mapping[str, type[PenstockError]] = {
    "FileNotFoundException": Missing,
    "AlreadyBeingCreatedException": LeaseHeld,
    "RecoveryInProgressException": RecoveryUnderWay,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder. `modified_ms` is in ms since the epoch.

    `length` is in bytes, and for a file that is being written, of its complete blocks only.
    """

    path: str
    is_folder: bool
    length: int
    modified_ms: int

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


class WebHdfs:
    """Calls WebHDFS in the name of `hdfs.user`. Use it as a context manager.

    Every method raises Retry where HDFS is away or not ready, and Fatal where it refuses; paths are absolute.
    """

    def __init__(self, hdfs: settings.Hdfs) -> None:
        self._hdfs = hdfs
        self._session = requests.Session()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._session.close()

    def entries(self, folder: str) -> list[Entry]:
        """What is in a folder, by name; nothing where it does not exist."""
        try:
            listed = self._json("GET", "LISTSTATUS", folder)["FileStatuses"]["FileStatus"]
        except Missing:
            return []
        found = (
            Entry(
                path=f"{folder.rstrip('/')}/{each['pathSuffix']}",
                is_folder=each["type"] == "DIRECTORY",
                length=each["length"],
                modified_ms=each["modificationTime"],
            )
            for each in listed
            if each["pathSuffix"]  # LISTSTATUS of a file gives the file itself, without a name
        )
        return sorted(found, key=lambda entry: entry.path)

    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """The file's content from `offset` on, in chunks, up to what its writer has flushed. Raises Missing."""
        response = self._request("GET", "OPEN", path, {"offset": offset}, stream=True)
        with response:
            try:
                yield from response.iter_content(_CHUNK_BYTES)
            except requests.RequestException as error:
                raise Retry(f"HDFS at {self._hdfs.webhdfs} broke off while reading {path}: {error}") from error

    def being_written(self, path: str) -> bool:
        """Whether the file is still open for writing, be its writer alive or not. Raises Missing."""
        return bool(self._json("GET", "GET_BLOCK_LOCATIONS", path)["LocatedBlocks"]["isUnderConstruction"])

    def length(self, path: str) -> int:
        """Bytes of a closed file. Raises Missing."""
        return int(self._json("GET", "GETFILESTATUS", path)["FileStatus"]["length"])

    def append(self, path: str, content: bytes = b"") -> None:
        """Append to a file.

        On a file that another client has open, the NameNode begins to recover the lease where that client has been
        silent for a minute (RecoveryUnderWay), and refuses otherwise (LeaseHeld). Raises Missing.
        (HdfsConstants.LEASE_SOFTLIMIT_PERIOD is that minute.)
        """
        self._request("POST", "APPEND", path, data=content)

    def truncate(self, path: str, length: int) -> bool:
        """Cut a closed file to `length` bytes.

        False where the last block must be shortened first: the file is then under construction for a moment.
        """
        return bool(self._json("POST", "TRUNCATE", path, newlength=length)["boolean"])

    def create(self, path: str, content: bytes, *, overwrite: bool = False) -> None:
        """Write a new file, and its folders. Raises Fatal where there is one, unless that is to be overwritten."""
        self._request("PUT", "CREATE", path, {"overwrite": str(overwrite).lower()}, data=content)

    def rename(self, path: str, target: str) -> bool:
        """Give a file another name. False where there is no such file, or `target` exists."""
        return bool(self._json("PUT", "RENAME", path, destination=target)["boolean"])

    def replace(self, path: str, target: str) -> None:
        """Give a file another name, in place of the file `target` where there is one, in one step. Raises Missing."""
        self._request("PUT", "RENAME", path, {"destination": target, "renameoptions": "OVERWRITE"})

    def concat(self, target: str, sources: Sequence[str]) -> None:
        """Append the `sources` to `target`, in one step after which they are not there any more. Raises Missing.

        All must be closed, not empty, and in one folder; their blocks are taken as they are.
        """
        self._request("POST", "CONCAT", target, {"sources": ",".join(sources)})

    def delete(self, path: str, *, recursive: bool = False) -> bool:
        """Delete a file or folder. False where it does not exist."""
        return bool(self._json("DELETE", "DELETE", path, recursive=str(recursive).lower())["boolean"])

    def _json(self, method: str, operation: str, path: str, **parameters: str | int) -> Any:
        return self._request(method, operation, path, parameters).json()

    def _request(
        self,
        method: str,
        operation: str,
        path: str,
        parameters: Mapping[str, str | int] = MappingProxyType({}),
        *,
        stream: bool = False,
        data: bytes | None = None,
    ) -> requests.Response:
        query = {"op": operation, "user.name": self._hdfs.user, **parameters}
        url = f"{self._hdfs.webhdfs}/webhdfs/v1{quote(path)}"
        doing = f"{operation} of {path}"
        try:
            if data is not None:
                url, query = self._data_node(method, url, query, doing), {}
            response = self._session.request(method, url, params=query, data=data, stream=stream, timeout=_TIMEOUT)
        except requests.RequestException as error:
            raise Retry(f"HDFS at {self._hdfs.webhdfs} did not answer a {doing}: {type(error).__name__}") from error
        return self._checked(response, doing)

    def _data_node(self, method: str, url: str, query: Mapping[str, str | int], doing: str) -> str:
        """The address to which the content goes; the NameNode itself takes none."""
        answer = self._session.request(method, url, params={**query, "noredirect": "true"}, timeout=_TIMEOUT)
        return str(self._checked(answer, doing).json()["Location"])

    def _checked(self, response: requests.Response, doing: str) -> requests.Response:
        if response.ok:
            return response
        with response:
            kind, said = _remote_exception(response)
        message = f"HDFS at {self._hdfs.webhdfs} refuses a {doing}: {said}"
        if error := _SIGNIFICANT.get(kind):
            raise error(message)
        if kind in _FORBIDDEN:
            raise Fatal(f"{message}; give the user {self._hdfs.user} the right to, or set HDFS_USER to one who has it")
        if kind in _WRONG_REQUEST or kind == "FileAlreadyExistsException":
            raise Fatal(message)
        # The rest passes: safe mode, a NameNode on standby, a block whose DataNode is away.
        raise Retry(f"HDFS at {self._hdfs.webhdfs} could not do a {doing}: {said}")


def _remote_exception(response: requests.Response) -> tuple[str, str]:
    """The name of the Java exception, and the first line of its message."""
    try:
        remote = json.loads(response.content)["RemoteException"]
        name, message = str(remote["exception"]), str(remote["message"])
    except (ValueError, KeyError, TypeError):
        return "", f"HTTP {response.status_code} {response.reason}"
    return name, message.partition("\n")[0]
