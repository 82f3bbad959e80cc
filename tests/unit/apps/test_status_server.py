import json
from http import HTTPStatus
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry, Counter

from apps.status_server import BadQuestion, Health, status_server


@pytest.fixture
def served():
    registry = CollectorRegistry()
    Counter("things", "Things done.", registry=registry).inc(3)
    state = {"health": Health(HTTPStatus.OK, {"lag": 0})}

    def doubled(question):
        if "of" not in question:
            raise BadQuestion("of is missing")
        return {"twice": 2 * int(question["of"])}

    with status_server("127.0.0.1", 0, lambda: state["health"], registry, {"/doubled": doubled}) as port:
        yield state, f"http://127.0.0.1:{port}"


def asked(url):
    try:
        with urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_health_is_the_programs_own_word(served):
    state, url = served
    assert asked(f"{url}/healthz") == (200, '{"status": "OK", "lag": 0}')
    state["health"] = Health(HTTPStatus.SERVICE_UNAVAILABLE, {"kafka": "away"})
    assert asked(f"{url}/healthz")[0] == 503


def test_metrics_are_prometheus_text(served):
    assert "things_total 3.0" in asked(f"{served[1]}/metrics")[1]


def test_answers_are_json_and_a_bad_question_is_told_why(served):
    status, body = asked(f"{served[1]}/doubled?of=4")
    assert (status, json.loads(body)) == (200, {"twice": 8})
    assert asked(f"{served[1]}/doubled") == (400, '{"detail": "of is missing"}')


def test_an_unknown_path_names_the_known_ones(served):
    status, body = asked(f"{served[1]}/health")
    assert status == 404
    assert "/healthz, /metrics, /doubled" in body
