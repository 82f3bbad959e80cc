"""HDFS as the stack sets it up."""

from __future__ import annotations

import psutil
import pytest
from hdfs import HdfsError, InsecureClient

from penstock.core.settings import Hdfs
from penstock.stack.hdfs_admin import provision

pytestmark = pytest.mark.integration


def _client(hdfs_settings: Hdfs, user: str) -> InsecureClient:
    return InsecureClient(hdfs_settings.webhdfs, user=user, timeout=30)


@pytest.fixture
def client(hdfs_settings: Hdfs) -> InsecureClient:
    """The platform's user."""
    return _client(hdfs_settings, hdfs_settings.user)


@pytest.fixture
def folder(hdfs_settings: Hdfs, unique: str) -> str:
    """A folder of the platform's user."""
    provision(hdfs_settings, [f"/{unique}"])
    return f"/{unique}"


def test_files_are_written_and_read(client, folder):
    content = b"0123456789abcdef" * 65_536
    client.write(f"{folder}/file", content)
    with client.read(f"{folder}/file") as reader:
        assert reader.read() == content


def test_a_folder_belongs_to_the_platforms_user_who_alone_writes_there(client, folder, hdfs_settings):
    assert client.status(folder)["owner"] == hdfs_settings.user
    with pytest.raises(HdfsError, match="Permission denied: user=somebody"):
        _client(hdfs_settings, "somebody").write(f"{folder}/file", b"x")
    with pytest.raises(HdfsError, match="Permission denied"):
        client.makedirs("/elsewhere")


def test_the_raw_copies_have_their_folders(client, stack):
    from penstock.pipelines import PIPELINES

    folders = [each.raw_copy.folder for each in PIPELINES.values() if each.raw_copy]
    assert folders
    assert {client.status(each)["owner"] for each in folders} == {stack.context.hdfs_user}


def test_provisioning_again_changes_nothing(client, folder, hdfs_settings):
    client.write(f"{folder}/file", b"x")
    provision(hdfs_settings, [folder])
    assert client.list(folder) == ["file"]


def test_files_survive_an_orderly_stop_and_a_kill_of_both_daemons(stack, client, folder):
    client.write(f"{folder}/file", b"kept")
    for name in ("hdfs-datanode", "hdfs-namenode"):
        stack.stop(name)
    _start_both(stack)
    assert _content(client, f"{folder}/file") == b"kept"
    for name in ("hdfs-namenode", "hdfs-datanode"):
        stack.kill(name)
    _start_both(stack)
    assert _content(client, f"{folder}/file") == b"kept"


def _start_both(stack) -> None:
    for name in ("hdfs-namenode", "hdfs-datanode"):
        stack.start(name)


def _content(client: InsecureClient, path: str) -> bytes:
    with client.read(path) as reader:
        return reader.read()


@pytest.mark.parametrize("name", ["hdfs-namenode", "hdfs-datanode", "influxdb"])
def test_a_server_listens_on_loopback_only(stack, name):
    process = psutil.Process(stack.context.supervisor.states()[name]["pid"])
    listening = [each.laddr.ip for each in process.net_connections() if each.status == psutil.CONN_LISTEN]
    assert listening
    assert set(listening) <= {"127.0.0.1", "::ffff:127.0.0.1"}
