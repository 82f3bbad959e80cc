"""One DAG for each long-running service: it watches it, and restarts it where it is dead or gets nowhere."""

from __future__ import annotations

from airflow.sdk import DAG

from penstock.airflow.defaults import DAG_DEFAULTS, WATCH_TASK_DEFAULTS, every_hour
from penstock.airflow.sensors.service import ServiceSensor, action_form
from penstock.services import SERVICES, Service

_DOC = """**{title}.**

Each hourly run takes over the watch from the one before, so that a watch always runs the present code. It looks every
few seconds without holding a worker: a dead service is restarted at once, one that does no work for {limit:.0f} s while
some waits as well, with growing pauses in between. After {budget} the run fails, with the end of the service's log in
its own, and the next run tries again. Stopping Airflow stops no service, and starting it starts none twice.

How the service is, and why: the XCom `state` of the task `watch`, its log, and `penstock service status`.
To stop, start or restart it: *Trigger*, and choose the action; or `penstock service stop {name}`.

{runbook}
"""


def watching(service: Service) -> DAG:
    """The DAG that watches a service."""
    doc = _DOC.format(
        title=service.title,
        limit=service.stall_limit,
        budget=service.budget,
        name=service.name,
        runbook=service.runbook,
    )
    with DAG(
        service.dag_id,
        schedule=every_hour(service.name),
        doc_md=doc,
        params=action_form(),
        tags=["services"],
        default_args=WATCH_TASK_DEFAULTS,
        **DAG_DEFAULTS,
    ) as dag:
        ServiceSensor(task_id="watch", service=service.name)
    return dag


for each in SERVICES.values():
    globals()[each.dag_id] = watching(each)
