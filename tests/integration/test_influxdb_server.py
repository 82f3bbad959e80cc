"""InfluxDB as the stack sets it up."""

from __future__ import annotations

import stat
from http import HTTPStatus

import pytest
import requests

from penstock.core.settings import Influx
from penstock.stack.influxdb_admin import Access, InfluxAdmin

pytestmark = pytest.mark.integration

TIMEOUT = 30


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Token {token}"}


def _write(influx: Influx, lines: str, *, bucket: str | None = None, token: str | None = None) -> requests.Response:
    return requests.post(
        f"{influx.url}/api/v2/write",
        params={"org": influx.org, "bucket": bucket or influx.bucket, "precision": "s"},
        headers=_headers(token or influx.token),
        data=lines,
        timeout=TIMEOUT,
    )


def _values(influx: Influx, measurement: str) -> list[str]:
    flux = (
        f'from(bucket: "{influx.bucket}") |> range(start: 1900-01-01T00:00:00Z)'
        f' |> filter(fn: (r) => r._measurement == "{measurement}") |> keep(columns: ["_value"])'
    )
    answer = requests.post(
        f"{influx.url}/api/v2/query",
        params={"org": influx.org},
        headers=_headers(influx.token) | {"Content-Type": "application/vnd.flux", "Accept": "application/csv"},
        data=flux,
        timeout=TIMEOUT,
    )
    answer.raise_for_status()
    return [line.rpartition(",")[2] for line in answer.text.split()[1:]]


@pytest.fixture
def admin(stack) -> InfluxAdmin:
    """The owner of everything in InfluxDB."""
    secrets = Access(stack.context.secret("INFLUXDB_ADMIN_PASSWORD"), stack.context.secret("INFLUXDB_ADMIN_TOKEN"))
    return InfluxAdmin(stack.environment()["INFLUXDB_URL"], secrets)


def test_the_platforms_token_writes_and_reads_its_bucket(influx_settings, unique):
    assert _write(influx_settings, f"{unique} value=42 1763812800").status_code == HTTPStatus.NO_CONTENT
    assert _values(influx_settings, unique) == ["42"]


def test_a_point_of_decades_ago_stays(influx_settings, unique):
    assert _write(influx_settings, f"{unique} value=7 -631152000").status_code == HTTPStatus.NO_CONTENT
    assert _values(influx_settings, unique) == ["7"]


def test_the_platforms_token_is_refused_everything_else(influx_settings, stack, admin, unique):
    admin.provision(influx_settings.org, unique)
    assert _write(influx_settings, "m value=1", bucket=unique).status_code == HTTPStatus.FORBIDDEN
    made = requests.post(
        f"{influx_settings.url}/api/v2/buckets",
        headers=_headers(influx_settings.token),
        json={"name": f"{unique}-2", "orgID": "0123456789abcdef"},
        timeout=TIMEOUT,
    )
    assert made.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


def test_a_wrong_token_is_refused(influx_settings):
    assert _write(influx_settings, "m value=1", token="x" * 40).status_code == HTTPStatus.UNAUTHORIZED


def test_provisioning_again_gives_the_same_token(influx_settings, admin):
    assert admin.provision(influx_settings.org, influx_settings.bucket) == influx_settings.token


def test_only_its_owner_reads_the_tokens_file(stack):
    path = stack.context.influx_token_file
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_points_survive_a_kill(stack, influx_settings, unique):
    assert _write(influx_settings, f"{unique} value=1 1763812800").status_code == HTTPStatus.NO_CONTENT
    stack.kill("influxdb")
    stack.start("influxdb")
    assert _values(influx_settings, unique) == ["1"]


def test_no_secret_is_in_its_log(stack, influx_settings):
    log = stack.context.layout.log("influxdb").read_text()
    secrets = (
        influx_settings.token,
        *(stack.context.secret(f"INFLUXDB_ADMIN_{each}") for each in ("TOKEN", "PASSWORD")),
    )
    assert not any(secret in log for secret in secrets)
