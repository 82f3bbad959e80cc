"""Letters are taken up while somebody looks, and never hold up who looks."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from penstock.airflow.page import letter_news
from penstock.airflow.page.letter_news import LetterNews
from penstock.core.errors import Retry


class Letters:
    """Takes letters up when it may, and fails as told."""

    def __init__(self) -> None:
        self.calls = 0
        self.may = threading.Event()
        self.error: Exception | None = None

    def take_up(self, _: Any, topics: dict[str, str], *, timeout: float) -> int:
        assert topics["pop.dlq"] == "population"
        assert self.may.wait(timeout)
        self.calls += 1
        if self.error:
            raise self.error
        return 1


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> Letters:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", "http://127.0.0.1:1")
    monkeypatch.setattr(letter_news, "_EVERY_SECONDS", 0.0)
    return Letters()


def wait_for(news: LetterNews) -> None:
    while news._at_work is not None and not news._at_work.done():
        time.sleep(0.01)


def test_who_looks_does_not_wait_and_one_call_is_at_work_at_a_time(letters: Letters) -> None:
    news: Any = LetterNews(lambda: letters)
    assert [news.ask(), news.ask()] == [None, None]
    assert letters.calls == 0
    letters.may.set()
    wait_for(news)
    assert letters.calls == 1


def test_a_call_that_was_just_made_is_not_made_again(letters: Letters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letter_news, "_EVERY_SECONDS", 3600.0)
    letters.may.set()
    news: Any = LetterNews(lambda: letters)
    for _ in range(3):
        news.ask()
        wait_for(news)
    assert letters.calls == 1


def test_what_keeps_letters_away_is_said_until_it_has_passed(letters: Letters) -> None:
    letters.may.set()
    letters.error = Retry("Kafka at 127.0.0.1:1 does not answer")
    news: Any = LetterNews(lambda: letters)
    news.ask()
    wait_for(news)
    letters.error = None
    assert news.ask() == "Kafka at 127.0.0.1:1 does not answer"
    wait_for(news)
    assert news.ask() is None


def test_an_error_that_nobody_foresaw_is_not_swallowed(letters: Letters) -> None:
    letters.may.set()
    letters.error = ValueError("a bug")
    news: Any = LetterNews(lambda: letters)
    news.ask()
    wait_for(news)
    with pytest.raises(ValueError, match="a bug"):
        news.ask()
