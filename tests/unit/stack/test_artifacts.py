import threading
import zipfile
from pathlib import Path

import pytest

from penstock.core.errors import Fatal
from penstock.stack.artifacts import MavenArtifact

GOOD_MAVEN = """#!/bin/sh
echo run >> {calls}
for word in "$@"; do case "$word" in -DoutputDirectory=*) out="${{word#*=}}";; esac; done
cp {jar} "$out/server.jar"
echo "[INFO] Downloaded from central: somewhere/server-1.jar (3 MB at 1 MB/s)"
"""


@pytest.fixture
def maven(tmp_path, monkeypatch):
    """Put a stand-in `mvn` on the PATH that copies one jar and counts its calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    jar = tmp_path / "server.jar"
    with zipfile.ZipFile(jar, "w") as archive:
        archive.writestr("lib/inside.txt", "content")
    script = folder / "mvn"
    script.write_text(GOOD_MAVEN.format(calls=tmp_path / "calls", jar=jar))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return script


@pytest.fixture
def pom(tmp_path) -> Path:
    path = tmp_path / "pom.xml"
    path.write_text("<project/>")
    return path


def calls(tmp_path) -> int:
    return len((tmp_path / "calls").read_text().splitlines())


def test_an_artifact_is_fetched_once_and_told_of(tmp_path, maven, pom):
    artifact, said = MavenArtifact("server", pom), []
    first = artifact.ensure(tmp_path / "cache", said.append)
    assert (first / "server.jar").exists()
    assert artifact.ensure(tmp_path / "cache", said.append) == first
    assert calls(tmp_path) == 1
    assert said == ["fetched server-1.jar (3 MB at 1 MB/s)"]


def test_two_checkouts_that_fetch_at_once_fetch_once(tmp_path, maven, pom):
    artifact = MavenArtifact("server", pom)
    threads = [threading.Thread(target=artifact.ensure, args=(tmp_path / "cache", print)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls(tmp_path) == 1


def test_a_changed_pom_is_another_artifact(tmp_path, maven, pom):
    artifact = MavenArtifact("server", pom)
    first = artifact.ensure(tmp_path / "cache", print)
    pom.write_text("<project><version>2</version></project>")
    assert artifact.ensure(tmp_path / "cache", print) != first


def test_an_archive_is_unpacked_in_place(tmp_path, maven, pom):
    folder = MavenArtifact("server", pom, unpack=True).ensure(tmp_path / "cache", print)
    assert (folder / "lib" / "inside.txt").read_text() == "content"


def test_a_failed_fetch_says_what_maven_said_and_leaves_nothing(tmp_path, maven, pom):
    maven.write_text("#!/bin/sh\necho '[ERROR] no such version'\nexit 1\n")
    artifact = MavenArtifact("server", pom)
    with pytest.raises(Fatal, match="no such version"):
        artifact.ensure(tmp_path / "cache", print)
    assert not artifact.is_there(tmp_path / "cache")


def test_a_missing_maven_is_named_with_its_package(tmp_path, pom, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Fatal, match="install the package `maven`"):
        MavenArtifact("server", pom).ensure(tmp_path / "cache", print)


def test_resources_are_taken_out_of_a_jar_that_is_dropped(tmp_path, maven, pom):
    folder = MavenArtifact("server", pom, resources=("server*.jar", "lib/")).ensure(tmp_path / "cache", print)
    assert (folder / "lib" / "inside.txt").read_text() == "content"
    assert not list(folder.glob("*.jar"))
