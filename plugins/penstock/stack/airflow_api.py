"""A client of Airflow's REST API, for the command line, the demo and the tests."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any

import requests

from penstock.core.errors import Fatal, Retry

_TIMEOUT = 30.0
_FINISHED = {"success", "failed"}


class Airflow:
    """Logs in once and asks; every call has a time-out. The password is never part of a message."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self._url = url.rstrip("/")
        self._login = {"username": user, "password": password}
        self._session = requests.Session()

    def _call(self, method: str, path: str, **more: Any) -> Any:
        if "Authorization" not in self._session.headers:
            self._log_in()
        answer = self._send(method, f"/api/v2{path}", **more)
        if answer.status_code == HTTPStatus.UNAUTHORIZED:  # the token has run out
            self._log_in()
            answer = self._send(method, f"/api/v2{path}", **more)
        if not answer.ok:
            raise Fatal(f"Airflow refused {method} {path}: HTTP {answer.status_code} {_reason(answer)}")
        return answer.json() if answer.content else None

    def _send(self, method: str, path: str, **more: Any) -> requests.Response:
        try:
            return self._session.request(method, self._url + path, timeout=_TIMEOUT, **more)
        except requests.RequestException as error:
            raise Retry(f"Airflow at {self._url} does not answer ({type(error).__name__}): is the stack up?") from error

    def _log_in(self) -> None:
        answer = self._send("POST", "/auth/token", json=self._login)
        if not answer.ok:
            raise Fatal(f"Airflow refused the login of {self._login['username']}: HTTP {answer.status_code}")
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def dag_ids(self) -> list[str]:
        """The ids of all DAGs that Airflow knows."""
        return [each["dag_id"] for each in self._call("GET", "/dags", params={"limit": 500})["dags"]]

    def import_errors(self) -> list[Mapping[str, Any]]:
        """The DAG files that Airflow could not import."""
        errors: list[Mapping[str, Any]] = self._call("GET", "/importErrors")["import_errors"]
        return errors

    def wait_for_dags(self, dag_ids: set[str], timeout: float = 120) -> None:
        """Wait until Airflow has parsed these DAGs. Raises Fatal with the import errors where it does not."""
        deadline = time.monotonic() + timeout
        while missing := dag_ids - set(self.dag_ids()):
            if time.monotonic() > deadline:
                errors = "; ".join(f"{each['filename']}: {each['stack_trace']}" for each in self.import_errors())
                raise Fatal(f"Airflow does not show {', '.join(sorted(missing))}: {errors or 'no import error'}")
            time.sleep(0.5)

    def pause(self, dag_id: str, *, paused: bool = True) -> None:
        """Pause or unpause a DAG."""
        self._call("PATCH", f"/dags/{dag_id}", json={"is_paused": paused})

    def is_paused(self, dag_id: str) -> bool:
        """Whether a DAG's runs are made to wait."""
        return bool(self._call("GET", f"/dags/{dag_id}")["is_paused"])

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, logical_date: datetime | None = None) -> str:
        """Start a run and return its id. Raises Fatal, with Airflow's reason, where the form refuses `conf`."""
        moment = logical_date.isoformat() if logical_date else None
        run = self._call("POST", f"/dags/{dag_id}/dagRuns", json={"conf": conf or {}, "logical_date": moment})
        return str(run["dag_run_id"])

    def backfill(
        self,
        dag_id: str,
        from_date: datetime,
        to_date: datetime,
        *,
        reprocess: str = "completed",
        max_active_runs: int = 2,
        backwards: bool = False,
    ) -> int:
        """Start Airflow's own backfill of the logical dates [from_date, to_date] and return its id."""
        body = {
            "dag_id": dag_id,
            "from_date": from_date.isoformat(),
            "to_date": to_date.isoformat(),
            "reprocess_behavior": reprocess,
            "max_active_runs": max_active_runs,
            "run_backwards": backwards,
            "run_on_latest_version": True,
        }
        return int(self._call("POST", "/backfills", json=body)["id"])

    def has_backfill(self, dag_id: str) -> bool:
        """Whether a backfill of the DAG is not marked as ended yet: until then Airflow takes no other one."""
        found = self._call("GET", "/backfills", params={"dag_id": dag_id, "limit": 100, "order_by": "-id"})
        return any(each["completed_at"] is None for each in found["backfills"])

    def wait_backfill(self, backfill_id: int, timeout: float = 900) -> None:
        """Wait until every run of a backfill has ended."""
        deadline = time.monotonic() + timeout
        while self._call("GET", f"/backfills/{backfill_id}")["completed_at"] is None:
            if time.monotonic() > deadline:
                raise Fatal(f"backfill {backfill_id} has not ended within {timeout:.0f} s")
            time.sleep(0.5)

    def runs(self, dag_id: str) -> list[Mapping[str, Any]]:
        """The runs of a DAG, newest first."""
        answer = self._call("GET", f"/dags/{dag_id}/dagRuns", params={"limit": 1000, "order_by": "-start_date"})
        found: list[Mapping[str, Any]] = answer["dag_runs"]
        return found

    def wait(self, dag_id: str, run_id: str, timeout: float = 600) -> str:
        """Wait until a run has ended and return its state."""
        deadline = time.monotonic() + timeout
        while (state := self._call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"]) not in _FINISHED:
            if time.monotonic() > deadline:
                raise Fatal(f"run {run_id} of {dag_id} is still {state} after {timeout:.0f} s")
            time.sleep(0.3)
        return str(state)

    def tasks(self, dag_id: str, run_id: str) -> list[Mapping[str, Any]]:
        """The task instances of a run."""
        answer = self._call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", params={"limit": 1000})
        found: list[Mapping[str, Any]] = answer["task_instances"]
        return found

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """The text of one try's log."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        content = self._call("GET", path, params={"map_index": map_index})["content"]
        return "\n".join(each if isinstance(each, str) else str(each.get("event", each)) for each in content)

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str) -> Any:
        """The value of a task's XCom, or None where it has not written it."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries"
        if key not in {each["key"] for each in self._call("GET", path)["xcom_entries"]}:
            return None
        return self._call("GET", f"{path}/{key}")["value"]

    def clear(self, dag_id: str, run_id: str) -> None:
        """Clear a whole run, so that it runs again."""
        self._call("POST", f"/dags/{dag_id}/dagRuns/{run_id}/clear", json={"dry_run": False})


def _reason(answer: requests.Response) -> str:
    try:
        detail = answer.json().get("detail", "")
    except ValueError:
        return ""
    return str(detail)
