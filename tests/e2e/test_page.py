"""The Penstock page in a real Chromium, logged in through Airflow's own form. Screenshots: build/screenshots/."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, FrameLocator, Page, Route, expect

from penstock.core.batch import Batch, Interval
from penstock.core.counts import Count, Landed, OffsetRange, Produced
from penstock.core.settings import PROJECT, Kafka
from penstock.kafka.dead_letters import DeadLetter, LetterBox
from penstock.kafka.topics import Topic, ensure
from penstock.ledger.dead_letters import DeadLetters
from penstock.ledger.reconcile import verdict
from penstock.ledger.store import Hop, Ledger, Run
from tests.browser import browser

pytestmark = pytest.mark.e2e

expect.set_options(timeout=30_000)  # milliseconds

SCREENSHOTS = PROJECT / "build" / "screenshots"
DATA_SET = "weather_daily"
START = datetime(1996, 2, 28, tzinfo=UTC)  # no other test's
DAY = timedelta(days=1)
MARKUP = "<img src=x onerror=\"window.ran = 'yes'\"><script>window.ran = 'yes'</script>"
LOSSY = "1996-02-29 00:00 \N{EN DASH} 1996-03-01 00:00"


@dataclass(frozen=True)
class Seeded:
    """What these tests have put into the ledger."""

    whole: Batch
    lossy: Batch
    failed: Batch
    letter: int


@pytest.fixture(scope="module")
def seeded(stack: Any, kafka_settings: Kafka) -> Iterator[Seeded]:
    url = stack.context.ledger_url
    topic = f"t{uuid.uuid4().hex[:10]}.dlq"
    batches = [_batch(day) for day in range(3)]
    with Ledger(url) as ledger:
        _run_through(ledger, batches[0])
        _run_through(ledger, batches[1], lost=3)
        ledger.started(batches[2], Hop.PRODUCE, _run_of(batches[2]), as_of=batches[2].interval.end)
        ledger.failed(batches[2], Hop.PRODUCE, f"the source answers {MARKUP}", _run_of(batches[2]))
    _set_aside(kafka_settings, topic, batches[0])
    letters = DeadLetters(url)
    letters.take_up(kafka_settings, {topic: DATA_SET})
    (letter,) = (row.id for row in letters.rows(data_set=DATA_SET) if row.topic == topic)
    yield Seeded(*batches, letter)
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("DELETE FROM dead_letters WHERE topic = %s", (topic,))
        session.execute("DELETE FROM batches WHERE batch_id = ANY(%s)", ([each.id for each in batches],))


def _batch(day: int) -> Batch:
    return Batch(DATA_SET, Interval(START + day * DAY, START + (day + 1) * DAY), {"locations": MARKUP})


def _run_of(batch: Batch) -> Run:
    return Run(f"{DATA_SET}/manual__{batch.interval.start.isoformat()}")


def _run_through(ledger: Ledger, batch: Batch, lost: int = 0) -> None:
    run, as_of = _run_of(batch), batch.interval.end
    produced = Produced(batch.id, "dailymetrics", 3, as_of, 24, 24, 1, (OffsetRange(0, 1_000, 1_023),))
    ledger.produced(batch, produced, run)
    landed = Landed(batch.id, 23, 22, 0, 1)
    ledger.landed(batch, landed, run, as_of=as_of)
    judged = verdict(produced, landed, {"dailydata": Count(22 - lost, 0, 0)})
    ledger.reconciled(batch, judged, run, as_of=as_of)


def _set_aside(kafka: Kafka, topic: str, batch: Batch) -> None:
    ensure(kafka.bootstrap_servers, [Topic(topic, 1)])
    letter = DeadLetter.of_record({"city": MARKUP, "rain": -1}, f"rain is -1 {MARKUP}", batch.id, batch.interval.end)
    LetterBox(kafka, topic).send([letter], timeout=30)


@pytest.fixture(scope="module")
def chromium(stack: Any) -> Iterator[Browser]:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with browser(stack.context.layout.cache) as running:
        yield running


@pytest.fixture(scope="module")
def address(stack: Any) -> str:
    return str(stack.context.airflow_url)


@pytest.fixture(scope="module")
def admin(chromium: Browser, stack: Any, address: str) -> Any:
    """The cookies of the admin user."""
    return _log_in(chromium, address, "admin", stack.context.secret("AIRFLOW_ADMIN_PASSWORD"))


def _log_in(chromium: Browser, address: str, user: str, password: str) -> Any:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{address}/auth/login/")
    page.fill("input[name=username]", user)
    page.fill("input[name=password]", password)
    page.click("input[type=submit]")
    page.wait_for_url(lambda url: "/login" not in url, wait_until="commit")
    kept = context.storage_state()
    context.close()
    return kept


@dataclass
class Window:
    """A window of a person who is logged in."""

    context: BrowserContext
    page: Page
    address: str

    def open(self, view: str, **query: str) -> Page:
        """A view of the page by itself, once it is drawn."""
        self.page.goto(f"{self.address}/penstock/{view}" + (f"?{urlencode(query)}" if query else ""))
        expect(self.page.locator("main")).to_have_attribute("aria-busy", "false")
        return self.page

    def framed(self) -> FrameLocator:
        return self.page.frame_locator("iframe")


Opens = Callable[..., Any]


@pytest.fixture
def window(chromium: Browser, admin: Any, address: str) -> Opens:
    """window(width=1280, theme="light", state=admin): a new one. What goes wrong in it fails the test."""

    @contextmanager
    def opened(width: int = 1280, theme: str = "light", state: Any = admin) -> Iterator[Window]:
        context = chromium.new_context(storage_state=state, viewport={"width": width, "height": 900})
        context.add_init_script(f"localStorage.getItem('theme') ?? localStorage.setItem('theme', '{theme}')")
        page, wrong = context.new_page(), []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "console", lambda said: wrong.append(said.text) if said.type == "error" and "503" not in said.text else None
        )
        try:
            yield Window(context, page, address)
        finally:
            context.close()
        assert wrong == []

    return opened


def test_nobody_sees_the_page_without_logging_in(address: str) -> None:
    for path in ("", "services", "batch?batch_id=x", "static/page.js", "api/data-sets", "api/dead-letters", "docs"):
        assert requests.get(f"{address}/penstock/{path}", timeout=30).status_code in {401, 403}


def test_the_page_is_in_airflows_navigation(window: Opens, seeded: Seeded) -> None:
    with window() as opened:
        opened.page.goto(opened.address)
        opened.page.get_by_role("link", name="Penstock").click()
        framed = opened.framed()
        expect(framed.get_by_role("heading", name=DATA_SET)).to_be_visible()
        framed.get_by_role("link", name="Services", exact=True).click()
        expect(framed.get_by_role("heading", name="Services")).to_be_visible()
        opened.page.screenshot(path=SCREENSHOTS / "in-airflow.png")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_every_view_fits_its_width(window: Opens, seeded: Seeded, width: int, theme: str) -> None:
    views = {
        "data-sets": ("", {}),
        "services": ("services", {}),
        "dead-letters": ("dead-letters", {}),
        "dead-letter": ("dead-letter", {"letter": str(seeded.letter)}),
        "batches": ("batches", {"pipeline": DATA_SET}),
        "batch-whole": ("batch", {"batch_id": seeded.whole.id}),
        "batch-lossy": ("batch", {"batch_id": seeded.lossy.id}),
        "batch-failed": ("batch", {"batch_id": seeded.failed.id}),
    }
    with window(width, theme) as opened:
        for name, (view, query) in views.items():
            page = opened.open(view, **query)
            page.screenshot(path=SCREENSHOTS / f"{name}-{width}-{theme}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            assert page.locator("#trouble").inner_text() == "", name


def test_the_colours_follow_airflows(window: Opens, seeded: Seeded) -> None:
    with window(theme="light") as opened:
        page = opened.open("")
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        other = opened.context.new_page()  # the storage event is for the other documents of an origin, as in Airflow
        other.goto(f"{opened.address}/penstock/services")
        other.evaluate("localStorage.setItem('theme', 'dark')")
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light


def test_a_batch_says_where_its_rows_went(window: Opens, seeded: Seeded) -> None:
    with window() as opened:
        page = opened.open("batch", batch_id=seeded.lossy.id)
        steps = page.locator(".way li")
        assert re.sub(r"\s+", " ", steps.nth(0).inner_text()).startswith("fetched 24")
        expect(steps.filter(has_text="counted by dailydata")).to_contain_text("3 missing here")
        expect(page.locator(".way li.gap")).to_have_count(1)
        expect(page.locator(".lead")).to_contain_text("3 missing in dailydata")
        page.locator("summary", has_text="Offsets of dailymetrics").click()
        expect(page.get_by_role("cell", name="1,023")).to_be_visible()


def test_airflows_own_pages_open_in_the_window_and_not_in_the_frame(window: Opens, seeded: Seeded) -> None:
    with window() as opened:
        query = urlencode({"batch_id": seeded.whole.id})
        opened.page.goto(f"{opened.address}/plugin/penstock/penstock/batch?{query}")
        opened.framed().get_by_role("link", name=f"{DATA_SET}/manual__1996").first.click()
        opened.page.wait_for_url(re.compile(rf"/dags/{DATA_SET}/runs/manual__1996"), wait_until="commit")


def test_nothing_that_is_shown_can_run(window: Opens, seeded: Seeded) -> None:
    with window() as opened:
        for view, query in (
            ("batch", {"batch_id": seeded.failed.id}),
            ("batches", {"pipeline": DATA_SET}),
            ("dead-letters", {}),
            ("dead-letter", {"letter": str(seeded.letter)}),
        ):
            page = opened.open(view, **query)
            page.locator("details").evaluate_all("all => all.forEach((each) => (each.open = true))")
            expect(page.locator("main")).to_contain_text("<img src=x onerror=")
            assert page.locator("main img, main script").count() == 0
            assert page.evaluate("window.ran") is None


def test_all_is_done_with_the_keyboard(window: Opens, seeded: Seeded) -> None:
    with window() as opened:
        page = opened.open("batches", pipeline=DATA_SET)
        order = []
        for _ in range(8):
            page.keyboard.press("Tab")
            order.append(page.evaluate("document.activeElement.textContent"))
            style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert style == "solid", f"no focus to be seen at {order[-1]}"
        assert order[:4] == ["Skip to the content", "Data sets", "Services", "Dead letters"]
        link = page.get_by_role("link", name=LOSSY)
        link.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Where did my rows go")).to_be_visible()


def test_a_new_batch_appears_without_disturbing_who_reads(window: Opens, seeded: Seeded, stack: Any) -> None:
    with window() as opened:
        opened.page.clock.install()
        page = opened.open("batch", batch_id=seeded.whole.id)
        page.get_by_text("Options of the run").click()
        page.get_by_role("link", name=DATA_SET, exact=True).focus()
        run, again = Run(f"{DATA_SET}/manual__again", 1), seeded.whole.interval.end + timedelta(hours=1)
        with Ledger(stack.context.ledger_url) as ledger:
            ledger.started(seeded.whole, Hop.PRODUCE, run, as_of=again)
        page.clock.fast_forward(11_000)
        expect(page.locator(".lead")).to_contain_text("produce in progress")
        assert page.evaluate("document.activeElement.textContent") == DATA_SET
        expect(page.locator("details[open] pre")).to_be_visible()


def test_a_ledger_that_is_away_is_said_and_what_was_shown_stays(window: Opens, seeded: Seeded) -> None:
    with window() as opened:
        opened.page.clock.install()
        page = opened.open("batches", pipeline=DATA_SET)
        detail = "the ledger at db:5432/penstock can't be reached"
        answer = {"status": 503, "json": {"detail": detail, "passes": True}}
        page.route("**/api/batches?*", lambda route: route.fulfill(**answer))
        page.clock.fast_forward(11_000)
        expect(page.get_by_role("alert")).to_contain_text(detail)
        expect(page.get_by_role("alert")).to_contain_text("penstock status")
        expect(page.get_by_role("link", name=LOSSY)).to_be_visible()
        page.unroute("**/api/batches?*")
        page.clock.fast_forward(11_000)
        expect(page.get_by_role("alert")).to_have_text("")


def _answer(answer: Any, route: Route) -> None:
    route.fulfill(json=answer)


def test_a_fresh_install_says_what_to_do(window: Opens) -> None:
    empty = {
        "data-sets": {
            "pipelines": [{"name": "cars", "topic": "t", "raw_copy": False, "freshness": None, "batches": []}],
            "streams": [],
        },
        "services": {"services": []},
        "letter-counts": {},
    }
    with window(400) as opened:
        for path, answer in empty.items():
            opened.page.route(f"**/api/{path}?*", partial(_answer, answer))
        page = opened.open("")
        expect(page.locator("main")).to_contain_text(
            "The first run of the DAG cars makes one: unpause it, or trigger it."
        )
        page.screenshot(path=SCREENSHOTS / "fresh-install-400.png", full_page=True)


@pytest.fixture
def maintenance(airflow: Any) -> Iterator[Callable[[], list[Any]]]:
    """maintenance(): the runs that replay or drop. The DAG is paused, so that none of them starts to work."""
    before = airflow.is_paused("maintenance")
    airflow.pause("maintenance")

    def runs() -> list[Any]:
        return [each for each in airflow.runs("maintenance") if {"replay", "drop"} & set(each["conf"] or {})]

    known = {each["dag_run_id"] for each in runs()}
    yield lambda: [each for each in runs() if each["dag_run_id"] not in known]
    for each in runs():
        if each["dag_run_id"] not in known:
            airflow._call("DELETE", f"/dags/maintenance/dagRuns/{each['dag_run_id']}")
    airflow.pause("maintenance", paused=before)


@pytest.mark.parametrize("action", ["Replay", "Drop"])
def test_replay_and_drop_start_a_run_once_one_has_said_yes(
    window: Opens, seeded: Seeded, maintenance: Callable[[], list[Any]], action: str
) -> None:
    with window() as opened:
        page = opened.open("dead-letters", data_set=DATA_SET)
        page.get_by_role("button", name=action).click()
        expect(page.get_by_role("dialog")).to_contain_text("Select the letters first")
        page.keyboard.press("Escape")
        page.get_by_role("checkbox", name=f"Select the letter {seeded.letter}").check()
        page.get_by_role("button", name=action).click()
        expect(page.get_by_role("dialog")).to_contain_text(f"{action} 1 dead letter?")
        page.get_by_role("button", name="Cancel").click()
        assert maintenance() == []
        page.get_by_role("button", name=action).click()
        page.screenshot(path=SCREENSHOTS / f"{action.lower()}.png")
        if action == "Drop":
            page.get_by_label("Why, to be kept with them").fill(MARKUP)
        page.get_by_role("dialog").get_by_role("button", name=action).click()
        expect(page.get_by_role("dialog")).to_contain_text("The run has been started.")
        expect(page.get_by_role("dialog")).to_contain_text("The DAG maintenance is paused")
        (run,) = maintenance()
        asked = {action.lower(): [seeded.letter]} | ({"why": MARKUP} if action == "Drop" else {})
        assert {name: value for name, value in run["conf"].items() if value is not None} == asked
        assert run["triggering_user_name"] == "admin"
        expect(page.get_by_role("dialog").get_by_role("link", name=run["dag_run_id"])).to_be_visible()


@pytest.fixture
def person(airflow: Any, stack: Any, address: str, chromium: Browser) -> Iterator[Callable[[str], Any]]:
    """person(role): the cookies of a user of that role."""
    made = []

    def make(role: str) -> Any:
        name, password = f"t{uuid.uuid4().hex[:10]}", uuid.uuid4().hex
        about = {"username": name, "first_name": name, "last_name": role, "email": f"{name}@localhost"}
        users = f"{address}/auth/fab/v1/users"
        answer = airflow._session.post(
            users, json={**about, "password": password, "roles": [{"name": role}]}, timeout=30
        )
        answer.raise_for_status()
        made.append(f"{users}/{name}")
        return _log_in(chromium, address, name, password)

    yield make
    for each in made:
        airflow._session.delete(each, timeout=30).raise_for_status()


def test_who_may_only_look_is_offered_no_replay(window: Opens, seeded: Seeded, person: Callable[[str], Any]) -> None:
    with window(state=person("Viewer")) as opened:
        page = opened.open("dead-letters")
        expect(page.get_by_role("link", name=f"Letter {seeded.letter}")).to_be_visible()
        expect(page.get_by_text("To replay or drop them takes the permission")).to_be_visible()
        expect(page.get_by_role("button")).to_have_count(0)
