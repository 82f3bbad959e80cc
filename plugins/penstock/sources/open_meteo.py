"""Weather from Open-Meteo (https://open-meteo.com), hourly or daily, of any day since 1940.

Three hosts have it: the forecast host the recent days, the historical-forecast host the days since 2021, the archive
host all but the newest. How far back the forecast host goes changes with time, so it is asked first, and its refusal,
which names the first and last day it has, decides where the other days come from.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from math import inf
from typing import Any
from urllib.parse import urlsplit

from penstock.core.batch import Interval
from penstock.core.contract import Contract
from penstock.core.errors import Fatal, Retry
from penstock.core.record import Record
from penstock.core.settings import OpenMeteo as Settings
from penstock.sources.dates import DAY, EPOCH, FIRST_DAY
from penstock.sources.http import Budget, JsonClient, Refused, Unlimited
from penstock.sources.open_meteo_answer import records
from penstock.sources.open_meteo_options import Options
from penstock.sources.open_meteo_request import Block, Days, Question, questions

log = logging.getLogger(__name__)

FIRST_HISTORICAL_FORECAST = date(2021, 1, 1)
"""The first day of the historical-forecast host: https://open-meteo.com"""

NO_VARIABLES = frozenset({"latitude", "longitude", "time", "grid_latitude", "grid_longitude", "elevation"})
"""The contract's fields that are not asked for by name."""

WORTH_A_TRIAL = 10
"""The weight above which a host's days are tried with a small request first: a refusal costs its weight too."""

_ALLOWED_RANGE = re.compile(r"out of allowed range from (\d{4}-\d\d-\d\d) to (\d{4}-\d\d-\d\d)")


def wait_after_429(reason: str) -> float | None:
    """The seconds until the limit that `reason` names is lifted, or None where it names none.

    The counters are cleared in the first minute of the minute, hour and UTC day after:
    https://github.com/open-meteo/open-meteo/blob/main/Sources/App/Helper/Vapor/RateLimiter.swift
    """
    now = datetime.now(UTC)
    minute = timedelta(minutes=1)
    if reason.startswith("Minutely"):
        return minute.total_seconds()
    if reason.startswith("Hourly"):
        hour = now.replace(minute=0, second=0, microsecond=0)
        return (hour + timedelta(hours=1) + minute - now).total_seconds()
    if reason.startswith("Daily"):
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return (midnight + DAY + minute - now).total_seconds()
    return None


@dataclass
class Host:
    """One of the hosts, and the days it is known to have."""

    url: str
    days: Days
    tried: bool = False

    @property
    def name(self) -> str:
        """The host and path, without a query that may hold a key."""
        address = urlsplit(self.url)
        return f"{address.netloc}{address.path}"

    def learn(self, refusal: Refused) -> None:
        """Narrow the days to those that `refusal` names. Raises it again where it says nothing new."""
        if not (found := _ALLOWED_RANGE.search(refusal.reason)):
            raise refusal
        named = Days(date.fromisoformat(found[1]), date.fromisoformat(found[2]))
        if (narrowed := self.days.within(named)) in {None, self.days}:
            raise refusal
        log.info("%s has the days %s", self.name, named)
        self.days = narrowed


@dataclass(frozen=True)
class OpenMeteo:
    """The source of one block of Open-Meteo.

    The valid variables are the fields of `contract`. `defaults` has `latitudes`, `longitudes` and `variables` for what
    a run does not name. `budget` is shared by all that call the hosts.
    """

    block: Block
    contract: Contract
    settings: Settings
    defaults: Mapping[str, Sequence[Any]]
    budget: Budget = field(default_factory=Unlimited)

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of all variables that can be asked for."""
        return tuple(name for name in self.contract.by_name if name not in NO_VARIABLES)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Those of all hosts: which of them has a day depends on the day."""
        return tuple(host.url for host in self._hosts())

    def within(self, budget: Budget) -> OpenMeteo:
        """The same source, its calls counted against `budget`."""
        return replace(self, budget=budget)

    def resolve(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Check `options` (`latitudes`, `longitudes`, `variables`) and fill in the defaults.

        Raises Fatal, naming the valid values.
        """
        return self._parse(options).to_json()

    def fetch(self, interval: Interval, options: Mapping[str, Any]) -> Iterator[Record]:
        """Yield one record for each location and hour, or day, of `interval`, in UTC, one answer in memory at a time.

        Raises Fatal for bad options, a refusal or an answer of a wrong shape; Retry where a host fails, asks to wait,
        or does not have all the rows yet.
        """
        checked = self._parse(options)
        self._check_holds_rows(interval)
        days = Days(interval.start.date(), (interval.end - timedelta(microseconds=1)).date())
        hosts = self._hosts()
        with JsonClient(self.budget, wait_after_429) as client:
            for question in questions(self.block, checked, days, self._heaviest()):
                yield from self._answered(question, hosts, client, interval)

    def _parse(self, options: Mapping[str, Any]) -> Options:
        return Options.parse(options, self.defaults, self.variables)

    def _check_holds_rows(self, interval: Interval) -> None:
        into_step = (interval.start - EPOCH) % self.block.step
        first = interval.start + (self.block.step - into_step if into_step else timedelta(0))
        if first >= interval.end:
            raise Fatal(f"{interval} holds no {self.block} row: the next one is at {first:%Y-%m-%dT%H:%MZ}")

    def _heaviest(self) -> float:
        """The weight of the heaviest request: half of the tightest limit, so that others get their turn too."""
        limits = (self.settings.per_minute, self.settings.per_hour, self.settings.per_day)
        return min((limit / 2 for limit in limits if limit), default=inf)

    def _hosts(self) -> list[Host]:
        """The hosts in the order in which they are asked."""
        return [
            Host(self.settings.base_url, Days(FIRST_DAY, date.max)),
            Host(self.settings.historical_url, Days(FIRST_HISTORICAL_FORECAST, date.max)),
            Host(self.settings.archive_url, Days(FIRST_DAY, date.max)),
        ]

    def _answered(
        self, question: Question, hosts: Sequence[Host], client: JsonClient, interval: Interval
    ) -> Iterator[Record]:
        """Ask the first host what it has of `question`, and the others for the days before."""
        if not hosts:
            raise Fatal(f"no Open-Meteo host has the {self.block} weather of {question.days}")
        host, *others = hosts
        days = question.days
        if days.last > host.days.last:
            raise Retry(f"{host.name} has days up to {host.days.last}, and {days} are still to come")
        if days.first < host.days.first:
            before = Days(days.first, min(days.last, host.days.first - DAY))
            yield from self._answered(question.on(before), others, client, interval)
        if (within := days.within(host.days)) is None:
            return
        asked = question.on(within)
        attempt = asked if host.tried or asked.weight <= WORTH_A_TRIAL else asked.smallest()
        host.tried = True
        try:
            answer = client.get(attempt.url(host.url), weight=attempt.weight)
        except Refused as refusal:
            host.learn(refusal)
            yield from self._answered(asked, hosts, client, interval)
            return
        if attempt is asked:
            yield from records(answer, asked, self.contract, interval, host.name)
        else:
            yield from self._answered(asked, hosts, client, interval)
