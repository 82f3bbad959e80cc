"""supervisord's programs for the raw copies of the user's data sets, for the container `jobs`.

`python -m penstock.stack.jobs_conf` prints them, and include/docker/jobs.conf includes what it printed. The local stack
declares the same agents in penstock.stack.servers.flume.
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock.core.errors import Fatal
from penstock.core.pipeline import Pipeline
from penstock.core.settings import raw_copy_port
from penstock.services import RAW_COPIES
from penstock.stack.servers.flume import RAW_COPY, raw_copy_environment

_ENTRYPOINT = "/opt/penstock/scripts/entrypoint.sh"
_LOGS = "/var/lib/penstock/logs"


def programs(agents: Mapping[str, Pipeline]) -> str:
    """The sections of supervisord.conf. Raises Fatal where two agents come to one port, which Airflow computes too."""
    ports = {agent: raw_copy_port(agent) for agent in agents}
    for agent, port in ports.items():
        if others := [each for each, taken in ports.items() if taken == port and each != agent]:
            raise Fatal(f"the agents {agent} and {', '.join(others)} come to one port, {port}: rename one")
    return "\n".join(_program(agent, pipeline, ports[agent]) for agent, pipeline in agents.items())


def _program(agent: str, pipeline: Pipeline, port: int) -> str:
    environment = ",".join(f'{name}="{value}"' for name, value in sorted(raw_copy_environment(pipeline).items()))
    return f"""[program:{agent}]
command={_ENTRYPOINT} flume {RAW_COPY} {port}
environment={environment.replace("%", "%%")}
autorestart=false
stopwaitsecs=60
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={_LOGS}/{agent}.log
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=2
"""


if __name__ == "__main__":
    print(programs(RAW_COPIES))  # noqa: T201 - its result
