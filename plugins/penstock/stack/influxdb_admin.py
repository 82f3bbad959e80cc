"""InfluxDB's first set-up, its bucket, and the token of the platform's writer."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import requests

from penstock.core.errors import Fatal, Retry

ADMIN = "penstock"
_TIMEOUT = 10.0


@dataclass(frozen=True)
class Access:
    """Who sets InfluxDB up: the first user's password, and the token that may do everything."""

    password: str
    token: str

    def __repr__(self) -> str:
        return "Access()"


class InfluxAdmin:
    """InfluxDB's API (https://docs.influxdata.com/influxdb/v2/api/v2/), as the owner of everything in it."""

    def __init__(self, url: str, access: Access) -> None:
        self._url = url
        self._access = access
        self._session = requests.Session()

    def provision(self, org: str, bucket: str) -> str:
        """Set up a new InfluxDB, make the bucket where it is missing, and return the token that reads and writes it.

        Idempotent: the same token every time. The bucket keeps points for ever. Raises Fatal where the data was made
        with another token, and Retry where InfluxDB cannot be reached.
        """
        if self._call("GET", "/api/v2/setup")["allowed"]:
            first = {"username": ADMIN, "password": self._access.password, "token": self._access.token}
            self._call("POST", "/api/v2/setup", {**first, "org": org, "bucket": bucket, "retentionPeriodSeconds": 0})
        self._session.headers["Authorization"] = f"Token {self._access.token}"
        org_id = self._org(org)
        return self._token(org_id, self._bucket(org_id, bucket), f"penstock: reads and writes {bucket}")

    def _org(self, name: str) -> str:
        known = self._find(f"/api/v2/orgs?org={quote(name, safe='')}", "orgs")
        return str((known or self._call("POST", "/api/v2/orgs", {"name": name}))["id"])

    def _bucket(self, org_id: str, name: str) -> str:
        known = self._find(f"/api/v2/buckets?orgID={org_id}&name={quote(name, safe='')}", "buckets")
        made = {"orgID": org_id, "name": name, "retentionRules": []}
        return str((known or self._call("POST", "/api/v2/buckets", made))["id"])

    def _token(self, org_id: str, bucket_id: str, description: str) -> str:
        """InfluxDB makes a token's value itself and tells it to its owner again, so it is known by its description."""
        wanted = {(action, bucket_id) for action in ("read", "write")}
        for each in self._call("GET", f"/api/v2/authorizations?orgID={org_id}")["authorizations"]:
            granted = {(right["action"], right["resource"].get("id")) for right in each["permissions"]}
            if each["description"] == description and each["status"] == "active" and granted == wanted:
                return str(each["token"])
        resource = {"type": "buckets", "id": bucket_id, "orgID": org_id}
        permissions = [{"action": action, "resource": resource} for action in ("read", "write")]
        made = {"orgID": org_id, "description": description, "permissions": permissions}
        return str(self._call("POST", "/api/v2/authorizations", made)["token"])

    def _find(self, path: str, kind: str) -> Any:
        """The one thing of that name, or None: InfluxDB answers HTTP 404 for a name that it does not know."""
        found = self._call("GET", path, missing_ok=True)
        return next(iter(found[kind]), None) if found else None

    def _call(self, method: str, path: str, body: object = None, *, missing_ok: bool = False) -> Any:
        try:
            answer = self._session.request(method, f"{self._url}{path}", json=body, timeout=_TIMEOUT)
        except requests.RequestException as error:
            raise Retry(f"InfluxDB at {self._url} cannot be reached: {type(error).__name__}") from None
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            raise Fatal(
                "InfluxDB refuses the admin's token: its data was made with another INFLUXDB_ADMIN_TOKEN; put that one"
                " back into .env, or wipe the data with `penstock clean`"
            )
        if missing_ok and answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        if not answer.ok:
            raise Fatal(f"InfluxDB refuses {method} {path} (HTTP {answer.status_code}): {answer.text[:200].strip()}")
        return answer.json()
