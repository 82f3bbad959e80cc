"""Prometheus, Alertmanager and the exporters: only where PENSTOCK_PROFILES names the profile `monitoring`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from penstock.core.settings import INCLUDE
from penstock.stack import ready
from penstock.stack.context import HOST, Context
from penstock.stack.go_artifact import GoArtifact
from penstock.stack.private_file import write_private
from penstock.stack.servers.apps import status_app
from penstock.stack.servers.base import JMX_AGENT, Server, run

_STAMP = "github.com/prometheus/common/version.Version="


def _built(name: str, package: str, version: str, folder: str, tags: tuple[str, ...] = ()) -> GoArtifact:
    module = INCLUDE / folder / "module"
    return GoArtifact(name, module, package, version, tags, asked="--version", stamp=_STAMP)


_PROMETHEUS = "github.com/prometheus/prometheus"
# Nothing is discovered here, and the clients of twenty clouds are most of the build.
_NO_DISCOVERY = ("remove_all_sd",)

PROMETHEUS_PROGRAM = _built("prometheus", f"{_PROMETHEUS}/cmd/prometheus", "3.16.0", "prometheus", _NO_DISCOVERY)
PROMTOOL = _built("promtool", f"{_PROMETHEUS}/cmd/promtool", "3.16.0", "prometheus", _NO_DISCOVERY)
ALERTMANAGER_PROGRAM = _built(
    "alertmanager", "github.com/prometheus/alertmanager/cmd/alertmanager", "0.31.1", "alertmanager"
)
AMTOOL = _built("amtool", "github.com/prometheus/alertmanager/cmd/amtool", "0.31.1", "alertmanager")
STATSD_EXPORTER_PROGRAM = _built("statsd_exporter", "github.com/prometheus/statsd_exporter", "0.31.0", "statsd")


def _wanted(context: Context) -> bool:
    return context.monitoring


def _data(context: Context, name: str) -> Path:
    return context.layout.data(name)


def _prometheus(context: Context) -> list[str]:
    settings = context.settings
    return [
        str(PROMETHEUS_PROGRAM.program(context.layout.cache)),
        f"--config.file={context.layout.conf('prometheus') / 'prometheus.yml'}",
        f"--storage.tsdb.path={context.layout.data('prometheus')}",
        f"--storage.tsdb.retention.time={settings.get('PROMETHEUS_RETENTION') or '7d'}",
        f"--storage.tsdb.retention.size={settings.get('PROMETHEUS_RETENTION_SIZE') or '1GB'}",
        f"--web.listen-address={HOST}:{context.ports['prometheus']}",
        "--web.enable-lifecycle",
    ]


def _check_prometheus(context: Context) -> None:
    """Refuse a configuration, or rules, that Prometheus would refuse, with its own words."""
    conf = context.layout.conf("prometheus") / "prometheus.yml"
    run([str(PROMTOOL.program(context.layout.cache)), "check", "config", str(conf)], f"checking {conf}")


PROMETHEUS = Server(
    name="prometheus",
    title="Prometheus 3.16",
    artifacts=(PROMETHEUS_PROGRAM, PROMTOOL, JMX_AGENT),
    folder="prometheus",
    ports=("prometheus",),
    command=_prometheus,
    prepare=_check_prometheus,
    ready=partial(ready.answers, port="prometheus", path="/-/ready"),
    wanted=_wanted,
)


def _alertmanager(context: Context) -> list[str]:
    return [
        str(ALERTMANAGER_PROGRAM.program(context.layout.cache)),
        f"--config.file={context.layout.conf('alertmanager') / 'alertmanager.yml'}",
        f"--storage.path={context.layout.data('alertmanager')}",
        f"--web.listen-address={HOST}:{context.ports['alertmanager']}",
        # One of a kind: it looks for no others.
        "--cluster.listen-address=",
    ]


def _write_webhook(context: Context) -> None:
    """The address may hold a secret, as those of chat services do."""
    write_private(
        context.layout.conf("alertmanager") / "webhook.url",
        context.settings.get("ALERT_WEBHOOK_URL") or "http://127.0.0.1/",
    )


ALERTMANAGER = Server(
    name="alertmanager",
    title="Alertmanager 0.31",
    artifacts=(ALERTMANAGER_PROGRAM, AMTOOL),
    folder="alertmanager",
    ports=("alertmanager",),
    command=_alertmanager,
    prepare=_write_webhook,
    ready=partial(ready.answers, port="alertmanager", path="/-/ready"),
    wanted=_wanted,
)


def _statsd_exporter(context: Context) -> list[str]:
    return [
        str(STATSD_EXPORTER_PROGRAM.program(context.layout.cache)),
        f"--statsd.mapping-config={context.layout.conf('statsd') / 'mapping.yml'}",
        f"--statsd.listen-udp={HOST}:{context.ports['statsd']}",
        "--statsd.listen-tcp=",
        f"--web.listen-address={HOST}:{context.ports['statsd_exporter']}",
    ]


STATSD_EXPORTER = Server(
    name="statsd-exporter",
    title="StatsD exporter 0.31",
    artifacts=(STATSD_EXPORTER_PROGRAM,),
    folder="statsd",
    ports=("statsd", "statsd_exporter"),
    command=_statsd_exporter,
    ready=partial(ready.answers, port="statsd_exporter", path="/-/ready"),
    wanted=_wanted,
)

PENSTOCK_EXPORTER = status_app("penstock_exporter", "penstock_exporter", ("postgres",), wanted=_wanted)

MONITORING: tuple[Server, ...] = (PROMETHEUS, ALERTMANAGER, STATSD_EXPORTER, PENSTOCK_EXPORTER)
