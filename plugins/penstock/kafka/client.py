"""What all clients of the broker share: their settings, and what its errors mean for the caller."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import TopicMetadata

from penstock.core.errors import Fatal, Retry

_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
Client = TypeVar("Client")
Poll: TypeAlias = Callable[[float], object]

_SLICE = 1.0
"""Seconds of one wait, after which errors that librdkafka only tells its callbacks are looked at."""

_PAUSE = 0.1
_NEW_TOPIC_SECONDS = 3.0

_CRITICAL = 2
"""The syslog level of what librdkafka logs: below it, there is a line for every attempt to connect."""

# The names of https://github.com/confluentinc/librdkafka/blob/master/src/rdkafka.h and
# https://kafka.apache.org/protocol#protocol_error_codes
_FENCED = {"_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH"}
_UNKNOWN_USER = {"_AUTHENTICATION", "_SSL", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM"}
_FORBIDDEN = {
    "CLUSTER_AUTHORIZATION_FAILED",
    "GROUP_AUTHORIZATION_FAILED",
    "TOPIC_AUTHORIZATION_FAILED",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
}
_WRONG_TIME = {"INVALID_TIMESTAMP", "INVALID_RECORD", "_INVALID_DIFFERENT_RECORD"}
_REFUSED = _UNKNOWN_USER | _FORBIDDEN
_AWAY = {
    "_ALL_BROKERS_DOWN",
    "_MSG_TIMED_OUT",
    "_RESOLVE",
    "_TIMED_OUT",
    "_TIMED_OUT_QUEUE",
    "_TRANSPORT",
    "_WAIT_COORD",
    "NETWORK_EXCEPTION",
    "REQUEST_TIMED_OUT",
}
_STARTING = {
    "BROKER_NOT_AVAILABLE",
    "CONCURRENT_TRANSACTIONS",
    "COORDINATOR_LOAD_IN_PROGRESS",
    "COORDINATOR_NOT_AVAILABLE",
    "FENCED_LEADER_EPOCH",
    "KAFKA_STORAGE_ERROR",
    "LEADER_NOT_AVAILABLE",
    "NOT_CONTROLLER",
    "NOT_COORDINATOR",
    "NOT_ENOUGH_REPLICAS",
    "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
    "NOT_LEADER_FOR_PARTITION",
    "OFFSET_NOT_AVAILABLE",
    "REPLICA_NOT_AVAILABLE",
    "UNKNOWN_LEADER_EPOCH",
    "_NOENT",  # no partition has a leader
}


def may_pass(error: KafkaError) -> bool:
    """Whether waiting may cure it: the broker is away, or one of several is starting, moving or electing."""
    return bool(error.retriable()) or error.name() in _AWAY | _STARTING


def explain(error: KafkaError, address: str, doing: str) -> Retry | Fatal:
    """The error to raise for `error`, which the broker at `address` gave while it was `doing` something for us."""
    name = error.name()
    if name in _FENCED:
        return Fatal("another attempt of this batch took over, so this one stopped: nothing of it will be visible")
    if name in _UNKNOWN_USER:
        return Fatal(f"Kafka at {address} refuses the connection ({name}): check user, password and security.protocol")
    if name in _FORBIDDEN:
        return Fatal(f"Kafka at {address} does not allow this user {doing} ({name}): grant it, or use another user")
    if name == "INVALID_TRANSACTION_TIMEOUT":
        return Fatal(
            f"the deadline is longer than Kafka at {address} lets a transaction last: give a shorter one, or raise "
            "the broker's transaction.max.timeout.ms"
        )
    if name == "UNKNOWN_TOPIC_OR_PART":
        return Fatal(f"Kafka at {address} has no such topic while {doing}: create it with `penstock provision`")
    if name == "MSG_SIZE_TOO_LARGE":
        return Fatal(f"Kafka at {address} refused a record as too large while {doing}: raise max.message.bytes")
    if name in _WRONG_TIME:
        return Fatal(
            f"Kafka at {address} refused the records' times while {doing}: the topic needs the settings "
            "message.timestamp.after.max.ms and .before.max.ms that `penstock provision` gives it"
        )
    if name in _AWAY:
        return Retry(f"Kafka at {address} did not answer in time while {doing}: is it running?")
    if may_pass(error):
        return Retry(f"Kafka at {address} failed while {doing}: {error.str()}")
    return Fatal(f"Kafka at {address} failed while {doing}: {error.str()}")


class Connection:
    """The settings of one client, what went wrong with it as a whole, and how long to wait for the broker.

    `deadline` is an instant of time.monotonic(), in seconds: past it, waiting ends with Retry.
    """

    def __init__(self, bootstrap_servers: str, config: Mapping[str, str] | None, deadline: float) -> None:
        self._settings = {"bootstrap.servers": bootstrap_servers, **(config or {})}
        self.address = self._settings["bootstrap.servers"]
        self.deadline = deadline
        self._refusal: KafkaError | None = None
        self._away = False

    def open(
        self,
        kind: Callable[[dict[str, Any]], Client],
        defaults: Mapping[str, Any] = MappingProxyType({}),
        required: Mapping[str, Any] = MappingProxyType({}),
    ) -> Client:
        """A client of this kind: the caller's settings overrule `defaults`, nobody's overrule `required`.

        Raises Fatal where librdkafka does not take them.
        """
        log = {"log_level": _CRITICAL, "logger": _log}
        try:
            return kind({**defaults, **log, **self._settings, **required, "error_cb": self._noted})
        except KafkaException as error:
            raise Fatal(f"the settings of the Kafka client are wrong: {error.args[0].str()}") from error

    @property
    def left(self) -> float:
        """Seconds until the deadline, 0 past it."""
        return max(0.0, self.deadline - time.monotonic())

    def check(self, doing: str) -> None:
        """Raise Fatal where the broker refused this client, Retry past the deadline."""
        if self._refusal:
            raise explain(self._refusal, self.address, doing)
        if not self.left and self._away:
            raise Retry(f"Kafka at {self.address} did not answer before the deadline, while {doing}: is it running?")
        if not self.left:
            raise Retry(f"the deadline passed while {doing}, with Kafka at {self.address} running: allow more time")

    def serve(self, doing: str, poll: Poll, seconds: float = 0.0) -> None:
        """Run the client's callbacks by its `poll`, waiting up to `seconds` for one, and `check`.

        Only poll stops at a callback that raises, as librdkafka's fatal errors do in confluent_kafka: flush goes on,
        and loses the error.
        """
        try:
            poll(min(seconds, self.left))
        except KafkaException as error:
            raise explain(error.args[0], self.address, doing) from error
        self.check(doing)

    def wait(self, doing: str, ask: Callable[[float], Answer], poll: Poll) -> Answer:
        """Call `ask(seconds)` until it succeeds.

        Raises Retry at the deadline, and what `explain` says for an error that waiting does not cure.
        """
        while True:
            self.check(doing)
            try:
                answer = ask(min(_SLICE, self.left))
            except KafkaException as error:
                reason: KafkaError = error.args[0]
                if not may_pass(reason):
                    raise explain(reason, self.address, doing) from error
                self._noted(reason)
            else:
                self._away = False
                return answer
            self.serve(doing, poll, _PAUSE)

    def topic(self, client: Producer | Consumer, name: str) -> TopicMetadata:
        """What the broker knows of a topic.

        Raises Fatal where it does not exist, after giving a new topic, or a broker that has just started, a moment.
        """
        doing = f"looking up the topic {name}"
        patience = time.monotonic() + _NEW_TOPIC_SECONDS
        while True:
            found: TopicMetadata = self.wait(doing, partial(client.list_topics, name), client.poll).topics[name]
            if found.error is None:
                return found
            if time.monotonic() > patience:
                raise explain(found.error, self.address, doing)
            self.serve(doing, client.poll, _PAUSE)

    def _noted(self, error: KafkaError) -> None:
        if error.name() in _REFUSED:
            self._refusal = error
        elif error.name() in _AWAY and not self._away:
            self._away = True
            limit = "" if math.isinf(self.deadline) else f", up to {self.left:.0f} s"
            _log.warning("Kafka at %s does not answer: waiting for it%s", self.address, limit)
