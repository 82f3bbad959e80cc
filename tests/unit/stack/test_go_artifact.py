import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.core.errors import Fatal
from penstock.stack import go_artifact
from penstock.stack.go_artifact import GoArtifact
from penstock.stack.servers.monitoring import (
    ALERTMANAGER_PROGRAM,
    AMTOOL,
    PROMETHEUS_PROGRAM,
    PROMTOOL,
    STATSD_EXPORTER_PROGRAM,
)

GO = """#!/bin/bash
if [[ "$1" == version ]]; then echo "go version go{version} linux/amd64"; exit; fi
echo "$PWD|$PKG_CONFIG|$RUSTUP_TOOLCHAIN|$RUSTC_WORKSPACE_WRAPPER|$*" >> {calls}
echo "go: downloading example.org/library v1.2.3"
echo "example.org/library"
while [[ "$1" != -o ]]; do shift; done
echo built > "$2"
"""


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def tools(tmp_path, monkeypatch) -> Path:
    """Stand-ins for the tools of a build, alone on the PATH but for the system's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    _program(folder / "go", GO.format(version="1.26.1", calls=tmp_path / "calls"))
    for name in ("cargo", "cc"):
        _program(folder / name, "#!/bin/sh\n")
    _program(folder / "rustup", "#!/bin/sh\necho '1.90-x86_64-unknown-linux-gnu (default)'\n")
    for name in ("bash", "sh"):
        (folder / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("RUSTUP_TOOLCHAIN", raising=False)
    go_artifact._major_version.cache_clear()
    return folder


@pytest.fixture
def server(tmp_path) -> GoArtifact:
    module = tmp_path / "module"
    module.mkdir()
    (module / "go.mod").write_text("module server\n\ngo 1.23.0\n")
    _program(module / "rustc.sh", "#!/bin/sh\n")
    return GoArtifact(
        "server", module, "example.org/cmd/served", "2.7.12", tags=("a", "b"), pkg_config="example.org/pkg-config"
    )


def test_a_program_is_built_once_from_its_pinned_module(tmp_path, tools, server):
    said = []
    folder = server.ensure(tmp_path / "cache", said.append)
    server.ensure(tmp_path / "cache", said.append)
    assert server.program(tmp_path / "cache") == folder / "served"
    assert (folder / "served").read_text() == "built\n"
    tool, program = (tmp_path / "calls").read_text().splitlines()
    assert tool.endswith("example.org/pkg-config")
    where, pkg_config, toolchain, wrapper, command = program.split("|")
    assert where == str(server.module)
    assert Path(pkg_config).name == "pkg-config"
    assert toolchain == "1.90-x86_64-unknown-linux-gnu"
    assert wrapper == str(server.module / "rustc.sh")
    assert "-mod=readonly" in command
    assert "-tags=a,b" in command
    assert said[:2] == ["fetching example.org/library v1.2.3", "compiling example.org/library (takes minutes, once)"]


def test_a_toolchain_that_the_user_chose_is_left_alone(tmp_path, tools, server, monkeypatch):
    monkeypatch.setenv("RUSTUP_TOOLCHAIN", "nightly")
    server.ensure(tmp_path / "cache", print)
    assert (tmp_path / "calls").read_text().splitlines()[-1].split("|")[2] == "nightly"


def test_whatever_decides_the_build_decides_the_key(server):
    before = server.key
    (server.module / "go.sum").write_text("example.org/library v1.2.3 h1:x=\n")
    assert server.key != before


def test_the_key_is_the_same_in_every_checkout(tmp_path, server):
    shutil.copytree(server.module, tmp_path / "elsewhere")
    elsewhere = GoArtifact(
        "server", tmp_path / "elsewhere", server.package, server.version, server.tags, server.pkg_config
    )
    assert elsewhere.key == server.key


def test_a_ready_program_of_the_same_major_version_is_used(tmp_path, tools, server):
    _program(tools / "served", "#!/bin/sh\necho 'Served v2.9.1 (git: abc) build_date: 2026-01-01'\n")
    for name in ("go", "cargo", "cc"):
        (tools / name).unlink()
    assert server.is_there(tmp_path / "cache")
    server.ensure(tmp_path / "cache", print)
    assert server.program(tmp_path / "cache") == tools / "served"


def test_a_ready_program_of_another_major_version_is_not(tmp_path, tools, server):
    _program(tools / "served", "#!/bin/sh\necho 'Served v3.0.0'\n")
    assert not server.is_there(tmp_path / "cache")
    assert server.program(tmp_path / "cache") == server.path(tmp_path / "cache") / "served"


@pytest.mark.parametrize(("tool", "remedy"), [("go", "Go 1.23 or later"), ("cargo", "cargo"), ("cc", "`gcc`")])
def test_a_missing_tool_is_named_before_anything_is_built(tmp_path, tools, server, tool, remedy):
    (tools / tool).unlink()
    with pytest.raises(Fatal, match=f"{remedy}.*or put served 2 on the PATH"):
        server.ensure(tmp_path / "cache", print)
    assert not (tmp_path / "calls").exists()


def test_an_old_go_is_named_with_the_version_that_is_needed(tmp_path, tools, server):
    _program(tools / "go", GO.format(version="1.19.8", calls=tmp_path / "calls"))
    assert "needs Go 1.23 or later (https://go.dev/dl/), not 1.19" in server.lacking()


def test_a_failed_build_says_what_go_said_and_leaves_nothing(tmp_path, tools, server):
    failing = """#!/bin/sh
        [ "$1" = version ] && echo go1.26 && exit
        echo example.org/library
        echo missing go.sum entry >&2
        exit 1"""
    _program(tools / "go", failing)
    with pytest.raises(
        Fatal, match=r"could not build server: missing go.sum entry; all it said is in .*server-build.log"
    ):
        server.ensure(tmp_path / "cache", print)
    assert not list((tmp_path / "cache" / "servers").iterdir())


def test_the_influxd_of_this_checkout_is_pinned_by_checksums():
    from penstock.stack.servers.influxdb import INFLUXD

    sums = (INFLUXD.module / "go.sum").read_text()
    assert f"github.com/influxdata/influxdb/v2 v{INFLUXD.version} h1:" in sums
    required = [
        line.split()[:2] for line in (INFLUXD.module / "go.mod").read_text().splitlines() if line.startswith("\t")
    ]
    assert [each for each in required if f"{each[0]} {each[1]}/go.mod h1:" not in sums] == []


@pytest.mark.parametrize(
    "program", [PROMETHEUS_PROGRAM, PROMTOOL, ALERTMANAGER_PROGRAM, AMTOOL, STATSD_EXPORTER_PROGRAM]
)
def test_the_programs_of_monitoring_are_pinned_by_checksums(program):
    sums = (program.module / "go.sum").read_text()
    required = re.findall(r"(?m)^(?:\t|require )(\S+ v\S+)", (program.module / "go.mod").read_text())
    assert required
    assert [each for each in required if f"{each}/go.mod h1:" not in sums] == []


def test_a_program_is_asked_for_its_version_in_its_own_way(tmp_path, tools, server):
    _program(tools / "served", '#!/bin/sh\n[ "$1" = --version ] && echo "served, version 2.9.1 (branch: HEAD)"\n')
    assert not server.is_there(tmp_path / "cache")
    asked = replace(server, asked="--version")
    go_artifact._major_version.cache_clear()
    assert asked.is_there(tmp_path / "cache")
