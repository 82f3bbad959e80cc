from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from penstock.core.errors import Retry
from penstock.core.settings import Kafka
from penstock.kafka import lag


def test_after_a_commit_in_vain_the_next_one_is_by_a_new_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that has known the coordinator may ask at its old place for ever."""
    clients: list[Any] = []

    class Client:
        def __init__(self, _: Any) -> None:
            clients.append(self)

        def alter_consumer_group_offsets(self, requests: list[Any], **_: Any) -> dict[str, Future[None]]:
            answer: Future[None] = Future()
            if len(clients) == 1:
                answer.set_exception(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
            else:
                answer.set_result(None)
            return {requests[0].group_id: answer}

    monkeypatch.setattr(lag, "AdminClient", Client)
    lags = lag.Lag(Kafka("broker:9092", "http://registry"))
    with pytest.raises(Retry):
        lags.commit("group", "topic", {0: 1})
    lags.commit("group", "topic", {0: 2})
    assert len(clients) == 2
