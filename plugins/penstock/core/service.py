"""What is said of a long-running service: what a person wants of it, and how it is."""

from __future__ import annotations

from enum import StrEnum


class Desired(StrEnum):
    """What a person wants. A stopped service stays stopped until a person starts it."""

    STARTED = "started"
    STOPPED = "stopped"


class State(StrEnum):
    """How a service is.

    TROUBLED runs, but something is not as it should be and may pass. STALLED runs without getting anywhere. UNKNOWN
    means that it could not be looked at.
    """

    STARTING = "starting"
    HEALTHY = "healthy"
    TROUBLED = "troubled"
    STALLED = "stalled"
    DEAD = "dead"
    STOPPED = "stopped"
    UNKNOWN = "unknown"
