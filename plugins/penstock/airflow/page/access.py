"""Who may see what: Airflow's own login, and Airflow's own rules about DAGs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import Depends

from penstock.core.data_sets import DataSets
from penstock.core.pipeline import Pipeline
from penstock.core.stream import Stream
from penstock.pipelines import find_data_sets
from penstock.services import services_now
from penstock.services.service import Service

MAINTENANCE = "maintenance"
"""The DAG whose runs replay and drop dead letters."""

may_read_dags = Depends(requires_access_dag("GET"))
"""401 for who is not logged in, 403 for who may read no DAG, or not the one that the query's `dag_id` names."""


@dataclass(frozen=True)
class Sight:
    """What a person may see: a data set is seen by who may read the DAG of its name, a service by who may its watch."""

    dag_ids: frozenset[str]
    may_replay: bool = False
    _found: DataSets = field(default_factory=find_data_sets)

    @property
    def pipelines(self) -> list[Pipeline]:
        """In the order in which they are shown."""
        return [each for each in self._found.pipelines.values() if each.name in self.dag_ids]

    @property
    def streams(self) -> list[Stream]:
        """In the order in which they are shown."""
        return [each for each in self._found.streams.values() if each.name in self.dag_ids]

    @property
    def services(self) -> dict[str, Service]:
        """{supervisord program: service}."""
        return {name: each for name, each in services_now().items() if each.dag_id in self.dag_ids}

    @property
    def data_sets(self) -> frozenset[str]:
        """The names of the pipelines and the streams."""
        return frozenset(self.dag_ids & {*self._found.pipelines, *self._found.streams})


def sight(user: GetUserDep) -> Sight:
    """What the person who asks may see."""
    manager = get_auth_manager()
    may_replay = manager.is_authorized_dag(
        method="POST", access_entity=DagAccessEntity.RUN, details=DagDetails(id=MAINTENANCE), user=user
    )
    return Sight(frozenset(manager.get_authorized_dag_ids(user=user)), may_replay)


SightDep = Annotated[Sight, Depends(sight)]
