"""Java classes of ours that run inside a server."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

from penstock.core.errors import Fatal
from penstock.stack.artifacts import Artifact, MavenArtifact, Progress, java_home


@dataclass(frozen=True)
class JavaArtifact(Artifact):
    """The sources below `sources`, compiled `against` a server's jars into one jar; nothing where there are none."""

    name: str
    sources: Path
    against: MavenArtifact

    def lacking(self) -> str | None:
        """The JDK's compiler."""
        if not self._files() or (java_home() / "bin" / "javac").exists():
            return None
        return f"{java_home()} has no javac, which {self.name} needs: install the package `openjdk-17-jdk-headless`"

    def _files(self) -> list[Path]:
        return sorted(self.sources.rglob("*.java"))

    def _definition(self) -> bytes:
        contents = [
            (str(path.relative_to(self.sources)), hashlib.sha256(path.read_bytes()).hexdigest())
            for path in self._files()
        ]
        return f"{self.against.key} {contents}".encode()

    def _make(self, into: Path, cache: Path, progress: Progress) -> None:
        files = self._files()
        if not files:
            return
        progress(f"compiling {len(files)} classes")
        classes = into / "classes"
        javac = str(java_home() / "bin" / "javac")
        # Annotation processors of the server's jars are not for our sources.
        options = ["-proc:none", "-encoding", "UTF-8", "-d", str(classes), "-cp", f"{self.against.path(cache)}/*"]
        done = subprocess.run([javac, *options, *map(str, files)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Fatal(f"javac could not compile {self.sources}:\n{done.stderr.strip()}")
        with zipfile.ZipFile(into / f"{self.name}.jar", "w") as jar:
            for path in sorted(classes.rglob("*.class")):
                jar.write(path, path.relative_to(classes))
        shutil.rmtree(classes)
