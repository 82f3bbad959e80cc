"""Proves with counts that an interval of a stream is whole."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from penstock.airflow.assets import stream_assets
from penstock.airflow.errors import airflow_errors
from penstock.airflow.intervals import data_interval
from penstock.airflow.lineage import Carried, TellsLineage
from penstock.core.batch import Interval
from penstock.core.errors import Fatal
from penstock.core.stream import Stream

if TYPE_CHECKING:
    from airflow.sdk import Context

    from penstock.observe.lineage import Hop, Places

_PATIENCE_SECONDS = 240.0


class ReconcileStreamOperator(TellsLineage, BaseOperator):
    """Counts the run's data interval anew at each hop of a stream, see `penstock.ledger.stream_verdicts`.

    Success emits the Assets of the stream's aggregate, with the counts as their extra.

    Args:
        stream: What is counted.
        kwargs: Those of BaseOperator.
    """

    template_fields: Sequence[str] = ()

    def __init__(self, *, stream: Stream, **kwargs: Any) -> None:
        kwargs.setdefault("outlets", stream_assets(stream))
        super().__init__(**kwargs)
        self.stream = stream

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the counts.

        Raises AirflowFailException, naming the hop and the minutes, where something is missing or double; TryAgain
        where a server is away.
        """
        from penstock.ledger.stream_verdicts import judge

        with airflow_errors():
            interval = data_interval(context, self.stream.schedule)
            row = judge(self.stream, interval, os.environ, _PATIENCE_SECONDS, self.log.info)
            self.log.info("%s", row)
            if not row.whole:
                raise Fatal(f"{self.stream} {row.interval_start:%Y-%m-%d %H:%M} is not whole: {row.verdict}")
            counts = {name: value for name, value in row.to_json().items() if name != "judged"}
            self.carried = _carried(self.stream, interval, counts)
            for asset in self.outlets:
                context["outlet_events"][asset].extra = counts
            return counts

    def hop(self, places: Places) -> Hop:
        """What is held against each other. Nothing is written."""
        from penstock.observe.lineage import judges_stream

        return judges_stream(self.stream, places)


def _carried(stream: Stream, interval: Interval, counts: Mapping[str, Any]) -> Carried:
    from penstock.observe.lineage_events import BatchCounts

    numbers = {name: value for name, value in counts.items() if type(value) is int}
    return Carried((BatchCounts(f"{stream}:{interval}", interval, numbers),))
