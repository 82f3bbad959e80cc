"""The one Airflow plugin of Penstock."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin


class PenstockPlugin(AirflowPlugin):
    """Named in `airflow plugins`, so that one can see there whether Penstock was found."""

    name = "penstock"
