"""The schema registry's client against the real registry."""

import copy
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from penstock.core.contract import Contract
from penstock.core.errors import Fatal, Retry
from penstock.core.settings import INCLUDE
from penstock.kafka.registry import Registry

pytestmark = pytest.mark.integration


@pytest.fixture
def registry(kafka_settings):
    return Registry(kafka_settings.registry_url)


@pytest.fixture
def contract():
    return Contract.load(INCLUDE / "avro" / "hourlymetrics.avsc")


def changed(contract, name, **changes):
    """The contract with one field changed, or added."""
    schema = copy.deepcopy(contract.schema)
    found = [each for each in schema["fields"] if each["name"] == name]
    if not found:
        schema["fields"].append({"name": name, **changes})
    for each in found:
        each.update(changes)
    return Contract(schema, "hourlymetrics.avsc")


def test_registering_again_gives_the_same_id(registry, contract, unique):
    subject = f"{unique}-value"
    schema_id = registry.register(subject, contract)
    assert registry.register(subject, contract) == schema_id
    assert registry.latest(subject) == contract.schema
    assert registry.schema(schema_id) == contract.schema


def test_the_schema_keeps_key_units_and_bounds(registry, contract, unique):
    registry.register(f"{unique}-value", contract)
    assert Contract(registry.latest(f"{unique}-value")) == contract


def test_a_subject_without_schemas_has_no_latest(registry, unique):
    assert registry.latest(f"{unique}-value") is None


def test_a_new_nullable_field_is_a_new_version(registry, contract, unique):
    subject = f"{unique}-value"
    first = registry.register(subject, contract)
    wider = changed(contract, "sea_level", type=["null", "double"], default=None)
    assert registry.register(subject, wider) != first
    assert registry.latest(subject) == wider.schema


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("temperature_2m", {"type": ["null", "string"]}, "field temperature_2m changes its type from double to string"),
        ("temperature_2m", {"type": "double"}, "field temperature_2m was nullable and is not any more"),
        ("sea_level", {"type": "double"}, "field sea_level is new and has no default"),
    ],
)
def test_an_incompatible_change_is_refused_by_the_fields_name(registry, contract, unique, name, change, said):
    subject = f"{unique}-value"
    registry.register(subject, contract)
    with pytest.raises(Fatal, match=said):
        registry.register(subject, changed(contract, name, **change))
    assert registry.latest(subject) == contract.schema


def test_the_registry_itself_refuses_what_our_check_lets_through(registry, contract, unique, monkeypatch):
    subject = f"{unique}-value"
    registry.register(subject, contract)
    monkeypatch.setattr(Contract, "breaking_changes", lambda *_: [])
    with pytest.raises(Fatal, match=f"cannot follow the latest schema of {subject}.*DOUBLE"):
        registry.register(subject, changed(contract, "temperature_2m", type=["null", "string"]))


def test_many_may_register_at_once(kafka_settings, contract, unique):
    def register(_):
        return Registry(kafka_settings.registry_url).register(f"{unique}-value", contract)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(register, range(8)))) == 1


def test_an_unknown_id_is_fatal(registry):
    with pytest.raises(Fatal, match="404"):
        registry.schema(2_000_000_000)


def test_a_registry_that_is_away_is_retried():
    with pytest.raises(Retry, match=r"127\.0\.0\.1:1/apis cannot be reached"):
        Registry("http://127.0.0.1:1/apis").latest("any")


def test_a_registry_that_hangs_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(Retry, match=r"did not answer within 0\.2 s"):
            Registry(url, timeout=0.2).latest("any")


def test_a_password_in_the_address_is_sent_and_never_shown(monkeypatch):
    asked = []

    def refuse(method, url, **more):
        asked.append((url, more["auth"]))
        answer = requests.Response()
        answer.status_code = 401
        return answer

    monkeypatch.setattr(requests, "request", refuse)
    with pytest.raises(Fatal) as refused:
        Registry("http://me:se%40cret@registry:8080/apis/").latest("any")
    assert asked == [("http://registry:8080/apis/subjects/any/versions/latest", ("me", "se@cret"))]
    assert "cret" not in str(refused.value)
