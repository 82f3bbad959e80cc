"""What Airflow needs beside its tables: the admin user, the pools, the Variables that people edit in the UI."""

from __future__ import annotations

import sys

from airflow.models.pool import Pool
from airflow.models.variable import Variable

from penstock.airflow.admin_user import ensure_admin_user
from penstock.airflow.params import VARIABLE_DEFAULTS
from penstock.core.errors import PenstockError
from penstock.core.pools import POOLS


def ensure_pools() -> None:
    """Make the pools that the cluster policy assigns; slots that a person changed stay as they are."""
    for pool in POOLS:
        if Pool.get_pool(pool.name) is None:
            Pool.create_or_update_pool(
                name=pool.name, slots=pool.slots, description=pool.description, include_deferred=False
            )


def ensure_variables() -> None:
    """Show the Variables with their defaults in the UI; what a person set stays as it is."""
    for name, default in VARIABLE_DEFAULTS.items():
        if Variable.get(name, default_var=None) is None:
            Variable.set(name, default)


if __name__ == "__main__":
    try:
        print(ensure_admin_user())  # noqa: T201 - the one line of a command
    except PenstockError as error:
        sys.exit(str(error))
    ensure_pools()
    ensure_variables()
