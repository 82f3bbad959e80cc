"""What scripts/entrypoint.sh's `init` makes in a real Airflow database, beside its tables."""

import os
import subprocess
import sys
import threading

import psutil
import psycopg
import pytest
import requests

pytestmark = pytest.mark.integration


@pytest.fixture
def user(stack, unique):
    """The name of a user that does not exist yet, and is gone afterwards."""
    yield unique
    with psycopg.connect(stack.context.postgres_url("airflow", "airflow", "AIRFLOW_DB_PASSWORD")) as connection:
        connection.execute(
            "delete from ab_user_role using ab_user where user_id = ab_user.id and username = %s", (unique,)
        )
        connection.execute("delete from ab_user where username = %s", (unique,))


@pytest.fixture
def init(stack, user):
    """Run init for the user with a password; return what it said."""

    def run(password: str) -> str:
        own = {"AIRFLOW_ADMIN_USER": user, "AIRFLOW_ADMIN_EMAIL": "", "AIRFLOW_ADMIN_PASSWORD": password}
        done = subprocess.run(
            [sys.executable, "-m", "penstock.airflow.init"],
            env={**os.environ, **stack.environment(), **own},
            capture_output=True,
            text=True,
            check=True,
        )
        assert password not in done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def may_log_in(stack, user):
    """Whether the user gets a token for a password."""

    def ask(password: str) -> bool:
        answer = requests.post(
            f"{stack.context.airflow_url}/auth/token", json={"username": user, "password": password}, timeout=30
        )
        assert answer.status_code in {201, 401}
        return answer.status_code == 201

    return ask


@pytest.fixture
def stored(stack, user):
    """The user's row and roles."""

    def read() -> list[tuple]:
        with psycopg.connect(stack.context.postgres_url("airflow", "airflow", "AIRFLOW_DB_PASSWORD")) as connection:
            return connection.execute(
                "select u.id, u.password, u.email, u.active, u.changed_on, r.name from ab_user u"
                " join ab_user_role ur on ur.user_id = u.id join ab_role r on r.id = ur.role_id where username = %s",
                (user,),
            ).fetchall()

    return read


def test_init_makes_its_user_once_and_follows_its_password(init, may_log_in, stored, user):
    assert f"made the user {user}" in init("first-password")
    assert may_log_in("first-password")
    (row,) = stored()
    assert row[2:4] == (f"{user}@localhost", True)
    assert row[-1] == "Admin"

    assert f"the user {user} is as it should be" in init("first-password")
    assert stored() == [row]

    assert f"changed the password of the user {user}" in init("second-password")
    assert may_log_in("second-password")
    assert not may_log_in("first-password")


def test_the_password_is_in_no_process_list(init):
    password, done, seen = "listed-password", threading.Event(), []

    def look() -> None:
        while not done.wait(0.05):
            seen.extend(password in " ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"]))

    watcher = threading.Thread(target=look)
    watcher.start()
    init(password)
    done.set()
    watcher.join()
    assert seen
    assert not any(seen)
