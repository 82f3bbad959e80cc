"""Folders on HDFS and whose they are, by WebHDFS."""

from __future__ import annotations

from collections.abc import Iterable

import requests

from penstock.core.errors import Fatal, Retry
from penstock.core.settings import Hdfs

SUPERUSER = "hdfs"
"""The name that the NameNode is started under, in every way to run it. Without Kerberos it is taken on trust."""

_TIMEOUT = 10.0


def provision(hdfs: Hdfs, folders: Iterable[str]) -> None:
    """Make each folder where it is missing, with `hdfs.user` as its owner, who alone may write there. Idempotent.

    Raises Retry where the NameNode cannot be reached, Fatal where it refuses.
    """
    for folder in folders:
        _call(hdfs, folder, "MKDIRS", permission="755")
        _call(hdfs, folder, "SETOWNER", owner=hdfs.user)


def _call(hdfs: Hdfs, path: str, operation: str, **options: str) -> None:
    """One PUT (https://hadoop.apache.org/docs/r3.5.0/hadoop-project-dist/hadoop-hdfs/WebHDFS.html)."""
    query = {"op": operation, "user.name": SUPERUSER, **options}
    try:
        answer = requests.put(f"{hdfs.webhdfs}/webhdfs/v1{path}", params=query, timeout=_TIMEOUT)
    except requests.RequestException as error:
        raise Retry(f"HDFS at {hdfs.webhdfs} cannot be reached: {type(error).__name__}") from None
    if not answer.ok:
        raise Fatal(f"HDFS refuses {operation} of {path} (HTTP {answer.status_code}): {_reason(answer)}")


def _reason(answer: requests.Response) -> str:
    try:
        said = answer.json()["RemoteException"]["message"]
    except (ValueError, KeyError, TypeError):
        said = answer.text
    return next(iter(str(said).splitlines()), "no reason given")[:200]
