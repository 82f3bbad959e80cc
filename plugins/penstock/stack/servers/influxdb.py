"""InfluxDB 2: the measurements."""

from __future__ import annotations

from penstock.core.settings import INCLUDE
from penstock.stack import ready
from penstock.stack.context import HOST, Context
from penstock.stack.go_artifact import GoArtifact
from penstock.stack.servers.base import Server

INFLUXD = GoArtifact(
    name="influxdb",
    module=INCLUDE / "influxdb",
    package="github.com/influxdata/influxdb/v2/cmd/influxd",
    version="2.7.12",
    tags=("sqlite_foreign_keys", "sqlite_json", "noasm"),
    pkg_config="github.com/influxdata/pkg-config",
)


def _command(context: Context) -> list[str]:
    data = context.layout.data("influxdb")
    return [
        str(INFLUXD.program(context.layout.cache)),
        f"--http-bind-address={HOST}:{context.ports['influxdb']}",
        f"--bolt-path={data / 'influxd.bolt'}",
        f"--sqlite-path={data / 'influxd.sqlite'}",
        f"--engine-path={data / 'engine'}",
        # With its default of 25 MB, it writes a landing's points to disk twice as often, and takes a fifth more CPU.
        f"--storage-cache-snapshot-memory-size={256 << 20}",
        "--reporting-disabled",
    ]


def _prepare(context: Context) -> None:
    context.layout.data("influxdb").mkdir(parents=True, exist_ok=True, mode=0o700)


INFLUXDB = Server(
    name="influxdb",
    title="InfluxDB 2.7",
    artifacts=(INFLUXD,),
    ports=("influxdb",),
    command=_command,
    prepare=_prepare,
    ready=ready.influxdb,
    stop_seconds=60,
)
