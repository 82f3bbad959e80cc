"""A client of the schema registry's Confluent-style API.

https://docs.confluent.io/platform/current/schema-registry/develop/api.html, as Apicurio serves it below
`/apis/ccompat/v7`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import requests

from penstock.core.contract import Contract
from penstock.core.errors import Fatal, Retry

_CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"


class Registry:
    """`url` is the API's root; a `user:password@` in it is sent as basic authentication and never shown.

    Holds no connection, so that any number of threads may share it. Each call takes at most `timeout` seconds to
    connect and as many between two bytes. All methods raise Retry where the registry is away, Fatal where it refuses.
    """

    def __init__(self, url: str, timeout: float = 10.0) -> None:
        parts = urlsplit(url)
        if not parts.scheme.startswith("http") or not parts.hostname:
            raise Fatal("SCHEMA_REGISTRY_URL is not an http address like http://HOST:PORT/apis/ccompat/v7")
        self.url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")
        self._auth = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        self._timeout = timeout
        self._schemas: dict[int, dict[str, Any]] = {}

    def register(self, subject: str, contract: Contract) -> int:
        """Register the contract's schema, which may be there already, and return its id.

        The subject's compatibility is set to BACKWARD first: Apicurio's own default is to check nothing. Raises Fatal,
        naming the fields, where records of the latest schema could not be read with this one.
        """
        self._check_backward(subject)
        latest = self.latest(subject)
        if latest is not None and latest != contract.schema:
            older = Contract(latest, f"the latest schema of {subject}")
            if broken := contract.breaking_changes(older):
                raise Fatal(_refusal(subject, contract, "; ".join(broken)))
        response = self._post(subject, contract)
        if response.status_code == HTTPStatus.CONFLICT and self.latest(subject) == contract.schema:
            response = self._post(subject, contract)  # somebody registered the same at the same moment
        if response.status_code == HTTPStatus.CONFLICT:
            raise Fatal(_refusal(subject, contract, _message(response)))
        return int(self._checked(response)["id"])

    def schema(self, schema_id: int) -> dict[str, Any]:
        """The schema with this id. Ids never change their meaning, so each is asked for once."""
        if schema_id not in self._schemas:
            self._schemas[schema_id] = json.loads(self._call("GET", f"/schemas/ids/{schema_id}")["schema"])
        return self._schemas[schema_id]

    def latest(self, subject: str) -> dict[str, Any] | None:
        """The newest schema of the subject, or None where it has none."""
        response = self._request("GET", f"/subjects/{quote(subject, safe='')}/versions/latest")
        if response.status_code == HTTPStatus.NOT_FOUND:
            return None
        schema: dict[str, Any] = json.loads(self._checked(response)["schema"])
        return schema

    def _check_backward(self, subject: str) -> None:
        """From now on, the registry refuses a schema that cannot read what was written with the latest."""
        path = f"/config/{quote(subject, safe='')}"
        response = self._request("PUT", path, {"compatibility": "BACKWARD"})
        if response.status_code == HTTPStatus.CONFLICT:  # Apicurio's answer where two clients set it at once
            level = self._call("GET", path).get("compatibilityLevel")
            if level != "BACKWARD":
                raise Retry(f"{self.url} keeps the compatibility of {subject} at {level}: {_message(response)}")
        else:
            self._checked(response)

    def _post(self, subject: str, contract: Contract) -> requests.Response:
        return self._request("POST", f"/subjects/{quote(subject, safe='')}/versions", {"schema": contract.canonical})

    def _call(self, method: str, path: str, body: Mapping[str, str] | None = None) -> dict[str, Any]:
        return self._checked(self._request(method, path, body))

    def _request(self, method: str, path: str, body: Mapping[str, str] | None = None) -> requests.Response:
        headers = {"Accept": _CONTENT_TYPE, "Content-Type": _CONTENT_TYPE}
        try:
            return requests.request(
                method, self.url + path, json=body, headers=headers, auth=self._auth, timeout=self._timeout
            )
        except requests.Timeout as error:
            raise Retry(f"the schema registry at {self.url} did not answer within {self._timeout:g} s") from error
        except requests.RequestException as error:
            raise Retry(f"the schema registry at {self.url} cannot be reached ({type(error).__name__})") from error

    def _checked(self, response: requests.Response) -> dict[str, Any]:
        status = response.status_code
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
            raise Retry(f"the schema registry at {self.url} answered {status}: {_message(response)}")
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise Fatal(f"the schema registry at {self.url} refuses the user ({status}): check SCHEMA_REGISTRY_URL")
        if not response.ok:
            raise Fatal(f"the schema registry at {self.url} refused with {status}: {_message(response)}")
        try:
            answer: dict[str, Any] = response.json()
        except requests.JSONDecodeError as error:
            raise Fatal(
                f"{self.url} answered no JSON: SCHEMA_REGISTRY_URL must be the root of a Confluent-style API"
            ) from error
        return answer


def _refusal(subject: str, contract: Contract, broken: str) -> str:
    return (
        f"{contract.where} cannot follow the latest schema of {subject}: {broken}. "
        "Make new fields nullable with a default, or use a new topic"
    )


def _message(response: requests.Response) -> str:
    try:
        return str(response.json()["message"])
    except (requests.JSONDecodeError, KeyError, TypeError):
        return response.reason or "no reason given"
