"""What a server of the local stack is: what it is made of, how it starts, when it is ready, what it needs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from penstock.core.errors import Fatal
from penstock.core.settings import INCLUDE
from penstock.services import PRICE_CONSUMERS, SERVICES
from penstock.stack.artifacts import Artifact, MavenArtifact, java_home
from penstock.stack.context import HOST, Context
from penstock.stack.supervisor import INSTANCE, Program
from penstock.stack.templates import render_folder

Environment = Mapping[str, str]


def nothing(_: Context) -> None:
    """The default of a step that a server does not have."""


def _no_environment(_: Context) -> Environment:
    return {}


@dataclass(frozen=True)
class Server:
    """One supervised server.

    `templates` of include/<folder>/ are rendered into its conf folder before each start; `prepare` runs before the
    process, `provision` once it is ready, both idempotent. `command` and `environment` are asked for after rendering.
    `metrics_port` is where its JMX agent listens, in instances that are monitored.
    """

    name: str
    title: str
    command: Callable[[Context], list[str]]
    ready: Callable[[Context], str | None]
    needs: tuple[str, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    folder: str = ""
    ports: tuple[str, ...] = ()
    metrics_port: str = ""
    environment: Callable[[Context], Environment] = _no_environment
    prepare: Callable[[Context], None] = nothing
    provision: Callable[[Context], None] = nothing
    wanted: Callable[[Context], bool] = field(default=lambda _: True)
    ready_seconds: int = 240
    stop_seconds: int = 30

    @property
    def service(self) -> bool:
        """Whether Airflow watches it and starts it again where it dies, with back-off and a budget: not supervisord."""
        return self.name in SERVICES

    def listens(self, context: Context) -> tuple[str, ...]:
        """The names of the ports that it has in this instance."""
        return (*self.ports, self.metrics_port) if self.metrics_port and context.monitoring else self.ports

    def program(self, context: Context) -> Program:
        """What supervisord is told."""
        environment = {**context.environment(), **self.environment(context), INSTANCE: str(context.layout.var)}
        return Program(
            name=self.name,
            command=tuple(self.command(context)),
            environment=environment,
            log=context.layout.log(self.name),
            folder=context.layout.var,
            stop_seconds=self.stop_seconds,
            restart=not self.service,
        )


def render(server: Server, context: Context) -> None:
    """Write the server's configuration for this instance."""
    if not server.folder:
        return
    conf = context.layout.conf(server.folder)
    values = {
        "port": context.ports,
        "data": context.layout.data(server.folder),
        "conf": conf,
        "logs": context.layout.logs,
        "heap": heap_size(context, server.folder),
        "env": context.environment(),
        "settings": context.settings,
        "include": INCLUDE,
        "price_consumers": PRICE_CONSUMERS,
    }
    render_folder(server.folder, conf, values)


_HEAPS = {"kafka": "512m", "cassandra": "1G", "apicurio": "256m", "hadoop": "256m", "flume": "192m"}


def heap_size(context: Context, server: str) -> str:
    """The heap of a server's JVM in Java's notation, or nothing where it has none."""
    return context.settings.get(f"PENSTOCK_HEAP_{server.upper()}") or _HEAPS.get(server, "")


def heap(context: Context, server: str) -> list[str]:
    """The JVM's options for that heap, taken whole at once."""
    size = heap_size(context, server)
    return [f"-Xms{size}", f"-Xmx{size}"]


JMX_AGENT = MavenArtifact("jmx", INCLUDE / "jmx" / "pom.xml")


def jmx_agent(context: Context, folder: str, port: str) -> list[str]:
    """With which option a JVM serves its metrics by the rules of include/FOLDER/jmx.yml; none where not monitored."""
    if not context.monitoring:
        return []
    jars = JMX_AGENT.path(context.layout.cache)
    agent = next(jars.glob("jmx_prometheus_javaagent-*.jar"), None)
    if agent is None:
        raise Fatal(f"the JMX agent in {jars} is incomplete (no jar): delete that folder and run again")
    return [f"-javaagent:{agent}={HOST}:{context.ports[port]}:{context.layout.conf(folder) / 'jmx.yml'}"]


def java() -> str:
    """The Java 17 that runs the servers."""
    return str(java_home() / "bin" / "java")


def python(*words: str) -> list[str]:
    """A command of the Python that runs this."""
    return [sys.executable, *words]


def run(command: Iterable[str], what: str, environment: Environment | None = None) -> str:
    """Run a program to its end and return what it printed. Raises Fatal with the last thing it said."""
    done = subprocess.run(list(command), capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        raise Fatal(f"{what} failed: {said[-1]}")
    return done.stdout
