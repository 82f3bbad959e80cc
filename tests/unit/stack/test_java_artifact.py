import zipfile

import pytest

from penstock.core.errors import Fatal
from penstock.stack import java_artifact
from penstock.stack.artifacts import MavenArtifact
from penstock.stack.java_artifact import JavaArtifact

SOURCE = 'package ours;\npublic class Hello { public static String word() { return "hello"; } }\n'


@pytest.fixture
def classes(tmp_path) -> JavaArtifact:
    (tmp_path / "pom.xml").write_text("<project/>")
    (tmp_path / "src" / "ours").mkdir(parents=True)
    (tmp_path / "src" / "ours" / "Hello.java").write_text(SOURCE)
    return JavaArtifact("ours", tmp_path / "src", against=MavenArtifact("server", tmp_path / "pom.xml"))


def test_sources_become_one_jar(tmp_path, classes):
    folder = classes.ensure(tmp_path / "cache", print)
    assert [each.name for each in folder.iterdir()] == ["ours.jar"]
    with zipfile.ZipFile(folder / "ours.jar") as jar:
        assert jar.namelist() == ["ours/Hello.class"]


def test_a_changed_source_and_a_changed_server_are_another_artifact(tmp_path, classes):
    first = classes.key
    (tmp_path / "src" / "ours" / "Hello.java").write_text(SOURCE.replace("hello", "good day"))
    second = classes.key
    (tmp_path / "pom.xml").write_text("<project><version>2</version></project>")
    assert len({first, second, classes.key}) == 3


def test_a_source_that_does_not_compile_is_shown_with_its_line(tmp_path, classes):
    (tmp_path / "src" / "ours" / "Hello.java").write_text(SOURCE.replace("return", "retrun"))
    with pytest.raises(Fatal, match=r"Hello.java:2: error"):
        classes.ensure(tmp_path / "cache", print)
    assert not classes.is_there(tmp_path / "cache")


def test_without_sources_there_is_nothing_to_compile(tmp_path, classes, monkeypatch):
    (tmp_path / "src" / "ours" / "Hello.java").unlink()
    monkeypatch.setattr(java_artifact, "java_home", lambda: tmp_path)
    assert list(classes.ensure(tmp_path / "cache", print).iterdir()) == []


def test_a_java_without_its_compiler_is_named_with_the_package(tmp_path, classes, monkeypatch):
    monkeypatch.setattr(java_artifact, "java_home", lambda: tmp_path)
    with pytest.raises(Fatal, match=r"no javac.*install the package `openjdk-17-jdk-headless`"):
        classes.ensure(tmp_path / "cache", print)
