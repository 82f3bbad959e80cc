"""What a person does with a service: the wish is written down first, so that the watch keeps to it."""

from __future__ import annotations

from penstock.core.service import Desired, State
from penstock.ledger.services import Services
from penstock.services.supervisor import Supervisor

PATIENCE_SECONDS = 120.0
"""How long a caller should let supervisord take for a stop: a program has its own time before it is killed."""


def stop(name: str, supervisor: Supervisor, ledger: Services, by: str) -> None:
    """Stop the service, and keep it stopped until somebody starts it. Returns once it has ended."""
    ledger.desire(name, Desired.STOPPED, by)
    supervisor.stop(name, wait=True)
    ledger.seen(name, State.STOPPED, f"stopped by {by}", None)


def want(name: str, ledger: Services, by: str) -> None:
    """Let the watch start the service, or go on restarting it, with its whole restart budget."""
    ledger.desire(name, Desired.STARTED, by)
    ledger.seen(name, State.STARTING, f"started by {by}", None)


def start(name: str, supervisor: Supervisor, ledger: Services, by: str) -> None:
    """Start the service unless it runs, with its whole restart budget. Returns before it is ready."""
    want(name, ledger, by)
    supervisor.start(name)


def restart(name: str, supervisor: Supervisor, ledger: Services, by: str) -> None:
    """Stop and start the service, with its whole restart budget. Returns before it is ready."""
    want(name, ledger, by)
    supervisor.stop(name, wait=True)
    supervisor.start(name)
