"""Who is at the command line, and where the servers are that it means."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping

from penstock.stack.context import Context


def addresses() -> Mapping[str, str]:
    """Where the servers are: what this process was told, as in a container, else this checkout's local stack."""
    return os.environ if os.environ.get("LEDGER_URL") else Context.load().environment()


def person() -> str:
    """Who is at the command line."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in a container
        return "a person"
