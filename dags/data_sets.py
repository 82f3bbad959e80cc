"""One DAG for each data set that has no file of its own here: those in the folder of the user's data sets."""

from __future__ import annotations

from pathlib import Path

from penstock.airflow.data_sets import dag_of
from penstock.pipelines import DATA_SETS

for name, pipeline in DATA_SETS.pipelines.items():
    if not Path(__file__).with_name(DATA_SETS.file(name).name).exists():
        globals()[name] = dag_of(pipeline, (DATA_SETS.modules[name].__doc__ or "").strip())
