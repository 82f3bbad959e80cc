"""Programs in a process of their own: what a module loads, and what it takes from the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from penstock.core import settings


def run_python(code: str, **environment: str) -> str:
    """What `code` prints in a fresh interpreter."""
    path = os.pathsep.join([str(settings.PROJECT / "plugins"), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        env=os.environ | {"PYTHONPATH": path, **environment},
    ).stdout
