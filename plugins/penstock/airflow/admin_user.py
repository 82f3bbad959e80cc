"""The admin user of the Airflow UI, made from the environment.

`airflow users create` takes a password only on its command line, where every user of the machine can read it, or from a
terminal.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
from airflow.utils.providers_configuration_loader import providers_configuration_loaded
from werkzeug.security import check_password_hash

from penstock.core.errors import Fatal

_ROLE = "Admin"


@providers_configuration_loaded
def ensure_admin_user(environment: Mapping[str, str] = os.environ) -> str:
    """Make the user AIRFLOW_ADMIN_USER, or give it the present password; return what was done, in a few words.

    Idempotent: a user with this name and password is left as it is, with the roles it has by now. Raises Fatal where
    name or password is not set, and where Airflow refuses them.
    """
    name, password = (_required(environment, key) for key in ("AIRFLOW_ADMIN_USER", "AIRFLOW_ADMIN_PASSWORD"))
    email = environment.get("AIRFLOW_ADMIN_EMAIL") or f"{name}@localhost"
    with get_application_builder() as builder:
        security = builder.sm
        user = security.find_user(username=name)
        if user is None:
            if not security.add_user(name, "Penstock", "Admin", email, security.find_role(_ROLE), password):
                raise Fatal(f"Airflow refuses the user {name}: does another one have the address {email}?")
            return f"made the user {name}"
        if user.password and check_password_hash(user.password, password):
            return f"the user {name} is as it should be"
        if not security.reset_password(user.id, password):
            raise Fatal(f"Airflow refuses the new password of the user {name}: the lines above say why")
        return f"changed the password of the user {name}"


def _required(environment: Mapping[str, str], name: str) -> str:
    if value := environment.get(name):
        return value
    raise Fatal(f"{name} is not set: run `make env`, which generates what .env lacks")
