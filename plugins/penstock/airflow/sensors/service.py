"""Watching a service, and what a person may do with it in the UI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, Param

from penstock.airflow.errors import airflow_errors
from penstock.airflow.lineage import TellsLineage
from penstock.airflow.triggers import ServiceTrigger
from penstock.core import settings
from penstock.core.errors import Fatal
from penstock.services import SERVICES

if TYPE_CHECKING:
    from airflow.sdk import Context

    from penstock.observe.lineage import Hop, Places


class Action(StrEnum):
    """What a run is for."""

    WATCH = "watch"
    START = "start"
    RESTART = "restart"
    STOP = "stop"


def action_form() -> dict[str, Param]:
    """The form of a service's DAG."""
    return {
        "action": Param(
            Action.WATCH.value,
            title="Action",
            description="`stop` holds until somebody chooses `start` or `restart`, whatever happens in between",
            type="string",
            enum=[action.value for action in Action],
        )
    }


class ServiceSensor(TellsLineage, BaseSensorOperator):
    """Watches a service without a worker slot: see `ServiceTrigger`.

    Its run takes the watch over from an earlier one. With the action `stop` it only stops the service and ends; the
    watch that is under way goes on, and keeps it stopped.

    Args:
        service: The name of the service.
        action: One of `Action`, or a template of it.
        kwargs: Those of BaseOperator.
    """

    template_fields: Sequence[str] = ("service", "action")

    def __init__(self, *, service: str, action: str = "{{ params.action }}", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if service not in SERVICES:
            raise Fatal(f"there is no service {service!r}: the services are {', '.join(SERVICES)}")
        self.service = service
        self.action = action

    def execute(self, context: Context) -> str | None:
        """Do what was asked for and defer to the watch.

        Raises TryAgain where supervisord or the ledger does not answer, AirflowFailException where they refuse.
        """
        from penstock.ledger.services import Services

        instance = context["ti"]
        watcher = f"{instance.dag_id}/{instance.run_id}/{instance.try_number}"
        with airflow_errors(), closing(Services(settings.ledger_url())) as ledger:
            action = self._action()
            self._apply(action, ledger, by=_person(context))
            if action is Action.STOP:
                return f"{self.service} is stopped, until somebody starts it"
            ledger.take_watch(self.service, watcher)
        self.defer(trigger=ServiceTrigger(self.service, watcher), method_name="watched")
        return None

    def hop(self, places: Places) -> Hop | None:
        """What the service carries, unless it tells that itself: no Flume agent and no collector can."""
        from penstock.observe.lineage_services import service, tells_itself

        return None if tells_itself(self.service) else service(self.service, places)

    def _action(self) -> Action:
        try:
            return Action(self.action)
        except ValueError:
            raise Fatal(f"the action {self.action!r} is none of {', '.join(Action)}") from None

    def _apply(self, action: Action, ledger: Any, by: str) -> None:
        from penstock.services import control, supervisor

        if action is Action.WATCH:
            return
        client = supervisor.Supervisor(settings.Supervisor.from_env(), timeout=control.PATIENCE_SECONDS)
        match action:
            case Action.STOP:
                control.stop(self.service, client, ledger, by)
            case Action.START:
                control.start(self.service, client, ledger, by)
            case Action.RESTART:
                control.restart(self.service, client, ledger, by)
        self.log.info("%s: %s, by %s", self.service, action, by)

    def watched(self, context: Context, event: Mapping[str, Any]) -> str:  # noqa: ARG002 - Airflow's signature
        """Say why the watch is over. Raises AirflowFailException where the service is in trouble."""
        from penstock.services.watch import End

        for line in event["news"]:
            self.log.info("%s", line)
        with airflow_errors():
            if event["end"] not in {End.HANDED_OVER, End.EXPIRED}:
                raise Fatal(f"{self.service} is {event['state']}: {event['reason']}. {SERVICES[self.service].runbook}")
        return f"{event['state']}; {event['reason']}"


def _person(context: Context) -> str:
    """Who started the run, where Airflow says so."""
    return getattr(context["dag_run"], "triggering_user_name", None) or "a person"
