"""Talking to a Kafka cluster from outside the saga: who answers, and which topics there are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from eventbus.kafka.causes import DENIED, Complaints, explained
from eventbus.kafka.config import NO_CREATION, refusal
from eventbus.kafka.diagnosis import diagnose
from eventbus.kafka.topics import hidden, metadata
from eventbus.text.redaction import scrub, secrets_in

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

ANSWER_SECONDS = 10.0
"""How long a person waits before hearing that no broker answers."""

QUESTION_SECONDS = 2.0
"""So long one question may take, at least: half of the whole time, so that another client can ask again."""
ASK_AGAIN_SECONDS = 0.1
NEEDED_BUT_UNUSED_GROUP = "saga-reader"
"""librdkafka wants a group id of every consumer; with partitions assigned by hand it is never joined."""
SETTLING = (
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.OFFSET_NOT_AVAILABLE,
)
"""A partition that was just made or has just moved answers so; it will answer in a moment."""
SILENT = (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE)  # noqa: SLF001


class Unreachable(ConnectionError):
    """No broker answered in time, or it will not answer us."""


class BadConfiguration(ValueError):
    """A librdkafka property that does not exist or does not take this value."""


class TopicRecreated(RuntimeError):
    """A topic is not the one that was read before: it was deleted, and perhaps created again. Exit code 3."""


class Cluster:
    """One connection for questions about topics. Nothing is sent before the first question."""

    def __init__(
        self,
        bootstrap_servers: str,
        kafka_config: Mapping[str, str] | None = None,
        *,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._servers, self._seconds = bootstrap_servers, answer_seconds
        self.kafka_config = dict(kafka_config or {})
        self._complaints, self._reached = Complaints(), False
        self._config = {**client_config(bootstrap_servers, kafka_config), "error_cb": self._complaints}
        with refused_config(self._config):
            self.admin = AdminClient(self._config)

    @property
    def bootstrap_servers(self) -> str:
        """The addresses that it was given."""
        return self._servers

    @property
    def answer_seconds(self) -> float:
        """How long one question may take at most.

        Those of list_offsets are given all of it: librdkafka 2.16 ends the process where one times out before the
        request under it does (an assertion, confluentinc/librdkafka#4605).
        """
        return self._seconds

    @property
    def question_seconds(self) -> float:
        """How long one question about topics may take: `ask` asks it again."""
        return min(self._seconds, max(QUESTION_SECONDS, self._seconds / 2))

    def partitions(self) -> dict[str, dict[int, Any]]:
        """Return the metadata of every partition by topic, without making any. Raises Unreachable."""
        found = self.ask(self._metadata)
        return {name: topic.partitions for name, topic in found.topics.items() if topic.error is None}

    def denied(self, missing: Iterable[str]) -> str | None:
        """Return what to say of topics that are not in the list because this user may not see them; None if all may.

        Raises Unreachable.
        """
        found = self.ask(lambda: hidden(self.admin, missing, self.question_seconds))
        return f"{', '.join(found)}: {DENIED[KafkaError.TOPIC_AUTHORIZATION_FAILED]}" if found else None

    def id(self) -> str:
        """Return which cluster this is; empty where it does not say. Raises Unreachable."""
        return str(self.ask(self._metadata).cluster_id or "")

    def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        """Return the ids of topics that exist; one that is created again gets another. Raises Unreachable."""
        asked = TopicCollection(sorted(topics))

        def answered() -> dict[str, str]:
            answers = self.admin.describe_topics(asked, request_timeout=self.question_seconds)
            return {name: str(answer.result().topic_id) for name, answer in answers.items()}

        return self.ask(answered)

    def ask(self, question: Callable[[], T]) -> T:
        """Return the answer to what is asked by `admin`. Raises Unreachable.

        It is asked again while a new topic is still finding its leaders, and, by a new client, while nobody answers.
        """
        until = time.monotonic() + self._seconds
        while True:
            try:
                answer = question()
            except KafkaException as error:
                code = error.args[0].code()
                if code not in SETTLING + SILENT or time.monotonic() > until:
                    raise self.unreachable(error) from error
                if code in SILENT:
                    self._connect_anew()
                    if self._complaints.refused:
                        raise self.unreachable(error) from error
            else:
                self._reached = True
                return answer
            time.sleep(ASK_AGAIN_SECONDS)

    def _connect_anew(self) -> None:
        """Forget the client. One that asked a broker which was just starting learns of no controller.

        It waits for one in every call, and asks who it is only after topic.metadata.refresh.interval.ms, five minutes.
        """
        self.admin.poll(0)
        self.admin = AdminClient(self._config)

    def unreachable(self, error: KafkaException) -> Unreachable:
        """Return the error for people: which servers, and what the client last complained about."""
        self.admin.poll(0)
        if error.args[0].code() not in SILENT:
            return Unreachable(f"Kafka at {self._servers} says: {self._scrubbed(explained(error.args[0]))}")
        found = diagnose(self._config, self._complaints.errors, probe=not self._reached)
        why = explained(error.args[0]) if found is None else found.why
        patience = "" if self._complaints.refused else f" within {self._seconds:.0f} s"
        return Unreachable(f"no Kafka broker answers at {self._servers}{patience} ({self._scrubbed(why)})")

    def _metadata(self) -> Any:
        return metadata(self.admin, self._complaints, self.question_seconds)

    def _scrubbed(self, said: str) -> str:
        return scrub(said, secrets_in(self._config))


def check_same(known: Mapping[str, str], actual: Mapping[str, str]) -> None:
    """Raise TopicRecreated where a topic has another id than was known."""
    for topic, topic_id in sorted(known.items()):
        if topic in actual and actual[topic] != topic_id:
            raise TopicRecreated(
                f"the topic {topic} was deleted and created again (its id was {topic_id}, now it is {actual[topic]}):"
                " what was read before is another log"
            )


def offsets_of(answers: Mapping[TopicPartition, Any]) -> dict[tuple[str, int], int]:
    """Return the offsets that `list_offsets` was answered, by topic and number of the partition.

    Raises KafkaException. Where the connection breaks librdkafka says -1001, and no error (2.16): that is one.
    """
    offsets = {(place.topic, place.partition): answer.result().offset for place, answer in answers.items()}
    if min(offsets.values(), default=0) < 0:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))  # noqa: SLF001 - that is how the client spells it
    return offsets


def client_config(bootstrap_servers: str, kafka_config: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return what every client here starts from; the client's own log is off: errors are reported by who asked."""
    return {**NO_CREATION, "bootstrap.servers": bootstrap_servers, "log_level": 0, **(kafka_config or {})}


def reader_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a consumer is made with that only looks: committed records, no offset committed, no jumps.

    `config` is what the client starts from.
    """
    return {
        **config,
        "group.id": NEEDED_BUT_UNUSED_GROUP,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
    }


@contextmanager
def refused_config(config: Mapping[str, Any]) -> Iterator[None]:
    """Turn the client's complaint about a property into BadConfiguration."""
    try:
        yield
    except KafkaException as error:
        raise BadConfiguration(f"Kafka's client refuses its settings: {refusal(config, error)}") from error
