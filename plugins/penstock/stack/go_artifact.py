"""A server that is built from its Go module, where no ready binary is to be had from a package manager."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache as remembered
from pathlib import Path

from penstock.core.errors import Fatal
from penstock.stack.artifacts import Artifact, Progress

_PACKAGE = re.compile(r"^[\w.-]+\.[a-z]+/\S+$|^[a-z][\w/]*$")
_DOWNLOAD = re.compile(r"^go: downloading (\S+) (\S+)")


@dataclass(frozen=True)
class GoArtifact(Artifact):
    """The program of `package`, built as `module` (a folder with go.mod, go.sum and what the build needs) pins it.

    A ready program of the same major `version` on the PATH is used instead, and nothing is built. `pkg_config` is the
    package that stands in for pkg-config, to build the Rust libraries that cgo links; a `rustc.sh` in `module` is put
    before the Rust compiler. The program says its version when it is `asked`, by the variable `stamp`.
    """

    name: str
    module: Path
    package: str
    version: str
    tags: tuple[str, ...] = ()
    pkg_config: str = ""
    asked: str = "version"
    stamp: str = "main.version=v"

    @property
    def binary(self) -> str:
        """The program's file name."""
        return self.package.rpartition("/")[2]

    def program(self, cache: Path) -> Path:
        """The program to run: the one on the PATH, or the one that is or will be built."""
        return self._ready() or self.path(cache) / self.binary

    def is_there(self, cache: Path) -> bool:
        """Whether it was built, or need not be."""
        return self._ready() is not None or super().is_there(cache)

    def lacking(self) -> str | None:
        """Go, and for Rust libraries Cargo and a C compiler."""
        wanted = _go_version_of(self.module)
        tools = {"go": f"Go {wanted} or later (https://go.dev/dl/)"}
        if self.pkg_config:
            tools |= {"cargo": "Rust's cargo (https://rustup.rs)", "cc": "a C compiler (the package `gcc`)"}
        major = self.version.partition(".")[0]
        instead = f"or put {self.binary} {major} on the PATH"
        if missing := [what for tool, what in tools.items() if not shutil.which(tool)]:
            return f"{self.name} is built here once and that needs {', '.join(missing)}: install that, {instead}"
        found = _go_version()
        if _numbers(found) < _numbers(wanted):
            return f"{self.name} is built here once and that needs {tools['go']}, not {found}: install that, {instead}"
        return None

    def _ready(self) -> Path | None:
        path = shutil.which(self.binary)
        same = path is not None and _major_version(path, self.asked) == self.version.partition(".")[0]
        return Path(path) if path and same else None

    def _definition(self) -> bytes:
        files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(self.module.iterdir())}
        fields = {name: value for name, value in asdict(self).items() if name != "module"}
        return json.dumps([fields, files], sort_keys=True).encode()

    def _make(self, into: Path, cache: Path, progress: Progress) -> None:
        log = cache / "logs" / f"{self.name}-build.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("", encoding="utf-8")
        environment = {**os.environ, "CGO_ENABLED": "1"}
        tools = into / "tools"
        tools.mkdir()
        if self.pkg_config:
            self._build(self.pkg_config, tools / "pkg-config", environment, log, progress)
            environment |= {"PKG_CONFIG": str(tools / "pkg-config"), **self._rust()}
        self._build(self.package, into / self.binary, environment, log, progress)
        shutil.rmtree(tools)

    def _rust(self) -> dict[str, str]:
        """The user's own Rust, whichever old one a dependency's rust-toolchain.toml names."""
        wrapper = self.module / "rustc.sh"
        environment = {"RUSTC_WORKSPACE_WRAPPER": str(wrapper)} if wrapper.exists() else {}
        if "RUSTUP_TOOLCHAIN" not in os.environ and shutil.which("rustup"):
            # Asked outside of any project, so that it is the user's default.
            said = subprocess.run(
                ["rustup", "show", "active-toolchain"], cwd="/", capture_output=True, text=True, check=False
            ).stdout.split()
            environment |= {"RUSTUP_TOOLCHAIN": said[0]} if said else {}
        return environment

    def _build(self, package: str, to: Path, environment: Mapping[str, str], log: Path, progress: Progress) -> None:
        stamp = f"-s -w -X {self.stamp}{self.version} -X main.commit=module -X main.date=1970-01-01T00:00:00Z"
        options = ["-mod=readonly", "-buildvcs=false", "-v", f"-tags={','.join(self.tags)}"]
        command = ["go", "build", *options, f"-ldflags={stamp}", "-o", str(to), package]
        last: list[str] = []
        with (
            log.open("a", encoding="utf-8") as output,
            subprocess.Popen(
                command, cwd=self.module, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            ) as go,
        ):
            assert go.stdout  # noqa: S101 - it is a pipe, as asked above
            for line in go.stdout:
                output.write(line)
                if what := _what_is_done(line.strip()):
                    progress(what)
                elif line.strip():
                    last = [*last, line.strip()][-3:]
        if go.returncode:
            reason = " / ".join(last) or f"exit code {go.returncode}"
            raise Fatal(f"Go could not build {self.name}: {reason}; all it said is in {log}")


def _what_is_done(line: str) -> str | None:
    if downloaded := _DOWNLOAD.match(line):
        return f"fetching {downloaded[1]} {downloaded[2]}"
    return f"compiling {line} (takes minutes, once)" if _PACKAGE.match(line) else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def _go_version_of(module: Path) -> str:
    """The oldest Go that go.mod takes."""
    found = re.search(r"(?m)^go (\d+\.\d+)", (module / "go.mod").read_text(encoding="utf-8"))
    if not found:
        raise Fatal(f"{module / 'go.mod'} does not say which Go it needs")
    return found[1]


def _go_version() -> str:
    """The Go that is installed."""
    said = subprocess.run(["go", "version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"go(\d+\.\d+)", said)
    return found[1] if found else "0.0"


@remembered
def _major_version(program: str, asked: str) -> str | None:
    """The major version that a program names when it is asked for its version."""
    said = subprocess.run([program, asked], capture_output=True, text=True, check=False, timeout=30).stdout
    found = re.search(r"\bv?(\d+)\.\d+", said)
    return found[1] if found else None
