"""How the OpenLineage provider's events leave Airflow: as those of our other programs do."""

from __future__ import annotations

from typing import Any

from openlineage.client.serde import Serde
from openlineage.client.transport.transport import Config, Transport

from penstock.observe.lineage_outlet import send


class OutletTransport(Transport):
    """Leaves events with the outlet of this process, as LINEAGE_FOLDER and OPENLINEAGE_URL say.

    Airflow's setting `[openlineage] transport` names it by its path.
    """

    kind = "penstock"
    config_class = Config

    def __init__(self, config: Config) -> None:
        self.config = config

    def emit(self, event: Any) -> None:
        """Leave one event. Never raises."""
        send(Serde.to_json(event))
