"""Services that stay stopped until somebody starts them: extra instances, unused streams, those that .env names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from penstock.core.errors import Fatal
from penstock.core.pipeline import LandedBy
from penstock.core.service import Desired
from penstock.core.settings import landed_by, recentchange_url
from penstock.ledger.services import Services
from penstock.pipelines import CARS, POPULATION
from penstock.services.scaling import instances

COLLECTOR = "recentchange-collector"

_SWITCHES = {POPULATION.landing_service: "POPULATION", CARS.landing_service: "CARS"}
"""{service: the setting NAME_LANDED_BY that says whether it is used}."""

_BY_INSTANCE = "its number: the service is scaled to fewer"
_BY_NAME = "PENSTOCK_HOLD"
_BY_CONTACT = "an empty WIKI_USER_AGENT_CONTACT, which Wikimedia asks for"
_BY_SWITCH = "its switch in .env: the pipeline's runs land its records"
_OURS = frozenset({_BY_SWITCH, _BY_INSTANCE, _BY_NAME, _BY_CONTACT})
_NOBODY = "default"


def hold(ledger: Services, services: Iterable[str], environment: Mapping[str, str]) -> None:
    """Write down which services are to stay stopped, unless a person has said otherwise, and let the others go.

    Raises Fatal where PENSTOCK_HOLD names no service.
    """
    every = list(services)
    named = set((environment.get("PENSTOCK_HOLD") or "").replace(",", " ").split())
    if unknown := sorted(named - set(every)):
        raise Fatal(f"PENSTOCK_HOLD names {', '.join(unknown)}: the services are {', '.join(every)}")
    rows = {row.name: row for row in ledger.rows()}
    extra = {name for members in instances(every).values() for name in members[1:]}
    for name in every:
        reason = _reason(name, named, extra, environment)
        row = rows.get(name)
        if reason and (row is None or row.desired_by == _NOBODY):
            ledger.desire(name, Desired.STOPPED, reason)
        elif not reason and row is not None and row.desired_by in _OURS:
            ledger.desire(name, Desired.STARTED, _NOBODY)


def _reason(name: str, named: set[str], extra: set[str], environment: Mapping[str, str]) -> str | None:
    if name in named:
        return _BY_NAME
    if name in extra:
        return _BY_INSTANCE
    if name in _SWITCHES and landed_by(_SWITCHES[name], environment) is not LandedBy.STREAM:
        return _BY_SWITCH
    if name == COLLECTOR and _asks_wikimedia(environment) and not environment.get("WIKI_USER_AGENT_CONTACT"):
        return _BY_CONTACT
    return None


def _asks_wikimedia(environment: Mapping[str, str]) -> bool:
    host = urlsplit(recentchange_url(environment)).hostname or ""
    return host == "wikimedia.org" or host.endswith(".wikimedia.org")
