"""How a task writes its attempt at a hop into the ledger."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from penstock.core.batch import Batch
from penstock.core.errors import PenstockError
from penstock.core.settings import ledger_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from penstock.ledger.store import Hop, Ledger, Run

log = logging.getLogger(__name__)


def ledger() -> Ledger:
    """The ledger, to be opened for a few statements."""
    from penstock.ledger.store import Ledger

    return Ledger(ledger_url())


def run_of(context: Context) -> Run:
    """Who makes the attempt: this task's run and try."""
    from penstock.ledger.store import Run

    instance = context["ti"]
    return Run(f"{instance.dag_id}/{instance.run_id}", instance.try_number)


@contextmanager
def attempt(hop: Hop, run: Run, as_of: Mapping[Batch, datetime]) -> Iterator[None]:
    """Write down that attempts for these batches begin, and the error that ends them, if one does.

    The caller writes what they counted. Raises Retry where the ledger is away at the start; where it is away at the
    end, the error that ends the attempt matters more and is the one that is raised.
    """
    with ledger() as open_ledger:
        for batch, at in as_of.items():
            open_ledger.started(batch, hop, run, as_of=at)
    try:
        yield
    except BaseException as error:
        # Only our own messages are known to hold no secret.
        said = str(error) if isinstance(error, PenstockError) else f"{type(error).__name__}, see the task's log"
        try:
            with ledger() as open_ledger:
                for batch in as_of:
                    open_ledger.failed(batch, hop, said, run)
        except PenstockError as unwritten:
            log.warning("The ledger was not told of this failure: %s", unwritten)
        raise
