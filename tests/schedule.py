"""Keeping clear of the runs that Airflow schedules, for tests that post records and land them by runs of their own."""

from __future__ import annotations

import time

QUARTER_SECONDS = 900
_BEFORE, _AFTER = 60, 30


def clear_of_quarter_hours() -> None:
    """Return at a moment at which no run of a quarter of an hour is about to claim what is posted next."""
    past = time.time() % QUARTER_SECONDS
    if past < _AFTER:
        time.sleep(_AFTER - past)
    elif past > QUARTER_SECONDS - _BEFORE:
        time.sleep(QUARTER_SECONDS - past + _AFTER)
