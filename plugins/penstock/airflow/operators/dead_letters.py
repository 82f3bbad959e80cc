"""Replays and drops dead letters, where a run is asked to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from penstock.airflow.errors import airflow_errors
from penstock.airflow.letters_form import LettersAsked
from penstock.airflow.recording import run_of
from penstock.core.errors import Fatal

if TYPE_CHECKING:
    from airflow.sdk import Context

    from penstock.airflow.replaying import Outcome

OUTCOME = "outcome"
"""The XCom of what became of the letters; it is there, too, where the task fails because some were refused."""

_MOST_NAMED = 20
_MOST_SHOWN = 200


class HourlyWork(BaseOperator):
    """What `maintenance` does every hour, and not in a run for dead letters, for which somebody waits."""

    def pre_execute(self, context: Any) -> None:
        """Skip the task where the run's form names letters."""
        super().pre_execute(context)
        if not LettersAsked.of(context["params"]).nothing:
            raise AirflowSkipException("this run is for dead letters")


class ReplayDeadLettersOperator(BaseOperator):
    """Replays the letters that the run's form names, see `penstock.airflow.replaying`; none: it is skipped.

    Args:
        kwargs: Those of BaseOperator.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Return what became of the letters.

        Raises TryAgain where a server is away, and AirflowFailException where letters were refused, which the XCom
        `outcome` names, or where a batch is not whole; the others are replayed.
        """
        from penstock.airflow.replaying import replay
        from penstock.ledger.reconcile import WHOLE

        with airflow_errors():
            asked = LettersAsked.of(context["params"])
            if not asked.replay:
                raise AirflowSkipException("no letter is to be replayed")
            outcome = replay(asked.replay, asked.mended, run_of(context), _by(asked, context))
            found = _said(context, outcome)
            self.log.info("replayed %d of %d letters", len(outcome.replayed), len(asked.replay))
            _refuse(outcome)
            if gaps := [f"{batch}: {said}" for batch, said in outcome.verdicts.items() if said != WHOLE]:
                raise Fatal(
                    f"the letters were replayed, and their batches are not whole. {'; '.join(gaps[:_MOST_NAMED])}"
                )
            return found


class DropDeadLettersOperator(BaseOperator):
    """Resolves the letters that the run's form names, which nobody needs; none: it is skipped.

    Args:
        kwargs: Those of BaseOperator.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Return what became of the letters. Raises as the replay does."""
        from penstock.airflow.replaying import drop

        with airflow_errors():
            asked = LettersAsked.of(context["params"])
            if not asked.drop:
                raise AirflowSkipException("no letter is to be dropped")
            outcome = drop(asked.drop, run_of(context), _by(asked, context), asked.why)
            found = _said(context, outcome)
            self.log.info("dropped %d of %d letters", len(outcome.dropped), len(asked.drop))
            _refuse(outcome)
            return found


def _by(asked: LettersAsked, context: Context) -> str:
    return asked.by or context["dag_run"].triggering_user_name or "a person"


def _said(context: Context, outcome: Outcome) -> dict[str, Any]:
    found = outcome.to_json(_MOST_SHOWN)
    context["ti"].xcom_push(OUTCOME, found)
    return found


def _refuse(outcome: Outcome) -> None:
    if refused := list(outcome.refused.values()):
        more = f"; and {len(refused) - _MOST_NAMED} more" if len(refused) > _MOST_NAMED else ""
        raise Fatal(f"refused: {'; '.join(refused[:_MOST_NAMED])}{more}")
