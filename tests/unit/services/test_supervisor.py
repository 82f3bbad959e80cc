from __future__ import annotations

import pytest

from penstock.services.supervisor import Process, without_secrets


@pytest.mark.parametrize(
    ("state", "exit_status", "explanation", "says"),
    [
        ("EXITED", 3, "", "it has ended (exit code 3)"),
        ("EXITED", -1, "Bad exit code -1", "it has ended (Bad exit code -1)"),
        ("FATAL", 0, "can't find command 'java'", "it could not be started (can't find command 'java')"),
        ("STOPPING", 0, "", "it is stopping"),
    ],
)
def test_a_process_says_what_became_of_it(state: str, exit_status: int, explanation: str, says: str) -> None:
    assert str(Process("agent", state, None, 1, exit_status, explanation)) == says


def test_a_log_is_shown_without_secrets() -> None:
    environment = {"LEDGER_DB_PASSWORD": "s3cr3t-one", "API_TOKEN": "tok3n-two", "PATH": "/usr/bin", "A_KEY": "abc"}
    text = "s3cr3t-one at /usr/bin, tok3n-two, abc, postgresql://me:pa55@host:5432/db, http://host/path"
    assert (
        without_secrets(text, environment)
        == "*** at /usr/bin, ***, abc, postgresql://***@host:5432/db, http://host/path"
    )
