"""Docker Compose without an engine: its `config` resolves and checks the file, and starts nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from penstock.core.settings import PROJECT
from penstock.stack.env import read_env, write_env

PROFILES = ("replay", "celery", "scale", "monitoring")

Compose = Callable[..., subprocess.CompletedProcess[str]]


def _compose_binary() -> Path:
    # Not the package's own command, which hides the exit code.
    package = importlib.util.find_spec("compose")
    assert package
    assert package.origin
    return Path(package.origin).with_name("docker-compose")


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    """A .env as `make env` writes it."""
    path = tmp_path / ".env"
    write_env(path, PROJECT / ".env.example")
    return path


@pytest.fixture
def change_env(env_file: Path) -> Callable[..., None]:
    """Set keys of the .env: change_env(NAME="value")."""

    def change(**values: str) -> None:
        changed = read_env(env_file) | values
        env_file.write_text("".join(f"{name}={value}\n" for name, value in changed.items()))

    return change


@pytest.fixture
def compose(env_file: Path) -> Compose:
    """Run docker compose on the project's file: compose(*arguments)."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        # Nothing exported on this machine stands in for what the .env lacks.
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return subprocess.run(
            [_compose_binary(), "--project-directory", PROJECT, "--env-file", env_file, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )

    return run


@pytest.fixture
def resolve(compose: Compose) -> Callable[[], Mapping[str, Any]]:
    """{service: its definition} with every profile, every variable filled in."""

    def services() -> Mapping[str, Any]:
        profiles = [word for profile in PROFILES for word in ("--profile", profile)]
        done = compose(*profiles, "config", "--format", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["services"]

    return services


@pytest.fixture
def services(resolve: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """The services of an unchanged .env."""
    return resolve()
