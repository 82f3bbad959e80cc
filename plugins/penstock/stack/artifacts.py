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


@dataclass(frozen=True)
class MavenArtifact:
    """What `pom` names, with all it depends on, as a folder of the cache.

    The folder is keyed by the pom's content, so a raised version is fetched anew and two checkouts with the same pom
    share one copy. With `unpack`, the archive that the pom names is unpacked there instead of copied.
    """

    name: str
    pom: Path
    unpack: bool = False

    @property
    def key(self) -> str:
        """`NAME-DIGEST`: the same for the same definition."""
        return f"{self.name}-{hashlib.sha256(self.pom.read_bytes() + _PLUGIN.encode()).hexdigest()[:12]}"

    def path(self, cache: Path) -> Path:
        """Where the artifact is, or will be."""
        return cache / "servers" / self.key

    def is_there(self, cache: Path) -> bool:
        """A folder appears under its name only when it is complete."""
        return self.path(cache).is_dir()

    def ensure(self, cache: Path, progress: Progress) -> Path:
        """Fetch the artifact unless it is there. Raises Fatal with Maven's own words where that fails."""
        target = self.path(cache)
        # One fetch at a time: Maven's local repository is not made for two writers.
        with _locked(cache / "fetch.lock"):
            if not target.is_dir():
                staging = target.with_name(f".{target.name}.partial")
                shutil.rmtree(staging, ignore_errors=True)
                staging.mkdir(parents=True)
                self._fetch(staging, progress)
                if self.unpack:
                    self._unpack(staging)
                staging.rename(target)
        return target

    def _fetch(self, into: Path, progress: Progress) -> None:
        if not shutil.which("mvn"):
            raise Fatal("Maven is not installed: install the package `maven` and run again")
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
            shutil.rmtree(into, ignore_errors=True)
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
