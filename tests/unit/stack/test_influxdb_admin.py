"""InfluxDB's API as its documentation has it; tests/integration asks a real one."""

import json

import pytest
import responses

from penstock.core.errors import Fatal, Retry
from penstock.stack.influxdb_admin import Access, InfluxAdmin

URL = "http://influxdb:8086"
DESCRIPTION = "penstock: reads and writes ETL_Project"


@pytest.fixture
def api():
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.get(f"{URL}/api/v2/setup", json={"allowed": False})
        mock.get(f"{URL}/api/v2/orgs", json={"orgs": [{"id": "o", "name": "penstock"}]})
        mock.get(f"{URL}/api/v2/buckets", json={"buckets": [{"id": "b", "name": "ETL_Project"}]})
        mock.get(f"{URL}/api/v2/authorizations", json={"authorizations": []})
        mock.post(f"{URL}/api/v2/authorizations", json={"token": "made=="}, status=201)
        yield mock


def _authorization(**changed):
    rights = [{"action": each, "resource": {"type": "buckets", "id": "b"}} for each in ("read", "write")]
    return {"description": DESCRIPTION, "status": "active", "token": "known==", "permissions": rights} | changed


def _provision() -> str:
    return InfluxAdmin(URL, Access("the password", "the admin token")).provision("penstock", "ETL_Project")


def _body(api, method: str, path: str):
    call = next(each for each in api.calls if each.request.method == method and each.request.url == URL + path)
    return json.loads(call.request.body)


def test_a_new_influxdb_is_set_up_with_our_own_secrets_and_keeps_points_for_ever(api):
    api.replace("GET", f"{URL}/api/v2/setup", json={"allowed": True})
    api.post(f"{URL}/api/v2/setup", json={}, status=201)
    assert _provision() == "made=="
    assert _body(api, "POST", "/api/v2/setup") == {
        "username": "penstock",
        "password": "the password",
        "token": "the admin token",
        "org": "penstock",
        "bucket": "ETL_Project",
        "retentionPeriodSeconds": 0,
    }


def test_the_token_reads_and_writes_the_one_bucket(api):
    assert _provision() == "made=="
    made = _body(api, "POST", "/api/v2/authorizations")
    assert made["description"] == DESCRIPTION
    resource = {"type": "buckets", "id": "b", "orgID": "o"}
    assert made["permissions"] == [{"action": each, "resource": resource} for each in ("read", "write")]


def test_the_token_of_an_earlier_start_is_taken_up(api):
    api.replace("GET", f"{URL}/api/v2/authorizations", json={"authorizations": [_authorization()]})
    assert _provision() == "known=="


@pytest.mark.parametrize("changed", [{"status": "inactive"}, {"permissions": []}, {"description": "somebody's"}])
def test_another_token_is_not_taken_for_it(api, changed):
    api.replace("GET", f"{URL}/api/v2/authorizations", json={"authorizations": [_authorization(**changed)]})
    assert _provision() == "made=="


def test_a_bucket_that_is_missing_is_made(api):
    api.replace("GET", f"{URL}/api/v2/buckets", json={"code": "not found"}, status=404)
    api.post(f"{URL}/api/v2/buckets", json={"id": "new"}, status=201)
    _provision()
    assert _body(api, "POST", "/api/v2/buckets") == {"orgID": "o", "name": "ETL_Project", "retentionRules": []}


def test_data_of_another_admin_is_named_with_the_remedy(api):
    api.replace("GET", f"{URL}/api/v2/orgs", json={"code": "unauthorized"}, status=401)
    with pytest.raises(Fatal, match="made with another INFLUXDB_ADMIN_TOKEN; put that one back") as refusal:
        _provision()
    assert "the admin token" not in str(refusal.value)


def test_a_server_that_is_away_can_be_asked_again():
    with responses.RequestsMock(), pytest.raises(Retry, match="cannot be reached"):
        _provision()


def test_the_secrets_are_not_shown():
    assert "token" not in repr(Access("the password", "the admin token"))
