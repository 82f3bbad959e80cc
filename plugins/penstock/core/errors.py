"""Errors, named by what the caller should do next."""

from __future__ import annotations


class PenstockError(Exception):
    """Base of every error that Penstock raises on purpose; its message is one sentence for a person."""


class Retry(PenstockError):
    """Transient: the same call may succeed later.

    `retry_after` is the wait in seconds that the other side asked for, or None where it did not say.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Reject(PenstockError):
    """This one record breaks its contract: it goes to the dead letters, the rest goes on."""


class Fatal(PenstockError):
    """Stop: trying again gives the same answer. The message says what a person must do."""
