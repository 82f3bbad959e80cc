"""No DAG: an import error that Airflow shows where a data set of the user's is broken, and why.

Not in data_sets.py: Airflow schedules no DAG of a file with an error, and the other data sets go on.
"""

from __future__ import annotations

from penstock.core.errors import Fatal
from penstock.pipelines import DATA_SETS

if DATA_SETS.broken:
    raise Fatal("; ".join(map(str, DATA_SETS.broken)))
