"""Gives the tests that import Airflow a home and a database of their own. Import it before Airflow.

Without it, Airflow would read and write the home folder of whoever runs the tests.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

from penstock.core.settings import PROJECT

if "airflow" in sys.modules:
    raise RuntimeError("Airflow was imported before tests.airflow_home, so it uses the user's own home")

HOME = Path(tempfile.mkdtemp(prefix="penstock-airflow-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)

ENVIRONMENT = {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME}/airflow.db",
}

for name in [name for name in os.environ if name.startswith(("AIRFLOW__", "AIRFLOW_CONN_", "AIRFLOW_VAR_"))]:
    del os.environ[name]
os.environ |= ENVIRONMENT
