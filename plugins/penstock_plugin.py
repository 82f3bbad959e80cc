"""The one Airflow plugin of Penstock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    """The page's ASGI app. Every process of Airflow loads this file, and only the API server needs the app."""
    from penstock.airflow.page.app import app

    await app(scope, receive, send)


class PenstockPlugin(AirflowPlugin):
    """Puts the page into Airflow's navigation, and a run's batches beside its tasks."""

    name = "penstock"
    fastapi_apps = [{"name": "Penstock", "app": page, "url_prefix": "/penstock"}]  # noqa: RUF012 - as Airflow has it
    # Relative to Airflow's own address, which may have a path.
    external_views = [  # noqa: RUF012 - as Airflow has it
        {
            "name": "Penstock",
            "href": "penstock/",
            "destination": "nav",
            "url_route": "penstock",
            "nav_top_level": True,
        },
        {
            "name": "Where did my rows go",
            "href": "penstock/run?dag_id={DAG_ID}&run_id={RUN_ID}",
            "destination": "dag_run",
            "url_route": "penstock-run",
        },
    ]
