import pytest

from penstock.core.errors import Fatal
from penstock.core.service import Desired, State
from penstock.ledger.services import ServiceRow
from penstock.services import SERVICES
from penstock.services.holding import hold

REPLAY = {"RECENTCHANGE_URL": "http://127.0.0.1:8090/v2/stream/recentchange"}


class Ledger:
    """What people want of the services, in memory."""

    def __init__(self, **rows):
        self.wanted = {name.replace("_", "-"): row for name, row in rows.items()}

    def rows(self):
        return [
            ServiceRow(name, desired, by, State.UNKNOWN, "", None, None, None, 0)
            for name, (desired, by) in self.wanted.items()
        ]

    def desire(self, name, desired, by):
        self.wanted[name] = (desired, by)

    def held(self):
        return {name for name, (desired, _) in self.wanted.items() if desired is Desired.STOPPED}


def held(environment, **rows):
    ledger = Ledger(**rows)
    hold(ledger, SERVICES, environment)
    return ledger.held()


EXTRA = {*(f"price-consumer-{number}" for number in (2, 3, 4)), "landing-population", "landing-car-transactions"}


def test_only_the_first_instance_of_a_service_runs_unless_it_is_scaled():
    assert held(REPLAY) == EXTRA


def test_the_collector_is_not_started_against_wikimedia_without_a_contact():
    assert held({}) == EXTRA | {"recentchange-collector"}
    assert held({"WIKI_USER_AGENT_CONTACT": "https://example.org"}) == EXTRA


def test_it_is_started_once_there_is_a_contact():
    ledger = Ledger()
    hold(ledger, SERVICES, {})
    hold(ledger, SERVICES, {"WIKI_USER_AGENT_CONTACT": "https://example.org"})
    assert ledger.held() == EXTRA


def test_a_setting_names_services_to_leave_alone():
    assert held(REPLAY | {"PENSTOCK_HOLD": "web-event-producer,flume-wiki-spool"}) == EXTRA | {
        "web-event-producer",
        "flume-wiki-spool",
    }


def test_a_pipeline_s_stream_runs_where_the_switch_says_so():
    assert held(REPLAY | {"CARS_LANDED_BY": "stream"}) == EXTRA - {"landing-car-transactions"}


def test_what_a_person_wants_goes_before():
    assert held(
        REPLAY | {"PENSTOCK_HOLD": "web-event-producer"},
        web_event_producer=(Desired.STARTED, "ann"),
        price_consumer_2=(Desired.STARTED, "ann"),
        car_api=(Desired.STOPPED, "ann"),
    ) == EXTRA - {"price-consumer-2"} | {"car-api"}


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(Fatal, match="PENSTOCK_HOLD names kafka: the services are flume-pop-spool"):
        held({"PENSTOCK_HOLD": "kafka"})
