"""The car sales of a data interval, from the car API (`apps/car_api`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from penstock.core.batch import Interval
from penstock.core.errors import Fatal, Retry
from penstock.core.record import Record
from penstock.sources.http import JsonClient

PATH = "/api/car_transactions"

PAGE = 5_000
"""Transactions of one answer: about 1.3 MB of JSON."""

_EXCERPT = 200


class _Page(NamedTuple):
    """One answer: how many transactions the interval has, some of them, and the id after which the next ones come."""

    total: int
    transactions: list[Any]
    following: int | None


@dataclass(frozen=True)
class CarApi:
    """The source of the car sales; `url` is the API's base address."""

    url: str

    @property
    def addresses(self) -> tuple[str, ...]:
        """That of the sales of an interval."""
        return (f"{self.url}{PATH}",)

    def resolve(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """There is nothing to choose: raises Fatal for any option."""
        if options:
            raise Fatal(f"unknown options: {', '.join(sorted(options))}; the car sales have none")
        return {}

    def fetch(self, interval: Interval, options: Mapping[str, Any]) -> Iterator[Record]:
        """Yield the interval's transactions by their ids, one page in memory at a time.

        Raises Retry where the API fails or gives fewer than it says there are, Fatal where it refuses (an interval
        that is not over, for one) or its answer has another shape.
        """
        self.resolve(options)
        total, seen, after = 0, 0, None
        with JsonClient() as client:
            while True:
                page = self._page(client.get(self._address(interval, after)))
                if seen and page.total != total:
                    raise Retry(f"{self._host} has {page.total} transactions of {interval}, and had {total} before")
                total, seen = page.total, seen + len(page.transactions)
                yield from page.transactions
                if page.following is None:
                    break
                self._check_goes_on(page, after)
                after = page.following
        if seen != total:
            raise Retry(f"{self._host} gave {seen} transactions of {interval}, and says there are {total}")

    def _address(self, interval: Interval, after: int | None) -> str:
        query = {"from": interval.start.isoformat(), "to": interval.end.isoformat(), "limit": PAGE}
        if after is not None:
            query["after"] = after
        return f"{self.url}{PATH}?{urlencode(query)}"

    def _page(self, answer: Any) -> _Page:
        if isinstance(answer, dict):
            page = _Page(answer.get("total", -1), answer.get("transactions", []), answer.get("next"))
            if (
                type(page.total) is int
                and isinstance(page.transactions, list)
                and all(isinstance(each, dict) for each in page.transactions)
                and type(page.following) in {int, type(None)}
                and page.total >= 0
            ):
                return page
        raise Fatal(
            f"{self._host} answers with something else than a page of transactions: check CAR_API_URL. The answer "
            f"begins {str(answer)[:_EXCERPT]!r}"
        )

    def _check_goes_on(self, page: _Page, after: int | None) -> None:
        if not page.transactions or (after is not None and page.following is not None and page.following <= after):
            raise Fatal(f"{self._host} goes round in circles: after {after} it goes on after {page.following}")

    @property
    def _host(self) -> str:
        return f"{urlsplit(self.url).netloc}{PATH}"
