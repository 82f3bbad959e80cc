"""The OpenAPI page, from files on this machine: FastAPI's own would fetch them from the internet."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse

from penstock.core.errors import Fatal

_ASSETS = {
    "swagger-ui-bundle.js": "static/appbuilder/js/swagger-ui-bundle.js",
    "swagger-ui.css": "static/appbuilder/css/swagger/swagger-ui.css",
}
"""Swagger UI, as Airflow's FAB provider brings it along."""


def add_docs(app: FastAPI) -> None:
    """Add `/docs`. Raises Fatal where Swagger UI is not installed."""
    assets = _assets()

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        script, style = (f"docs/{name}" for name in _ASSETS)
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url=script,
            swagger_css_url=style,
            swagger_favicon_url="data:,",
        )

    for name, path in assets.items():
        _serve(app, f"/docs/{name}", path)


def _serve(app: FastAPI, address: str, path: Path) -> None:
    @app.get(address, include_in_schema=False)
    def asset() -> FileResponse:
        return FileResponse(path)


def _assets() -> dict[str, Path]:
    spec = find_spec("flask_appbuilder")
    folders = [Path(each) for each in (spec.submodule_search_locations or [])] if spec else []
    found = {name: folder / path for folder in folders for name, path in _ASSETS.items() if (folder / path).is_file()}
    if found.keys() != _ASSETS.keys():
        raise Fatal("Swagger UI is not installed: run `make setup`, which installs apache-airflow-providers-fab")
    return found
