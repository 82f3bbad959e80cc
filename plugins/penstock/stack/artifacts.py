"""How the servers come onto this machine: once, into the per-user cache, by the ordinary package managers."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from penstock.core.errors import Fatal

Progress = Callable[[str], None]
"""Told what is happening now, in a few words."""

_JAVA = 17
_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_DOWNLOADED = re.compile(r"^(?:\[INFO\] )?Downloaded from \S+: \S*/([^/ ]+) \(([^)]*)\)")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path` against every process of this machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Artifact(ABC):
    """A server, or what runs in one, as a folder of the per-user cache.

    The folder is keyed by the definition's content, so a changed definition is made anew, and two checkouts with the
    same one share a copy. Artifacts are told apart by their fields: each kind is a frozen dataclass.
    """

    name: str

    @property
    def key(self) -> str:
        """`NAME-DIGEST`: the same for the same definition."""
        return f"{self.name}-{hashlib.sha256(self._definition()).hexdigest()[:12]}"

    def path(self, cache: Path) -> Path:
        """Where the artifact is, or will be."""
        return cache / "servers" / self.key

    def is_there(self, cache: Path) -> bool:
        """A folder appears under its name only when it is complete."""
        return self.path(cache).is_dir()

    def ensure(self, cache: Path, progress: Progress) -> Path:
        """Make the artifact unless it is there. Raises Fatal with the tool's own words where that fails."""
        target = self.path(cache)
        # One at a time: Maven's local repository is not made for two writers.
        with _locked(cache / "fetch.lock"):
            if not self.is_there(cache):
                if problem := self.lacking():
                    raise Fatal(f"{problem}, and run again")
                staging = target.with_name(f".{target.name}.partial")
                shutil.rmtree(staging, ignore_errors=True)
                staging.mkdir(parents=True)
                try:
                    self._make(staging, cache, progress)
                except BaseException:
                    shutil.rmtree(staging, ignore_errors=True)
                    raise
                staging.rename(target)
        return target

    @abstractmethod
    def lacking(self) -> str | None:
        """What this machine lacks to make the artifact and how to get it, or None."""

    @abstractmethod
    def _definition(self) -> bytes:
        """All that decides what the artifact will be."""

    @abstractmethod
    def _make(self, into: Path, cache: Path, progress: Progress) -> None:
        """Fill the folder `into`. Raises Fatal."""


@dataclass(frozen=True)
class MavenArtifact(Artifact):
    """What `pom` names, with all it depends on.

    With `unpack`, the archive that the pom names is unpacked there instead of copied. `resources` are (jar, prefix):
    what is taken out of a jar that is not wanted for anything else, and so is dropped.
    """

    name: str
    pom: Path
    unpack: bool = False
    resources: tuple[str, str] | None = None

    def lacking(self) -> str | None:
        """Maven."""
        if shutil.which("mvn"):
            return None
        return f"Maven is needed to fetch {self.name}: install the package `maven`"

    def _definition(self) -> bytes:
        return self.pom.read_bytes() + _PLUGIN.encode() + "".join(self.resources or ()).encode()

    def _make(self, into: Path, cache: Path, progress: Progress) -> None:  # noqa: ARG002 - Artifact's signature
        self._fetch(into, progress)
        if self.unpack:
            self._unpack(into)
        if self.resources:
            self._take_out(into, *self.resources)

    def _fetch(self, into: Path, progress: Progress) -> None:
        command = [
            "mvn",
            "-B",
            "-C",
            "-f",
            str(self.pom),
            _PLUGIN,
            "-DincludeScope=runtime",
            f"-DoutputDirectory={into}",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as maven:
            assert maven.stdout  # noqa: S101 - it is a pipe, as asked above
            errors = []
            for line in maven.stdout:
                if downloaded := _DOWNLOADED.match(line):
                    progress(f"fetched {downloaded[1]} ({downloaded[2]})")
                elif "ERROR" in line:
                    errors.append(line.strip())
        if maven.returncode:
            reason = errors[0] if errors else f"exit code {maven.returncode}"
            raise Fatal(f"Maven could not fetch {self.name} ({self.pom}): {reason}; check the network and run again")

    def _unpack(self, folder: Path) -> None:
        for archive in list(folder.iterdir()):
            if archive.suffix == ".jar":
                with zipfile.ZipFile(archive) as jar:
                    jar.extractall(folder)  # noqa: S202 - Maven checked its checksum
                archive.unlink()
        for archive in [*folder.glob("*.tar.gz"), *folder.glob("*.txz")]:
            with tarfile.open(archive) as tar:
                # Python before 3.11.4 has no filters, and ignores the attribute.
                tar.extraction_filter = getattr(tarfile, "data_filter", None)
                tar.extractall(folder)  # noqa: S202 - Maven checked its checksum
            archive.unlink()

    def _take_out(self, folder: Path, jar_name: str, prefix: str) -> None:
        for path in list(folder.glob(jar_name)):
            with zipfile.ZipFile(path) as jar:
                jar.extractall(folder, [name for name in jar.namelist() if name.startswith(prefix)])  # noqa: S202 - Maven checked its checksum
            path.unlink()


def java_home() -> Path:
    """A Java 17 home: JAVA17_HOME, JAVA_HOME or what is on the PATH, whichever is a 17. Raises Fatal where none is."""
    on_path = shutil.which("java")
    candidates = [os.environ.get("JAVA17_HOME"), os.environ.get("JAVA_HOME")]
    candidates += [str(Path(on_path).resolve().parents[1])] if on_path else []
    candidates += sorted(str(each) for each in Path("/usr/lib/jvm").glob("*17*"))
    for candidate in filter(None, candidates):
        if java_version(Path(candidate)) == _JAVA:
            return Path(candidate)
    raise Fatal("no Java 17 was found: install the package `openjdk-17-jdk-headless`, or set JAVA17_HOME to one")


def java_version(home: Path) -> int | None:
    """The major version of the Java in `home`, or None where there is none."""
    java = home / "bin" / "java"
    if not java.exists():
        return None
    said = subprocess.run([str(java), "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', said)
    return int(found[1]) if found else None
