import re
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.core.settings import INCLUDE, PROJECT

DOCKERFILE = (PROJECT / "Dockerfile").read_text()
SCRIPTS = sorted((PROJECT / "scripts").glob("*.sh"))


def tool(name: str) -> Path:
    """A program of the environment that runs the tests."""
    return Path(sys.executable).parent / name


def _locked(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^ ;\\]+)", path.read_text(), re.MULTILINE))


def test_hadolint_finds_nothing():
    done = subprocess.run([tool("hadolint"), PROJECT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_shellcheck_finds_nothing():
    done = subprocess.run([tool("shellcheck"), *SCRIPTS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_script_can_be_run():
    assert SCRIPTS
    assert [path.name for path in SCRIPTS if not path.stat().st_mode & 0o111] == []


def test_every_base_image_is_pinned_to_a_full_version():
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert bases
    assert [base for base in bases if not re.search(r":\d+\.\d+\.\d+", base)] == []


def test_the_image_does_not_run_as_root():
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)[-1] == "${AIRFLOW_UID}:0"


def test_only_what_the_image_needs_is_sent_to_the_builder():
    copied = {
        source.partition("/")[0]
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    rules = (PROJECT / ".dockerignore").read_text().splitlines()
    first = next(rule for rule in rules if rule and not rule.startswith("#"))
    allowed = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert first == "*"
    assert copied == allowed


def test_the_executors_lock_adds_to_the_lock_and_changes_nothing_in_it():
    base, added = _locked(PROJECT / "requirements.lock"), _locked(INCLUDE / "docker" / "executors.lock")
    assert base.keys() & added.keys() == set()
    assert {"apache-airflow-providers-celery", "apache-airflow-providers-cncf-kubernetes", "redis"} <= added.keys()


@pytest.mark.parametrize("path", [PROJECT / "requirements.lock", INCLUDE / "docker" / "executors.lock"])
def test_every_locked_package_has_a_hash(path):
    entries = re.split(r"^(?=[^\s#])", path.read_text(), flags=re.MULTILINE)[1:]
    assert len(entries) >= len(_locked(path)) > 0
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
